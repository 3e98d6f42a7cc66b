package table

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// maxWords keeps every offset within 32 bits and a table within 256 MiB.
const maxWords = 1 << 25

// encode lays a narrowed trie out as words. A table that reports ends with the
// one of the enforced policies, which the no-gain rule is about.
func (b *builder) encode(enforced *Table) (*Table, error) {
	root := b.root
	b.sum(root)
	l := &layout{builder: b, class: map[ref]int{}, reports: enforced != nil}
	if err := l.number(root); err != nil {
		return nil, err
	}
	names := longNames(l.order)
	cuckoo, err := place2(l.order[1:])
	if err != nil {
		return nil, err
	}
	data, dims := b.dims.encode()
	vertices := l.vertexWords()
	edges := abi.HdrWords
	pool := edges + cuckoo.buckets*bucketWords
	rows := pool + len(names.words)
	subs := rows + len(l.rows)*abi.RowWords
	gainsAt := subs + len(l.subs)*abi.SumWords
	index := gainsAt + len(l.gains)
	bodies := index + len(l.vertices)
	dataAt := bodies + vertices
	end := dataAt + len(data)
	size := end
	if enforced != nil {
		size += len(enforced.words)
	}
	if size > maxWords {
		return nil, fmt.Errorf("policy set: its table needs %d MiB, of at most %d: nothing is installed; name directories in place of files, or use fewer patterns", size>>17, maxWords>>17)
	}
	w := make([]uint64, size)
	w[abi.HdrMagic] = abi.TableMagic
	w[abi.HdrSize] = pair(size, cuckoo.buckets)
	w[abi.HdrSeed] = cuckoo.seed
	w[abi.HdrEdges] = pair(edges, pool)
	w[abi.HdrRows] = pair(rows, len(l.rows))
	w[abi.HdrSubs] = pair(subs, len(l.subs))
	w[abi.HdrRoot] = meta(root)
	w[abi.HdrHandled], w[abi.HdrWanders], w[abi.HdrKinds] = uint64(b.handled), uint64(b.wandering), uint64(abi.NumKinds)
	for k, all := range root.sub.All {
		w[abi.HdrEverywhere+k] = uint64(all)
	}
	if len(l.gains) > 0 {
		w[abi.HdrGains] = pair(gainsAt, len(l.subs)+len(l.class))
	}
	w[abi.HdrNodes] = pair(index, len(l.vertices))
	w[abi.HdrBodies] = pair(bodies, vertices)
	w[abi.HdrData] = pair(dataAt, len(data))
	for d, at := range dims {
		if b.dims.classes[d] > 0 {
			w[abi.HdrDims+d] = pair(dataAt+at, b.dims.classes[d])
		}
	}
	for i, n := range cuckoo.slots {
		if n != nil {
			putSlot(w[edges+i*slotWords:], n, names.at[n.name])
		}
	}
	copy(w[pool:], names.words)
	for i, r := range l.rows {
		words := r.words()
		copy(w[rows+i*abi.RowWords:], words[:])
	}
	for i, s := range l.subs {
		putSub(w[subs+i*abi.SumWords:], s)
	}
	copy(w[gainsAt:], l.gains)
	l.putVertices(w, index, bodies)
	copy(w[dataAt:], data)
	w[abi.HdrExe] = exeIdentity(w)
	if enforced != nil {
		w[abi.HdrEnforced] = uint64(end)
		copy(w[end:], enforced.words)
	}
	t := &Table{words: w, Nodes: len(l.order), Rows: len(l.rows), Subs: len(l.subs),
		Buckets: cuckoo.buckets, LongNames: len(names.at), Decisions: len(l.vertices)}
	t.Automata, t.States = b.dims.count()
	return t, nil
}

// layout numbers what a table holds: nodes breadth first, children by name;
// rows by value; subtree rows by shape, or by value if there are too many
// shapes; decision nodes by the first node whose verdicts use them.
type layout struct {
	*builder
	order    []*node
	rows     []Row
	subs     []Sub
	vertices []ref
	class    map[ref]int // of leaves and decision nodes
	gains    []uint64
	reports  bool
}

func (l *layout) number(root *node) error {
	l.order = []*node{root}
	for i := 0; i < len(l.order); i++ {
		n := l.order[i]
		n.id = RootNode + i
		l.order = append(l.order, n.sorted()...)
		l.visit(n.exactly)
		l.visit(n.beneath)
	}
	slices.SortFunc(l.rows, func(a, b Row) int {
		one, two := a.words(), b.words()
		return slices.Compare(one[:], two[:])
	})
	for i, r := range l.rows {
		l.class[l.verdicts.leaf(verdict{Row: r})] = i
	}
	for i, r := range l.vertices {
		l.class[r] = len(l.rows) + i
	}
	for _, n := range l.order {
		n.exact, n.under = l.class[n.exactly], l.class[n.beneath]
	}
	if s := shapesOf(l.order, len(l.class)); s != nil && !l.reports {
		l.numberShapes(s)
	} else {
		l.numberSubs()
	}
	if len(l.class) > abi.MaxClasses || len(l.subs) > abi.MaxClasses {
		return fmt.Errorf("policy set: %d verdict classes and %d subtree classes, of at most %d: nothing is installed; merge policies that differ only by path, or split the workload",
			len(l.class), len(l.subs), abi.MaxClasses)
	}
	return nil
}

// numberShapes gives each shape a subtree row, and fills the gain matrix.
func (l *layout) numberShapes(s *shapes) {
	l.subs = make([]Sub, len(s.list))
	for _, n := range l.order {
		n.su = s.of[n]
		l.subs[n.su] = n.sub
	}
	classes := make([]ref, len(l.class))
	for r, i := range l.class {
		classes[i] = r
	}
	l.gains = gainMatrix(l.verdicts, l.wandering, s.list, classes)
}

// numberSubs gives each value a subtree row.
func (l *layout) numberSubs() {
	at := map[Sub]int{}
	for _, n := range l.order {
		at[n.sub] = 0
	}
	for s := range at {
		l.subs = append(l.subs, s)
	}
	slices.SortFunc(l.subs, func(a, b Sub) int {
		return cmp.Or(slices.Compare(a.Any[:], b.Any[:]), slices.Compare(a.All[:], b.All[:]))
	})
	for i, s := range l.subs {
		at[s] = i
	}
	for _, n := range l.order {
		n.su = at[n.sub]
	}
}

// visit notes the rows and decision nodes of a diagram, each once.
func (l *layout) visit(r ref) {
	if _, done := l.class[r]; done {
		return
	}
	l.class[r] = 0
	if r < 0 {
		l.rows = append(l.rows, l.verdicts.value(r).Row)
		return
	}
	l.vertices = append(l.vertices, r)
	for _, k := range l.verdicts.vertices[r].kids {
		l.visit(k)
	}
}

// vertexWords is the room that all decision nodes take.
func (l *layout) vertexWords() int {
	n := 0
	for _, r := range l.vertices {
		n += vertexWords + (len(l.verdicts.vertices[r].kids)+3)/4
	}
	return n
}

func (l *layout) putVertices(w []uint64, index, at int) {
	memo := map[ref]Sub{}
	for i, r := range l.vertices {
		v := l.verdicts.vertices[r]
		w[index+i] = uint64(at)
		w[at] = pair(int(v.dim), len(v.kids))
		putSub(w[at+1:], sumOf(l.verdicts, r, memo))
		for j, k := range v.kids {
			put16(w[at+vertexWords:], j, uint16(l.class[k]))
		}
		at += vertexWords + (len(v.kids)+3)/4
	}
}

// put16 and get16 treat words as packed 16-bit numbers.
func put16(w []uint64, i int, v uint16) { w[i/4] |= uint64(v) << (i % 4 * 16) }
func get16(w []uint64, i int) uint16    { return uint16(w[i/4] >> (i % 4 * 16)) }

// meta is slot word 1.
func meta(n *node) uint64 {
	w := uint64(n.exact) | uint64(n.under)<<slotBelow | uint64(n.su)<<slotSub | uint64(len(n.name))<<slotLen
	if len(n.children) > 0 {
		w |= slotChildren
	}
	return w
}

// putSlot writes one slot: parent and node id, meta, then the name, or its
// first 8 bytes and where the rest is.
func putSlot(w []uint64, n *node, rest int) {
	words := nameWords(n.name)
	w[0] = pair(n.parent.id, n.id)
	w[1] = meta(n)
	w[2], w[3] = words[0], words[1]
	if len(n.name) > abi.InlineName {
		w[3] = uint64(rest)
	}
}

// pool holds what does not fit a slot of the names longer than InlineName,
// each once, as words from its 9th byte on.
type pool struct {
	words []uint64
	at    map[string]int
}

func longNames(order []*node) pool {
	p := pool{at: map[string]int{}}
	for _, n := range order {
		if _, done := p.at[n.name]; done || len(n.name) <= abi.InlineName {
			continue
		}
		p.at[n.name] = len(p.words)
		p.words = append(p.words, nameWords(n.name)[1:]...)
	}
	return p
}

// nameWords packs a name little-endian, padded with zeros, at least 2 words.
func nameWords(name string) []uint64 {
	out := make([]uint64, max(2, (len(name)+7)/8))
	var buf [8]byte
	for i := range out {
		clear(buf[:])
		if 8*i < len(name) {
			copy(buf[:], name[8*i:])
		}
		out[i] = binary.LittleEndian.Uint64(buf[:])
	}
	return out
}
