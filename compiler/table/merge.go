package table

import (
	"github.com/stockade-dev/stockade/bpf/abi"
)

// merge joins the classes of each dimension that no verdict tells apart, and
// rewrites the verdicts of the trie to them. What is free takes the verdict of
// the first class that has one. It returns the smaller dimensions.
func (b *builder) merge(root *node) *dims {
	used := b.vertices(root)
	d := &dims{}
	var renumber [abi.NumDims][]int
	for dim := range abi.NumDims {
		if b.dims.classes[dim] == 0 || dim.Leader() != dim {
			continue
		}
		all := used[dim]
		for _, other := range followers(dim) {
			all = append(all, used[other]...)
		}
		columns := newColumns(b.verdicts, b.dims.classes[dim], all)
		if b.dims.automata[dim] != nil {
			merged, output := b.dims.automata[dim].Merge(columns.group())
			d.automata[dim], d.classes[dim], renumber[dim] = merged, merged.Outputs, output
		} else {
			renumber[dim] = columns.runs()
			d.classes[dim] = renumber[dim][len(renumber[dim])-1] + 1
			for i, t := range b.dims.thresholds[dim] {
				if renumber[dim][i] != renumber[dim][i+1] {
					d.thresholds[dim] = append(d.thresholds[dim], t)
				}
			}
		}
		if d.classes[dim] < 2 {
			d.automata[dim], d.classes[dim] = nil, 0
		}
	}
	for dim := range abi.NumDims {
		d.automata[dim], d.classes[dim], renumber[dim] = d.automata[dim.Leader()], d.classes[dim.Leader()], renumber[dim.Leader()]
	}
	r := &renumberer{from: b.verdicts, to: newGraph[verdict](), output: renumber, memo: map[ref]ref{}}
	r.trie(root)
	b.verdicts = r.to
	return d
}

// vertices lists the vertices that the trie's verdicts use, by dimension.
func (b *builder) vertices(root *node) [abi.NumDims][]ref {
	var list [abi.NumDims][]ref
	seen := map[ref]bool{}
	var visit func(ref)
	visit = func(r ref) {
		if r < 0 || seen[r] {
			return
		}
		seen[r] = true
		v := b.verdicts.vertices[r]
		list[v.dim] = append(list[v.dim], r)
		for _, k := range v.kids {
			visit(k)
		}
	}
	root.each(func(n *node) {
		visit(n.exactly)
		visit(n.beneath)
	})
	return list
}

// each visits n and all below, parents first and children by name.
func (n *node) each(visit func(*node)) {
	visit(n)
	for _, c := range n.sorted() {
		c.each(visit)
	}
}

// columns holds, for each class of a dimension, where every vertex goes.
type columns struct {
	graph *graph[verdict]
	of    [][]ref
}

func newColumns(g *graph[verdict], classes int, vertices []ref) *columns {
	c := &columns{g, make([][]ref, classes)}
	for i := range c.of {
		c.of[i] = make([]ref, len(vertices))
		for j, r := range vertices {
			c.of[i][j] = g.vertices[r].kids[i]
		}
	}
	return c
}

// agree reports that no vertex tells two columns apart.
func (c *columns) agree(a, b []ref) bool {
	for i := range a {
		if a[i] != b[i] && !c.free(a[i]) && !c.free(b[i]) {
			return false
		}
	}
	return true
}

func (c *columns) free(r ref) bool { return r < 0 && c.graph.value(r).free }

// group gives classes that agree the same number. A class joins the first
// group that it agrees with, in the order of the classes, which depends on
// their strings only.
func (c *columns) group() []int {
	to := make([]int, len(c.of))
	var groups [][]ref
	for i, column := range c.of {
		to[i] = -1
		for g, merged := range groups {
			if !c.agree(merged, column) {
				continue
			}
			to[i] = g
			for j, r := range column {
				if c.free(merged[j]) {
					merged[j] = r
				}
			}
			break
		}
		if to[i] < 0 {
			to[i] = len(groups)
			groups = append(groups, append([]ref(nil), column...))
		}
	}
	return to
}

// runs gives neighbours that agree the same number.
func (c *columns) runs() []int {
	to := make([]int, len(c.of))
	for i := 1; i < len(to); i++ {
		to[i] = to[i-1]
		if !c.agree(c.of[i-1], c.of[i]) {
			to[i]++
		}
	}
	return to
}

// renumberer rewrites verdicts to merged classes.
type renumberer struct {
	from, to *graph[verdict]
	output   [abi.NumDims][]int
	memo     map[ref]ref
}

func (r *renumberer) trie(n *node) {
	n.each(func(n *node) {
		n.exactly, n.beneath = r.verdict(n.exactly), r.verdict(n.beneath)
	})
}

func (r *renumberer) verdict(old ref) ref {
	if now, ok := r.memo[old]; ok {
		return now
	}
	var now ref
	if old < 0 {
		now = r.to.leaf(r.from.value(old))
	} else {
		now = r.vertex(r.from.vertices[old])
	}
	r.memo[old] = now
	return now
}

func (r *renumberer) vertex(v vertex) ref {
	free := r.to.leaf(verdict{free: true})
	output := r.output[v.dim]
	kids := make([]ref, 0, len(v.kids))
	for i, k := range v.kids {
		for len(kids) <= output[i] {
			kids = append(kids, free)
		}
		if now := r.verdict(k); now != free {
			kids[output[i]] = now
		}
	}
	// What is free may be anything: let it be what is there already.
	some := free
	for _, k := range kids {
		if k != free {
			some = k
			break
		}
	}
	for i, k := range kids {
		if k == free {
			kids[i] = some
		}
	}
	return r.to.pick(v.dim, kids)
}
