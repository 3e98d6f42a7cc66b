package table

import (
	"slices"
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/pattern"
)

// Node is one path of a table's trie, read back.
type Node struct {
	Path string
	// Exactly is the class of the path itself, Beneath that of the paths below
	// it that are in no child's subtree.
	Exactly, Beneath int
	// Children stand in the order of their names.
	Children []*Node
}

// Trie reads the trie back.
func (t *Table) Trie() *Node {
	w := t.words
	type entry struct {
		parent, id int
		slot       []uint64
	}
	var list []entry
	for i := range hi(w[abi.HdrSize]) * bucketSlots {
		slot := w[lo(w[abi.HdrEdges])+i*slotWords:][:slotWords]
		if slot[0] != 0 {
			list = append(list, entry{lo(slot[0]), hi(slot[0]), slot})
		}
	}
	slices.SortFunc(list, func(a, b entry) int { return a.id - b.id }) // parents first
	root := newNode("/", w[abi.HdrRoot])
	nodes := map[int]*Node{RootNode: root}
	for _, e := range list {
		name, err := verifySlot(w, e.slot)
		if err != nil {
			panic(err) // Build and Verify let no such table pass
		}
		parent := nodes[e.parent]
		n := newNode(slashed(parent.Path)+name, e.slot[1])
		parent.Children = append(parent.Children, n)
		nodes[e.id] = n
	}
	for _, n := range nodes {
		slices.SortFunc(n.Children, func(a, b *Node) int { return strings.Compare(a.Path, b.Path) })
	}
	return root
}

func newNode(path string, meta uint64) *Node {
	return &Node{Path: path, Exactly: int(meta & 0xffff), Beneath: int(meta >> slotBelow & 0xffff)}
}

// Name is the last component of the node's path; "" for the root.
func (n *Node) Name() string { return n.Path[strings.LastIndexByte(n.Path, '/')+1:] }

// Branch returns, of a class that is a decision node, its dimension and its
// children, one for each class of the dimension. It reports false of a row.
func (t *Table) Branch(class int) (d abi.Dim, kids []int, ok bool) {
	if class < t.rows() {
		return 0, nil, false
	}
	v := t.vertex(class)
	kids = make([]int, v.kids())
	for i := range kids {
		kids[i] = t.child(v, i)
	}
	return v.dim(), kids, true
}

// Classes is the number of classes of a dimension, 0 where it is not used.
func (t *Table) Classes(d abi.Dim) int { return hi(t.words[abi.HdrDims+int(d)]) }

// ReadsClock reports whether verdicts depend on the time.
func (t *Table) ReadsClock() bool {
	for d := range abi.NumDims {
		if d.Fact().Of.Fact().Clock && t.Classes(d) > 0 {
			return true
		}
	}
	return false
}

// Thresholds returns the bounds of a number's dimension, ascending.
func (t *Table) Thresholds(d abi.Dim) []int64 {
	if t.Classes(d) == 0 || !d.Numeric() {
		return nil
	}
	w := t.words[lo(t.words[abi.HdrDims+int(d)]):]
	return asSigned(w[1 : 1+w[0]])
}

// Automaton returns the automaton of a string's dimension; its outputs are the
// dimension's classes. It is nil where the dimension is not used.
func (t *Table) Automaton(d abi.Dim) *pattern.Automaton {
	if t.Classes(d) == 0 || d.Numeric() {
		return nil
	}
	from := t.automaton(d)
	states := from.states()
	a := &pattern.Automaton{Classes: hi(from[0]), Outputs: t.Classes(d), Out: make([]uint16, states)}
	for b := range a.Bytes {
		a.Bytes[b] = uint8(from[1+b/8] >> (b % 8 * 8))
	}
	for s := range a.Out {
		a.Out[s] = uint16(from.output(s))
	}
	a.Next = make([]uint16, states*a.Classes)
	next := from[automatonHead+(states+3)/4:]
	for i := range a.Next {
		a.Next[i] = get16(next, i)
	}
	return a
}

// Matters lists the dimensions of the facts that the verdict on a request
// depends on: with other facts it could be another.
func (t *Table) Matters(q abi.Request) []abi.Dim {
	g, memo := newGraph[abi.Verdict](), map[int]ref{}
	var project func(class int) ref
	project = func(class int) ref {
		d, kids, ok := t.Branch(class)
		if !ok {
			return g.leaf(t.Row(class).verdict(q))
		}
		r, known := memo[class]
		switch {
		case known:
			return r
		case !d.Fact().Only.Has(q.Action):
			r = project(kids[t.ClassOf(d, &q)]) // no such fact
		default:
			refs := make([]ref, len(kids))
			for i, k := range kids {
				refs[i] = project(k)
			}
			r = g.pick(d, refs)
		}
		memo[class] = r
		return r
	}
	seen := map[ref]bool{}
	var dims []abi.Dim
	var collect func(ref)
	collect = func(r ref) {
		if r < 0 || seen[r] {
			return
		}
		seen[r] = true
		dims = append(dims, g.vertices[r].dim.Fact().Of)
		for _, k := range g.vertices[r].kids {
			collect(k)
		}
	}
	collect(project(t.bind(t.Find(q.Path).Class, q.Path)))
	slices.Sort(dims)
	return slices.Compact(dims)
}

// Answer is what a table says of a request.
type Answer struct {
	Verdict abi.Verdict
	// Reported says of an allowed request that policies in audit would deny it.
	Reported bool
	// Tripped says of a denied request that a policy says to respond to that.
	Tripped bool
}

// Answer answers one request.
func (t *Table) Answer(q abi.Request) Answer {
	r := t.rowOf(&q)
	return Answer{r.verdict(q), r.Report[q.Kind].Has(q.Action), r.Trip[q.Kind].Has(q.Action)}
}

// verdict is the answer of a row.
func (r Row) verdict(q abi.Request) abi.Verdict {
	switch {
	case r.Ask[q.Kind].Has(q.Action):
		return abi.Ask
	case r.Allow[q.Kind].Has(q.Action):
		return abi.Allow
	}
	return abi.Deny
}
