package table

import (
	"slices"
	"strings"

	"github.com/stockade-dev/stockade/compiler/rule"
)

// node is one path that a rule names, or a directory on the way to one.
type node struct {
	name     string
	parent   *node
	children map[string]*node
	// eq and below list the rules with an atom PathEq or PathBelow here.
	eq, below []int
	// pre and post number the trie in depth-first order: m lies below n when
	// n.pre < m.pre && m.pre <= n.post.
	pre, post int

	exactRow, belowRow   Row // verdicts of the path itself and of unknown paths below it
	sub                  Sub
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

// formula is a rule's condition with its paths resolved to trie nodes.
type formula struct {
	op   opcode
	at   *node
	args []formula
}

type opcode uint8

const (
	opFalse opcode = iota
	opTrue
	opDir
	opEq
	opBelow
	opNot
	opAnd
	opOr
)

// resolve enters every path of c into the trie and notes r at it.
func (t *trie) resolve(c rule.Cond, r int) formula {
	switch c := c.(type) {
	case rule.Const:
		if c {
			return formula{op: opTrue}
		}
	case rule.IsDir:
		return formula{op: opDir}
	case rule.PathEq:
		n := t.at(c.Path)
		n.eq = note(n.eq, r)
		return formula{op: opEq, at: n}
	case rule.PathBelow:
		n := t.at(c.Path)
		n.below = note(n.below, r)
		return formula{op: opBelow, at: n}
	case rule.Not:
		return formula{op: opNot, args: []formula{t.resolve(c.X, r)}}
	case rule.And:
		return formula{op: opAnd, args: t.resolveAll(c, r)}
	case rule.Or:
		return formula{op: opOr, args: t.resolveAll(c, r)}
	}
	return formula{op: opFalse}
}

func (t *trie) resolveAll(list []rule.Cond, r int) []formula {
	out := make([]formula, len(list))
	for i, c := range list {
		out[i] = t.resolve(c, r)
	}
	return out
}

func note(list []int, r int) []int {
	if len(list) > 0 && list[len(list)-1] == r {
		return list
	}
	return append(list, r)
}

// place is a set of paths that no rule tells apart: the node's own path, or
// (below) every path under it that is in no child's subtree.
type place struct {
	at    *node
	below bool
}

// holds decides f at a place for one kind of resource.
func (f *formula) holds(p place, dir bool) bool {
	switch f.op {
	case opTrue:
		return true
	case opDir:
		return dir
	case opEq:
		return !p.below && f.at == p.at
	case opBelow:
		if f.at == p.at {
			return p.below
		}
		return f.at.pre < p.at.pre && p.at.pre <= f.at.post
	case opNot:
		return !f.args[0].holds(p, dir)
	case opAnd:
		for i := range f.args {
			if !f.args[i].holds(p, dir) {
				return false
			}
		}
		return true
	case opOr:
		for i := range f.args {
			if f.args[i].holds(p, dir) {
				return true
			}
		}
	}
	return false
}
