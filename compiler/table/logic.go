package table

import (
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// The leaves of logic.
const (
	isFalse   ref = -1
	isTrue    ref = -2
	isUnclear ref = -3
)

// logic holds what conditions come to once the path and the kind are known:
// diagrams over truth.
type logic struct {
	*graph[rule.Truth]
	ands, ors map[[2]ref]ref
	nots      map[ref]ref
}

func newLogic() *logic {
	return &logic{newGraph(rule.False, rule.True, rule.Unclear), map[[2]ref]ref{}, map[[2]ref]ref{}, map[ref]ref{}}
}

func (l *logic) not(a ref) ref {
	return convert(l.graph, a, l.graph, func(v rule.Truth) rule.Truth {
		switch v {
		case rule.True:
			return rule.False
		case rule.False:
			return rule.True
		}
		return rule.Unclear
	}, l.nots)
}

func (l *logic) and(a, b ref) ref { return l.join(a, b, isFalse, isTrue, l.ands) }
func (l *logic) or(a, b ref) ref  { return l.join(a, b, isTrue, isFalse, l.ors) }

// join is and or or: absorbing settles it, neutral changes nothing.
func (l *logic) join(a, b, absorbing, neutral ref, memo map[[2]ref]ref) ref {
	switch {
	case a == absorbing || b == absorbing:
		return absorbing
	case a == neutral || a == b:
		return b
	case b == neutral:
		return a
	}
	settles := l.value(absorbing)
	return combine(l.graph, min(a, b), l.graph, max(a, b), l.graph, func(x, y rule.Truth) rule.Truth {
		switch {
		case x == settles || y == settles:
			return settles
		case x == rule.Unclear || y == rule.Unclear:
			return rule.Unclear
		}
		return x
	}, memo)
}

// member is true where the class of dim is one of those.
func (l *logic) member(dim abi.Dim, classes int, in func(class int) bool) ref {
	kids := make([]ref, classes)
	for i := range kids {
		kids[i] = isFalse
		if in(i) {
			kids[i] = isTrue
		}
	}
	return l.pick(dim, kids)
}
