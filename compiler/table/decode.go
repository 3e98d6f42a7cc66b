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
	for i := range hi(w[hdrSize]) * bucketSlots {
		slot := w[lo(w[hdrEdges])+i*slotWords:][:slotWords]
		if slot[0] != 0 {
			list = append(list, entry{lo(slot[0]), hi(slot[0]), slot})
		}
	}
	slices.SortFunc(list, func(a, b entry) int { return a.id - b.id }) // parents first
	root := newNode("/", w[hdrRoot])
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
func (t *Table) Classes(d abi.Dim) int { return hi(t.words[hdrDims+int(d)]) }

// numeric reports the dimensions that have thresholds; the others have automata.
func numeric(d abi.Dim) bool { return d >= abi.DimUID && d <= abi.DimDayTime }

// Thresholds returns the bounds of a number's dimension, ascending.
func (t *Table) Thresholds(d abi.Dim) []int64 {
	if t.Classes(d) == 0 || !numeric(d) {
		return nil
	}
	w := t.words[lo(t.words[hdrDims+int(d)]):]
	return asSigned(w[1 : 1+w[0]])
}

// Automaton returns the automaton of a string's dimension; its outputs are the
// dimension's classes. It is nil where the dimension is not used.
func (t *Table) Automaton(d abi.Dim) *pattern.Automaton {
	if t.Classes(d) == 0 || numeric(d) {
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
