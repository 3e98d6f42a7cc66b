package table

import (
	"slices"
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/pattern"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// Place is a set of paths: a path, what lies beneath it, or both, without what
// is excepted.
type Place struct {
	Path string
	// Self says of which kinds of resource the path itself is meant.
	Self    [abi.NumKinds]bool
	Beneath bool
	// Some says that not all paths beneath are meant, only those that globs
	// pick out.
	Some   bool
	Except []Place
}

// Contains reports whether a resource is in the place. Where Some holds it may
// be.
func (p *Place) Contains(k abi.Kind, path string) bool {
	if !(path == p.Path && p.Self[k] || p.Beneath && rule.Below(path, p.Path)) {
		return false
	}
	return !slices.ContainsFunc(p.Except, func(x Place) bool { return x.Contains(k, path) })
}

// itself is Self of a place that is the same for all kinds.
func itself(in bool) [abi.NumKinds]bool { return abi.Each(func(abi.Kind) bool { return in }) }

// mergePlaces joins the places of files with those of directories, if they
// differ in the paths themselves alone: files cannot be in themselves, so what
// is in a directory of Cedar begins one level lower for them.
func mergePlaces(files, dirs []Place) (out []Place, ok bool) {
	type key struct {
		path string
		some bool
	}
	rest := map[key]Place{}
	for _, p := range dirs {
		rest[key{p.Path, p.Some}] = p
	}
	for _, p := range files {
		k := key{p.Path, p.Some}
		q, both := rest[k]
		if delete(rest, k); !both {
			q = Place{}
		}
		if p.Beneath != q.Beneath {
			return nil, false
		}
		p.Self[abi.Dir] = q.Self[abi.Dir]
		if p.Except, ok = mergePlaces(p.Except, q.Except); !ok {
			return nil, false
		}
		out = append(out, p)
	}
	for _, q := range rest {
		if q.Beneath {
			return nil, false
		}
		q.Self[abi.File] = false
		out = append(out, q)
	}
	slices.SortFunc(out, func(a, b Place) int { return strings.Compare(a.Path, b.Path) })
	return out, true
}

// pairNode is a node of two tries at once.
type pairNode struct {
	path             string
	parent           *pairNode
	children         []*pairNode
	exactly, beneath [2]int
	places           int // two for each node at and below this one
}

// joint joins two tries. A nil node is one that a trie does not have: its paths
// have the class of what lies beneath the nearest node above.
func joint(a, b *Node, parent *pairNode, inherited *[2]int) *pairNode {
	n := &pairNode{parent: parent, places: 2}
	if inherited != nil {
		n.exactly, n.beneath = *inherited, *inherited
	}
	var kids [2][]*Node
	for i, x := range []*Node{a, b} {
		if x != nil {
			n.path, n.exactly[i], n.beneath[i], kids[i] = x.Path, x.Exactly, x.Beneath, x.Children
		}
	}
	for len(kids[0]) > 0 || len(kids[1]) > 0 {
		var pair [2]*Node
		order := 0
		switch {
		case len(kids[0]) == 0:
			order = 1
		case len(kids[1]) == 0:
			order = -1
		default:
			order = strings.Compare(kids[0][0].Path, kids[1][0].Path)
		}
		if order <= 0 {
			pair[0], kids[0] = kids[0][0], kids[0][1:]
		}
		if order >= 0 {
			pair[1], kids[1] = kids[1][0], kids[1][1:]
		}
		child := joint(pair[0], pair[1], n, &n.beneath)
		n.places += child.places
		n.children = append(n.children, child)
	}
	return n
}

// names lists the names of the children, sorted.
func (n *pairNode) names() []string {
	out := make([]string, len(n.children))
	for i, c := range n.children {
		out[i] = c.path[strings.LastIndexByte(c.path, '/')+1:]
	}
	return out
}

// mark says which places of a node are in a set.
type mark struct {
	self, beneath, some bool
	classes             pattern.Bits // beneath, where some holds
	count               int          // of places at and below
}

// marks is a set of places.
type marks map[*pairNode]*mark

// newMarks gathers spots. full tells whether classes are all that lie beneath a
// node.
func newMarks(spots []spot, full func(*pairNode, pattern.Bits) bool) marks {
	m := marks{}
	for _, s := range spots {
		x := m.at(s.at)
		switch {
		case !s.beneath:
			x.self = true
		case s.classes == nil:
			x.beneath = true
		default:
			x.some = true
			x.classes = slices.Clone(x.classes)
			x.classes.Add(s.classes)
		}
	}
	var own []*pairNode
	for n := range m {
		own = append(own, n)
	}
	for _, n := range own {
		x := m[n]
		if x.some && full(n, x.classes) {
			x.some, x.beneath = false, true
		}
		count := 0
		for _, in := range []bool{x.self, x.beneath} {
			if in {
				count++
			}
		}
		for up := n; up != nil; up = up.parent {
			m.at(up).count += count
		}
	}
	return m
}

func (m marks) at(n *pairNode) *mark {
	x := m[n]
	if x == nil {
		x = &mark{}
		m[n] = x
	}
	return x
}

// places writes the set as few places.
func (m marks) places() []Place {
	var root *pairNode
	for n := range m {
		for root = n; root.parent != nil; root = root.parent {
		}
		break
	}
	j := &joiner{marks: m}
	j.visit(root, nil, false)
	out := make([]Place, len(j.list))
	for i, p := range j.list {
		out[i] = *p
	}
	return out
}

type joiner struct {
	marks
	list []*Place
}

// visit goes on with n, which is in the place `within` unless that is nil.
// picked says that globs pick paths beneath a node above: a single path there
// is no news.
func (j *joiner) visit(n *pairNode, within *Place, picked bool) {
	x := j.marks[n]
	switch {
	case x == nil: // nothing here or below
		if within != nil {
			within.Except = append(within.Except, Place{Path: n.path, Self: itself(true), Beneath: true})
		}
		return
	case within != nil && x.count == n.places:
		return
	}
	within = j.own(n, x, within, picked)
	if x.some && !picked {
		j.list = append(j.list, &Place{Path: n.path, Beneath: true, Some: true})
	}
	for _, c := range n.children {
		j.visit(c, within, picked || x.some)
	}
}

// own accounts for the places of n itself, and returns the place that its
// children are in.
func (j *joiner) own(n *pairNode, x *mark, within *Place, picked bool) *Place {
	if within != nil {
		if !x.self || !x.beneath {
			within.Except = append(within.Except, Place{Path: n.path, Self: itself(!x.self), Beneath: !x.beneath})
		}
		if x.beneath {
			return within
		}
		return nil
	}
	if !x.beneath && (!x.self || picked) {
		return nil
	}
	p := &Place{Path: n.path, Self: itself(x.self), Beneath: x.beneath}
	j.list = append(j.list, p)
	if x.beneath {
		return p
	}
	return nil
}

// best returns the spot that is easiest to grasp: of whole places the highest.
func (m marks) best() spot {
	var best spot
	rank := func(s spot) int {
		r := 4 * strings.Count(slashed(s.at.path), "/")
		if s.classes != nil {
			return r + 1<<20
		}
		switch {
		case s.beneath:
			return r + 1
		case s.at.parent == nil:
			return r + 2 // "/" is never a file
		}
		return r
	}
	better := func(s spot) {
		if best.at == nil || rank(s) < rank(best) || rank(s) == rank(best) && s.at.path < best.at.path {
			best = s
		}
	}
	for n, x := range m {
		if x.self {
			better(spot{at: n})
		}
		if x.beneath {
			better(spot{at: n, beneath: true})
		}
		if x.some {
			better(spot{at: n, beneath: true, classes: x.classes})
		}
	}
	return best
}
