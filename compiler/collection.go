package compiler

import (
	"cmp"
	"slices"

	"github.com/cedar-policy/cedar-go/types"
)

// Relations between sets and between records.

// attributesOf lists the attributes of a record.
func attributesOf(t term) ([]attribute, bool) {
	if t.kind == termRecord {
		return t.record, true
	}
	record, ok := t.value.(types.Record)
	if !ok {
		return nil, false
	}
	var list []attribute
	for name, v := range record.All() {
		list = append(list, attribute{name, always, certain(valueTerm(v))})
	}
	slices.SortFunc(list, func(a, b attribute) int { return cmp.Compare(a.name, b.name) })
	return list, true
}

func (l *lowerer) sameRecord(a, b term) (formula, bool) {
	as, okA := attributesOf(a)
	bs, okB := attributesOf(b)
	if !okA || !okB {
		return never, true
	}
	values := make(map[types.String]term)
	for _, x := range bs {
		v, ok := x.value()
		if !ok {
			return never, false
		}
		values[x.name] = v
	}
	var list []formula
	for _, x := range as {
		v, ok := x.value()
		if !ok {
			return never, false
		}
		other, both := values[x.name]
		if !both || len(as) != len(bs) {
			return never, true
		}
		f, ok := l.same(v, other)
		if !ok {
			return never, false
		}
		list = append(list, f)
	}
	if len(as) != len(bs) {
		return never, true
	}
	return l.conj(list...), true
}

// value returns what an attribute holds in every case.
func (a attribute) value() (t term, ok bool) {
	if !a.present.is(true) || len(a.symbol.cases) != 1 {
		return term{}, false
	}
	return a.symbol.cases[0].term, true
}

func (l *lowerer) sameSets(as, bs []term) (formula, bool) {
	if len(as)*len(bs) > maxFormula {
		l.tooLarge = true
		return never, true
	}
	var list []formula
	for _, side := range [][2][]term{{as, bs}, {bs, as}} {
		for _, x := range side[0] {
			f, ok := l.oneOf(side[1], x)
			if !ok {
				return never, false
			}
			list = append(list, f)
		}
	}
	return l.conj(list...), true
}

// oneOf is where one of the members equals want.
func (l *lowerer) oneOf(members []term, want term) (formula, bool) {
	list := make([]formula, 0, len(members))
	seen := make(map[types.Value]bool)
	supported := true
	for _, m := range members {
		switch m.value.(type) {
		case types.EntityUID, types.String:
			if seen[m.value] {
				continue
			}
			seen[m.value] = true
		}
		f, ok := l.same(m, want)
		if !ok {
			supported = false
			continue
		}
		if f.is(true) {
			return always, true
		}
		list = append(list, f)
	}
	return l.disj(list...), supported
}

// contains is set.contains(element).
func (l *lowerer) contains(set, element term) (ternary, bool) {
	if set.kind == termOpaque {
		return failing, false
	}
	members, ok := elementsOf(set)
	if !ok {
		return failing, true
	}
	f, ok := l.oneOf(members, element)
	return known(f), ok
}

// overlap is left.containsAny(right), or containsAll.
func (l *lowerer) overlap(left, right term, all bool) (ternary, bool) {
	if left.kind == termOpaque || right.kind == termOpaque {
		return failing, false
	}
	as, okA := elementsOf(left)
	bs, okB := elementsOf(right)
	if !okA || !okB {
		return failing, true
	}
	if len(as)*len(bs) > maxFormula {
		l.tooLarge = true
		return failing, true
	}
	list := make([]formula, len(bs))
	for i, b := range bs {
		f, ok := l.oneOf(as, b)
		if !ok {
			return failing, false
		}
		list[i] = f
	}
	if all {
		return known(l.conj(list...)), true
	}
	return known(l.disj(list...)), true
}
