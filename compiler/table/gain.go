package table

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// maxShapes bounds the gain matrix, which is quadratic.
const maxShapes = 512

// Bits of a pair in the gain matrix.
const (
	gainBeneath = 1                          // something strictly beneath a directory gains
	gainItself  = 2                          // a file gains by going from one class to the other; the next: so does a directory by itself
	lostBeneath = gainItself << abi.NumPaths // something strictly beneath a directory may no longer be made or written
	gainBits    = 4                          // of a pair
)

// Each kind with a path has a bit.
const _ = uint(gainBits - 2 - abi.NumPaths)

// lost are the actions that fill a directory: what may be had beneath the old place,
// and not beneath the new one, would come along with a move.
const lost = abi.ActionMask(1<<abi.Create | 1<<abi.Write)

// shape is what a directory and everything beneath it can do. A class has a
// shape too: that of a directory where it judges everything.
type shape struct {
	exactly, beneath ref
	kids             []kid
}

type kid struct {
	name  string
	shape int
}

// shapes are the different shapes of a trie's nodes. Equal shapes have equal
// numbers, given in the order of the first node.
type shapes struct {
	list []shape
	of   map[*node]int
	at   map[string]int
}

// shapesOf finds the shapes of all nodes, or none if there are more than fit.
func shapesOf(order []*node, classes int) *shapes {
	s := &shapes{of: make(map[*node]int, len(order)), at: make(map[string]int)}
	for i := len(order) - 1; i >= 0; i-- { // children come later in the order
		n := order[i]
		sh := shape{n.exactly, n.beneath, make([]kid, 0, len(n.children))}
		for _, c := range n.sorted() {
			sh.kids = append(sh.kids, kid{c.name, s.of[c]})
		}
		id, ok := s.at[sh.key()]
		if !ok {
			if id = len(s.list); id+1+classes > maxShapes {
				return nil
			}
			s.at[sh.key()] = id
			s.list = append(s.list, sh)
		}
		s.of[n] = id
	}
	s.renumber(order)
	return s
}

func (s *shape) key() string {
	key := binary.LittleEndian.AppendUint32(nil, uint32(s.exactly))
	key = binary.LittleEndian.AppendUint32(key, uint32(s.beneath))
	for _, k := range s.kids {
		key = append(binary.LittleEndian.AppendUint32(key, uint32(k.shape)), k.name...)
		key = append(key, '/')
	}
	return string(key)
}

// renumber orders shapes by their first node.
func (s *shapes) renumber(order []*node) {
	to := slices.Repeat([]int{-1}, len(s.list))
	list := make([]shape, 0, len(s.list))
	for _, n := range order {
		if old := s.of[n]; to[old] < 0 {
			to[old] = len(list)
			list = append(list, s.list[old])
		}
		s.of[n] = to[s.of[n]]
	}
	for i := range list {
		for j := range list[i].kids {
			list[i].kids[j].shape = to[list[i].kids[j].shape]
		}
	}
	s.list, s.at = list, nil
}

// gains compares shapes.
type gains struct {
	graph *graph[verdict]
	of    abi.ActionMask // no others gain
	// wandering are the actions that, if asked, gain even within one class.
	wandering abi.ActionMask
	shapes    []shape
	refs      map[[2]ref][abi.NumKinds]bool
	pairs     map[[2]int]bool // beneath
}

func newGains(graph *graph[verdict], of, wandering abi.ActionMask, shapes []shape) *gains {
	return &gains{graph, of, wandering & of, shapes, map[[2]ref][abi.NumKinds]bool{}, map[[2]int]bool{}}
}

// gainMatrix returns M × M pairs for the shapes, followed by the classes, packed:
// old × M + new.
func gainMatrix(graph *graph[verdict], wandering abi.ActionMask, shapes []shape, classes []ref) []uint64 {
	nodes := len(shapes)
	for _, c := range classes {
		shapes = append(shapes, shape{exactly: c, beneath: c})
	}
	at := make(map[ref]int, len(classes))
	for i, c := range classes {
		at[c] = nodes + i
	}
	g, back := newGains(graph, ^abi.ActionMask(0), wandering, shapes), newGains(graph, lost, wandering, shapes)
	m := len(shapes)
	words := make([]uint64, (m*m*gainBits+63)/64)
	for old := range m {
		for now := range m {
			bits := uint64(0)
			if g.beneath(old, now, at) {
				bits |= gainBeneath
			}
			if back.beneath(now, old, at) {
				bits |= lostBeneath
			}
			if old >= nodes && now >= nodes {
				by := g.ref(g.shapes[old].exactly, g.shapes[now].exactly)
				for k := range abi.NumPaths {
					if by[k] {
						bits |= gainItself << k
					}
				}
			}
			pair := (old*m + now) * gainBits
			words[pair/64] |= bits << (pair % 64)
		}
	}
	return words
}

// ref reports whether a request on a resource of each kind gains by being
// judged by now and not by old, whoever asks and whenever.
func (g *gains) ref(old, now ref) (by [abi.NumKinds]bool) {
	if old == now && g.wandering == 0 {
		return by
	}
	if old < 0 && now < 0 {
		a, b := g.graph.value(old).sum(), g.graph.value(now).sum()
		for k := range by {
			gain := b.Any[k] &^ a.All[k] & g.of
			if old == now {
				gain &= g.wandering
			}
			by[k] = gain != 0
		}
		return by
	}
	if by, ok := g.refs[[2]ref{old, now}]; ok {
		return by
	}
	dim := min(g.graph.dim(old), g.graph.dim(now))
	v := old
	if g.graph.dim(old) != dim {
		v = now
	}
	for i := range g.graph.vertices[v].kids {
		for k, gain := range g.ref(g.graph.kid(old, dim, i), g.graph.kid(now, dim, i)) {
			by[k] = by[k] || gain
		}
	}
	g.refs[[2]ref{old, now}] = by
	return by
}

// beneath reports whether something beneath a directory gains by its going from
// one shape to another, if the automata that read paths are in equal states.
func (g *gains) beneath(old, now int, uniform map[ref]int) bool {
	if old == now && g.wandering == 0 {
		return false
	}
	key := [2]int{old, now}
	if gain, ok := g.pairs[key]; ok {
		return gain
	}
	a, b := g.shapes[old], g.shapes[now]
	gain := anyPath(g.ref(a.beneath, b.beneath))
	for i, j := 0, 0; !gain && (i < len(a.kids) || j < len(b.kids)); {
		from, to := uniform[a.beneath], uniform[b.beneath]
		order := -1
		switch {
		case i == len(a.kids):
			order = 1
		case j < len(b.kids):
			order = strings.Compare(a.kids[i].name, b.kids[j].name)
		}
		if order <= 0 {
			from = a.kids[i].shape
			i++
		}
		if order >= 0 {
			to = b.kids[j].shape
			j++
		}
		gain = anyPath(g.ref(g.shapes[from].exactly, g.shapes[to].exactly)) || g.beneath(from, to, uniform)
	}
	g.pairs[key] = gain
	return gain
}

// anyPath reports that something with a path gains.
func anyPath(by [abi.NumKinds]bool) bool { return slices.Contains(by[:abi.NumPaths], true) }
