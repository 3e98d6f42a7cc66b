package table

import (
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/pattern"
)

// states are the automata that read paths, after a prefix.
type states [abi.NumGlobs]uint16

// narrower cuts verdicts down to what can be asked at a place: the automata
// have read the place's path.
type narrower struct {
	*builder
	reach   [abi.NumGlobs][]int32        // set of outputs, by state, that can follow
	sets    [abi.NumGlobs][]pattern.Bits // the sets
	beneath map[[abi.NumGlobs]int32]map[ref]ref
}

// narrow replaces verdicts by their narrowed form and drops every node that
// decides nothing its parent does not already: what stays is the smallest trie
// for its verdicts, and the only one.
func (b *builder) narrow(root *node) {
	n := &narrower{builder: b, beneath: map[[abi.NumGlobs]int32]map[ref]ref{}}
	for i := range n.reach {
		n.follow(i)
	}
	var start states
	n.node(root, n.feed(start, "/"))
}

// follow finds, for each state of automaton i, the outputs of the paths that go
// on with another component.
func (n *narrower) follow(i int) {
	a := n.dims.automata[i]
	if a == nil {
		return
	}
	reachable, of := a.Reachable()
	known := map[string]int32{}
	n.reach[i] = make([]int32, a.States())
	for s := range n.reach[i] {
		var set pattern.Bits
		for c := 1; c < 256; c++ {
			if c != '/' {
				set.Add(reachable[of[a.Step(uint16(s), byte(c))]])
			}
		}
		id, ok := known[set.Key()]
		if !ok {
			id = int32(len(n.sets[i]))
			known[set.Key()] = id
			n.sets[i] = append(n.sets[i], set)
		}
		n.reach[i][s] = id
	}
}

// feed lets the automata read s.
func (n *narrower) feed(at states, s string) states {
	for i := range at {
		if a := n.dims.automata[i]; a != nil {
			at[i] = a.Run(at[i], s)
		}
	}
	return at
}

// node narrows x and what is below. dir is the state after x's path and a
// slash.
func (n *narrower) node(x *node, dir states) {
	for _, c := range x.sorted() {
		path := n.feed(dir, c.name)
		slash := n.feed(path, "/")
		n.node(c, slash)
		c.exactly = n.bind(c.exactly, path)
		// x.beneath is not narrowed yet: it is known everywhere.
		if len(c.children) == 0 && c.exactly == n.bind(x.beneath, path) && c.beneath == n.cut(x.beneath, slash) {
			delete(x.children, c.name)
		}
	}
	if x.parent == nil {
		var start states
		x.exactly = n.bind(x.exactly, n.feed(start, "/"))
	}
	x.beneath = n.cut(x.beneath, dir)
}

// bind decides what the automata of a path decide.
func (n *narrower) bind(r ref, at states) ref {
	for n.verdicts.dim(r) < abi.Dim(abi.NumGlobs) {
		v := n.verdicts.vertices[r]
		r = v.kids[n.dims.automata[v.dim].Out[at[v.dim]]]
	}
	return r
}

// cut frees the children that no path beneath a directory comes to.
func (n *narrower) cut(r ref, dir states) ref {
	if n.verdicts.dim(r) >= abi.Dim(abi.NumGlobs) {
		return r
	}
	var key [abi.NumGlobs]int32
	for i := range key {
		if n.reach[i] != nil {
			key[i] = n.reach[i][dir[i]]
		}
	}
	memo := n.beneath[key]
	if memo == nil {
		memo = map[ref]ref{}
		n.beneath[key] = memo
	}
	return n.cutBy(r, key, memo)
}

func (n *narrower) cutBy(r ref, key [abi.NumGlobs]int32, memo map[ref]ref) ref {
	if n.verdicts.dim(r) >= abi.Dim(abi.NumGlobs) {
		return r
	}
	if cut, ok := memo[r]; ok {
		return cut
	}
	v := n.verdicts.vertices[r]
	free := n.verdicts.leaf(verdict{free: true})
	set := n.sets[v.dim][key[v.dim]]
	kids := make([]ref, len(v.kids))
	only, mixed := free, false
	for i, k := range v.kids {
		kids[i] = free
		if !set.Has(i) {
			continue
		}
		kids[i] = n.cutBy(k, key, memo)
		mixed = mixed || only != free && kids[i] != only
		only = kids[i]
	}
	cut := only
	if mixed {
		cut = n.verdicts.pick(v.dim, kids)
	}
	memo[r] = cut
	return cut
}
