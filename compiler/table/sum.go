package table

import "github.com/stockade-dev/stockade/bpf/abi"

// sum sums up one row.
func (r Row) sum() Sub {
	var s Sub
	for k := range s.Any {
		s.All[k] = r.Allow[k] &^ r.Report[k]
		s.Any[k] = r.Allow[k] | r.Ask[k]
	}
	return s
}

// join is the sum of both.
func (s Sub) join(other Sub) Sub {
	for k := range s.Any {
		s.Any[k] |= other.Any[k]
		s.All[k] &= other.All[k]
	}
	return s
}

// everything is the neutral element of join.
func everything() Sub {
	var s Sub
	for k := range s.All {
		s.All[k] = ^abi.ActionMask(0)
	}
	return s
}

// sum fills the subtree rows.
func (b *builder) sum(root *node) {
	memo := map[ref]Sub{}
	var visit func(*node)
	visit = func(n *node) {
		n.sub = sumOf(b.verdicts, n.exactly, memo).join(sumOf(b.verdicts, n.beneath, memo))
		for _, c := range n.children {
			visit(c)
			n.sub = n.sub.join(c.sub)
		}
	}
	visit(root)
}

// sumOf sums up all that a diagram can come to.
func sumOf(g *graph[verdict], r ref, memo map[ref]Sub) Sub {
	if r < 0 {
		return g.value(r).sum()
	}
	s, ok := memo[r]
	if !ok {
		s = everything()
		for _, k := range g.vertices[r].kids {
			s = s.join(sumOf(g, k, memo))
		}
		memo[r] = s
	}
	return s
}
