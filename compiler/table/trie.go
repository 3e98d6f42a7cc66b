package table

import (
	"slices"
	"strings"
)

// node is one path that a rule names, or a directory on the way to one.
type node struct {
	name     string
	parent   *node
	children map[string]*node
	// eq and below list the clauses with an atom PathEq or PathBelow here.
	eq, below []int
	// pre and post number the trie in depth-first order: m lies below n when
	// n.pre < m.pre && m.pre <= n.post.
	pre, post int

	// exactly and beneath are the verdicts of the path itself and of the paths
	// below it that are in no child's subtree: diagrams of the builder.
	exactly, beneath ref
	sub              Sub

	id, exact, under, su int // ids in the encoded table
}

type trie struct {
	root  *node
	nodes int
}

func newTrie() *trie { return &trie{root: &node{}, nodes: 1} }

// at returns the node of an absolute path, making it if needed.
func (t *trie) at(path string) *node {
	n := t.root
	for rest := strings.TrimPrefix(path, "/"); rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		child := n.children[name]
		if child == nil {
			if n.children == nil {
				n.children = make(map[string]*node)
			}
			child = &node{name: name, parent: n}
			n.children[name] = child
			t.nodes++
		}
		n = child
	}
	return n
}

// sorted returns the children by name.
func (n *node) sorted() []*node {
	list := make([]*node, 0, len(n.children))
	for _, c := range n.children {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	return list
}

// number sets pre and post.
func (n *node) number(next int) int {
	n.pre = next
	for _, c := range n.children {
		next = c.number(next + 1)
	}
	n.post = next
	return next
}

// link resolves the paths of f to nodes, and notes clause i at them; whatever
// the path does not decide becomes a diagram.
func (t *trie) link(f *formula, i int, d *dims, l *logic) {
	switch f.op {
	case opEq:
		f.at = t.at(f.path)
		f.at.eq = note(f.at.eq, i)
	case opBelow:
		f.at = t.at(f.path)
		f.at.below = note(f.at.below, i)
	case opLanguage, opLess:
		*f = formula{diagram: d.diagram(l, f)}
	}
	free := len(f.args) > 0 || f.op == opAnd || f.op == opOr
	for j := range f.args {
		t.link(&f.args[j], i, d, l)
		free = free && f.args[j].op == opDiagram
	}
	if free {
		*f = formula{diagram: f.holds(l, place{}, 0)}
	}
}

func note(list []int, i int) []int {
	if len(list) > 0 && list[len(list)-1] == i {
		return list
	}
	return append(list, i)
}
