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

// encode lays a pruned trie out as words.
func encode(root *node, handled abi.ActionMask) (*Table, error) {
	rows, subs := collect(root)
	if len(rows) > abi.MaxClasses || len(subs) > abi.MaxClasses {
		return nil, fmt.Errorf("policy set: %d verdict classes and %d subtree classes, of at most %d: nothing is installed; merge policies that differ only by path, or split the workload",
			len(rows), len(subs), abi.MaxClasses)
	}
	order := number(root, rows, subs)
	names := longNames(order)
	cuckoo, err := place2(order[1:])
	if err != nil {
		return nil, err
	}
	edges := headerWords
	pool := edges + cuckoo.buckets*bucketWords
	classes := pool + len(names.words)
	subsAt := classes + len(rows)*rowWords
	size := subsAt + len(subs)*rowWords
	if size > maxWords {
		return nil, fmt.Errorf("policy set: its table needs %d MiB, of at most %d: nothing is installed; name directories in place of files", size>>17, maxWords>>17)
	}
	w := make([]uint64, size)
	w[hdrMagic] = Magic
	w[hdrSize] = pair(size, cuckoo.buckets)
	w[hdrSeed] = cuckoo.seed
	w[hdrEdges] = pair(edges, pool)
	w[hdrClasses] = pair(classes, len(rows))
	w[hdrSubs] = pair(subsAt, len(subs))
	w[hdrRoot] = meta(root)
	w[hdrHandled] = uint64(handled)
	w[hdrFile] = uint64(root.sub.All[abi.File]) | uint64(root.sub.All[abi.Dir])<<32
	for i, n := range cuckoo.slots {
		if n != nil {
			putSlot(w[edges+i*slotWords:], n, names.at[n.name])
		}
	}
	copy(w[pool:], names.words)
	for i, r := range rows {
		w[classes+i*rowWords] = uint64(r.Allow[abi.File]) | uint64(r.Ask[abi.File])<<32
		w[classes+i*rowWords+1] = uint64(r.Allow[abi.Dir]) | uint64(r.Ask[abi.Dir])<<32
	}
	for i, s := range subs {
		w[subsAt+i*rowWords] = uint64(s.Any[abi.File]) | uint64(s.All[abi.File])<<32
		w[subsAt+i*rowWords+1] = uint64(s.Any[abi.Dir]) | uint64(s.All[abi.Dir])<<32
	}
	return &Table{words: w, Nodes: len(order), Classes: len(rows), Subs: len(subs),
		Buckets: cuckoo.buckets, LongNames: len(names.at)}, nil
}

// collect lists the distinct rows and subtree rows in a fixed order.
func collect(root *node) (rows []Row, subs []Sub) {
	rowSet, subSet := map[Row]bool{}, map[Sub]bool{}
	var walk func(*node)
	walk = func(n *node) {
		rowSet[n.exactRow], rowSet[n.belowRow], subSet[n.sub] = true, true, true
		for _, c := range n.children {
			walk(c)
		}
	}
	walk(root)
	for r := range rowSet {
		rows = append(rows, r)
	}
	for s := range subSet {
		subs = append(subs, s)
	}
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(slices.Compare(a.Allow[:], b.Allow[:]), slices.Compare(a.Ask[:], b.Ask[:]))
	})
	slices.SortFunc(subs, func(a, b Sub) int {
		return cmp.Or(slices.Compare(a.Any[:], b.Any[:]), slices.Compare(a.All[:], b.All[:]))
	})
	return rows, subs
}

// number gives ids breadth first, children by name, and class indices.
func number(root *node, rows []Row, subs []Sub) []*node {
	rowAt, subAt := make(map[Row]int, len(rows)), make(map[Sub]int, len(subs))
	for i, r := range rows {
		rowAt[r] = i
	}
	for i, s := range subs {
		subAt[s] = i
	}
	order := []*node{root}
	for i := 0; i < len(order); i++ {
		n := order[i]
		n.id = RootNode + i
		n.exact, n.under, n.su = rowAt[n.exactRow], rowAt[n.belowRow], subAt[n.sub]
		order = append(order, n.sorted()...)
	}
	return order
}

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
