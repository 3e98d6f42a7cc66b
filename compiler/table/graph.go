package table

import (
	"encoding/binary"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// ref is a vertex of a graph, or, negative, a leaf: leaf i is -1-i.
type ref int32

// vertex picks one of its children by a dimension.
type vertex struct {
	dim  abi.Dim
	kids []ref
}

// graph holds decision diagrams over the dimensions, ordered by dimension and
// reduced: no vertex has only one child, and none is there twice. So equal
// functions have equal refs.
type graph[T comparable] struct {
	leaves   []T
	leafAt   map[T]ref
	vertices []vertex
	vertexAt map[string]ref
}

func newGraph[T comparable](leaves ...T) *graph[T] {
	g := &graph[T]{leafAt: make(map[T]ref), vertexAt: make(map[string]ref)}
	for _, v := range leaves {
		g.leaf(v)
	}
	return g
}

// leaf returns the diagram of a constant.
func (g *graph[T]) leaf(v T) ref {
	r, ok := g.leafAt[v]
	if !ok {
		g.leaves = append(g.leaves, v)
		r = ref(-len(g.leaves))
		g.leafAt[v] = r
	}
	return r
}

func (g *graph[T]) value(r ref) T { return g.leaves[-1-r] }

// pick returns the diagram that goes on with one of kids, whose dimensions are
// all greater than dim. It keeps kids.
func (g *graph[T]) pick(dim abi.Dim, kids []ref) ref {
	same := true
	for _, k := range kids[1:] {
		same = same && k == kids[0]
	}
	if same {
		return kids[0]
	}
	key := make([]byte, 1, 1+4*len(kids))
	key[0] = byte(dim)
	for _, k := range kids {
		key = binary.LittleEndian.AppendUint32(key, uint32(k))
	}
	r, ok := g.vertexAt[string(key)]
	if !ok {
		r = ref(len(g.vertices))
		g.vertices = append(g.vertices, vertex{dim, kids})
		g.vertexAt[string(key)] = r
	}
	return r
}

// dim returns the dimension that r asks first; a leaf asks NumDims.
func (g *graph[T]) dim(r ref) abi.Dim {
	if r < 0 {
		return abi.NumDims
	}
	return g.vertices[r].dim
}

// kid returns r where the class of dim is i.
func (g *graph[T]) kid(r ref, dim abi.Dim, i int) ref {
	if g.dim(r) != dim {
		return r
	}
	return g.vertices[r].kids[i]
}

// combine returns the diagram of op(a, b). memo serves one op.
func combine[A, B, C comparable](ga *graph[A], a ref, gb *graph[B], b ref, gc *graph[C], op func(A, B) C, memo map[[2]ref]ref) ref {
	if a < 0 && b < 0 {
		return gc.leaf(op(ga.value(a), gb.value(b)))
	}
	if r, ok := memo[[2]ref{a, b}]; ok {
		return r
	}
	dim := min(ga.dim(a), gb.dim(b))
	var n int
	if ga.dim(a) == dim {
		n = len(ga.vertices[a].kids)
	} else {
		n = len(gb.vertices[b].kids)
	}
	kids := make([]ref, n)
	for i := range kids {
		kids[i] = combine(ga, ga.kid(a, dim, i), gb, gb.kid(b, dim, i), gc, op, memo)
	}
	r := gc.pick(dim, kids)
	memo[[2]ref{a, b}] = r
	return r
}

// convert returns the diagram of op(a).
func convert[A, B comparable](ga *graph[A], a ref, gb *graph[B], op func(A) B, memo map[ref]ref) ref {
	if a < 0 {
		return gb.leaf(op(ga.value(a)))
	}
	if r, ok := memo[a]; ok {
		return r
	}
	from := ga.vertices[a]
	kids := make([]ref, len(from.kids))
	for i, k := range from.kids {
		kids[i] = convert(ga, k, gb, op, memo)
	}
	r := gb.pick(from.dim, kids)
	memo[a] = r
	return r
}
