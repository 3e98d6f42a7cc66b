package compiler

import (
	"math/big"
	"slices"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/stockade-dev/stockade/compiler/rule"
	"github.com/stockade-dev/stockade/compiler/schema"
)

// Relations between terms.

// possible reports whether a resource can have the path.
func possible(path types.String) bool {
	problem, _ := PathProblem(string(path))
	return problem == ""
}

// isType is `resource is T`.
func isType(t types.EntityType) formula {
	k, ok := kindOf(t)
	if !ok {
		return never
	}
	size := 1
	if k == 0 {
		size = 2
	}
	return formula{rule.OfKind(k), size}
}

// isEntity is `resource == uid`.
func isEntity(uid types.EntityUID) formula {
	kind := isType(uid.Type)
	if kind.is(false) || !possible(uid.ID) {
		return never
	}
	return formula{rule.And{kind.cond, rule.PathEq{Path: string(uid.ID)}}, 4}
}

// inEntity is `resource in uid`: uid itself, below it if it is a directory,
// and where entries of the entities file are in it.
func (l *lowerer) inEntity(uid types.EntityUID) formula {
	f := isEntity(uid)
	if uid.Type == schema.Dir && !f.is(false) {
		f = region(uid)
	}
	entries := l.regions.classes[uid]
	if len(entries) == 0 {
		return f
	}
	list := []formula{f}
	for _, entry := range entries {
		list = append(list, region(entry.UID))
	}
	return l.disj(list...)
}

func isResourcePath(n node) bool {
	access, ok := n.(nodeAccess)
	if !ok || access.Value != "path" {
		return false
	}
	v, ok := access.Arg.(nodeVariable)
	return ok && v.Name == "resource"
}

// same is a == b for terms; ok is false if no table can tell.
func (l *lowerer) same(a, b term) (f formula, ok bool) {
	if a.kind < b.kind {
		a, b = b, a
	}
	if a.kind == termOpaque {
		return never, false
	}
	switch a.kind {
	case termValue:
		return constant(a.value.Equal(b.value)), true
	case termResource:
		if uid, ok := b.value.(types.EntityUID); ok {
			return isEntity(uid), true
		}
		return constant(b.kind == termResource), true
	case termText:
		if b.kind == termText {
			return constant(a.field == b.field), a.field == b.field
		}
		if s, ok := b.value.(types.String); ok {
			return isText(a.field, string(s)), true
		}
	case termNumber:
		return l.sameNumber(a.number, b)
	case termRecord:
		return l.sameRecord(a, b)
	case termSet:
		as, okA := elementsOf(a)
		bs, okB := elementsOf(b)
		if !okA || !okB {
			return never, true
		}
		return l.sameSets(as, bs)
	}
	return never, true
}

func (l *lowerer) sameNumber(x *number, b term) (formula, bool) {
	if b.kind == termNumber {
		if x.sort != b.number.sort {
			return never, true
		}
		return always, x.equal(b.number)
	}
	if c, s, ok := constantOf(b); ok && s == x.sort {
		return l.equals(x, c), true
	}
	return never, true
}

// relation lowers a boolean expression that is no boolean operator.
func (l *lowerer) relation(n node) ternary {
	switch r := n.(type) {
	case nodeEqual:
		return l.related(n, r.Left, r.Right, l.equal)
	case nodeUnequal:
		return l.not(l.related(nodeEqual{BinaryNode: r.BinaryNode}, r.Left, r.Right, l.equal))
	case nodeIn:
		return l.related(n, r.Left, r.Right, l.in)
	case nodeIsIn:
		return l.isIn(r)
	case nodeContains:
		return l.related(n, r.Left, r.Right, l.contains)
	case nodeAll:
		return l.related(n, r.Left, r.Right, func(a, b term) (ternary, bool) { return l.overlap(a, b, true) })
	case nodeAny:
		return l.related(n, r.Left, r.Right, func(a, b term) (ternary, bool) { return l.overlap(a, b, false) })
	case nodeLess:
		return l.ordered(n, r.Left, r.Right, false, false)
	case nodeMoreEq:
		return l.ordered(n, r.Left, r.Right, false, true)
	case nodeMore:
		return l.ordered(n, r.Right, r.Left, true, false)
	case nodeLessEq:
		return l.ordered(n, r.Right, r.Left, true, true)
	case nodeHasTag:
		return l.related(n, r.Left, r.Right, l.hasTag)
	case nodeHas:
		return l.tested(n, r.Arg, func(t term) (ternary, bool) { return l.has(t, r.Value) })
	case nodeIs:
		return l.tested(n, r.Left, func(t term) (ternary, bool) { return l.is(t, r.EntityType) })
	case nodeLike:
		return l.tested(n, r.Arg, func(t term) (ternary, bool) { return l.like(t, r.Value) })
	case nodeIsEmpty:
		return l.tested(n, r.Arg, l.isEmpty)
	}
	return l.truth(n)
}

// tested is a test of one operand, in each of its cases.
func (l *lowerer) tested(n, arg node, test func(term) (ternary, bool)) ternary {
	s := l.value(arg)
	list := make([]ternary, len(s.cases))
	for i, c := range s.cases {
		if c.term.kind == termValue {
			list[i] = l.evaluated(withOperands(n, nodeValue{Value: c.term.value}, nil))
			continue
		}
		x, ok := test(c.term)
		if !ok {
			x = known(l.unknown(n, reasonOf(c.term), false))
		}
		list[i] = x
	}
	return l.gathered(s.cases, list, s.e)
}

// related is a relation of two operands, in each pair of their cases.
func (l *lowerer) related(n, left, right node, relate func(a, b term) (ternary, bool)) ternary {
	a, b := l.value(left), l.value(right)
	var cases []choice
	var list []ternary
	for _, x := range a.cases {
		for _, y := range b.cases {
			if l.spend(pairCost); l.tooLarge {
				return failing
			}
			when := x.when
			if !y.when.is(true) {
				when = l.conj(x.when, y.when)
			}
			if when.is(false) {
				continue
			}
			r, ok := relate(x.term, y.term)
			if !ok {
				r = known(l.unknown(n, reasonOf(x.term, y.term), false))
			}
			cases, list = append(cases, choice{when: when}), append(list, r)
		}
	}
	return l.gathered(cases, list, a.e, b.e)
}

// equal is a == b, which never errors by itself.
func (l *lowerer) equal(a, b term) (ternary, bool) {
	f, ok := l.same(a, b)
	return known(f), ok
}

// ordered is left < right or, negated, left >= right; swapped says that the
// policy has them the other way round.
func (l *lowerer) ordered(n, left, right node, swapped, negated bool) ternary {
	return l.related(n, left, right, func(a, b term) (ternary, bool) { return l.lessTerms(n, a, b, swapped, negated) })
}

func (l *lowerer) lessTerms(n node, a, b term, swapped, negated bool) (ternary, bool) {
	var f formula
	switch {
	case a.kind == termValue && b.kind == termValue:
		if swapped {
			a, b = b, a
		}
		return l.evaluated(withOperands(n, nodeValue{Value: a.value}, nodeValue{Value: b.value})), true
	case a.kind == termOpaque || b.kind == termOpaque:
		return failing, false
	case a.kind == termNumber && b.kind == termNumber:
		if a.number.sort != b.number.sort {
			return failing, true
		}
		if !a.number.equal(b.number) {
			return failing, false
		}
		f = never
	case a.kind == termNumber:
		c, s, ok := constantOf(b)
		if !ok || s != a.number.sort {
			return failing, true
		}
		f = l.less(a.number, c)
	case b.kind == termNumber:
		c, s, ok := constantOf(a)
		if !ok || s != b.number.sort {
			return failing, true
		}
		f = b.number.atLeast(new(big.Int).Add(c, one)) // a < b
	default:
		return failing, true
	}
	if negated {
		f = l.neg(f)
	}
	return known(f), true
}

// in is left in right.
func (l *lowerer) in(left, right term) (ternary, bool) {
	if left.kind == termOpaque || right.kind == termOpaque {
		return failing, false
	}
	if _, ok := left.value.(types.EntityUID); !ok && left.kind != termResource {
		return failing, true
	}
	targets, isSet := elementsOf(right)
	if !isSet {
		targets = []term{right}
	}
	list := make([]formula, len(targets))
	for i, target := range targets {
		uid, isEntity := target.value.(types.EntityUID)
		switch {
		case target.kind == termOpaque:
			return failing, false
		case target.kind == termResource:
			list[i] = l.above(left)
		case !isEntity:
			return failing, true
		case left.kind == termResource:
			list[i] = l.inEntity(uid)
		default:
			list[i] = l.evaluated(withOperands(nodeIn{}, nodeValue{Value: left.value}, nodeValue{Value: uid})).t
		}
	}
	return known(l.disj(list...)), true
}

// above is `left in resource`: the resource is left or one of its ancestors.
func (l *lowerer) above(left term) formula {
	uid, ok := left.value.(types.EntityUID)
	if !ok {
		return always // the resource itself
	}
	var list []formula
	for _, ancestor := range ancestors(l.world, []types.EntityUID{uid}) {
		list = append(list, isEntity(ancestor))
	}
	return l.disj(list...)
}

func (l *lowerer) is(t term, want types.EntityType) (ternary, bool) {
	switch {
	case t.kind == termResource:
		return known(isType(want)), true
	case t.kind == termOpaque && t.opaque.typ != "":
		return known(constant(t.opaque.typ == want)), true
	}
	return failing, t.kind != termOpaque
}

// isIn is `left is T in right`; right is evaluated only if the type fits.
func (l *lowerer) isIn(n nodeIsIn) ternary {
	return l.and(
		func() ternary { return l.relation(n.NodeTypeIs) },
		func() ternary {
			in := nodeIn{}
			in.Left, in.Right = n.Left, n.Entity
			return l.relation(in)
		})
}

// has is t has name.
func (l *lowerer) has(t term, name types.String) (ternary, bool) {
	switch t.kind {
	case termResource:
		if name == "path" {
			return known(always), true
		}
		return known(l.regions.attribute(l, name).present), true
	case termRecord:
		for _, a := range t.record {
			if a.name == name {
				return known(a.present), true
			}
		}
		return known(never), true
	case termOpaque:
		if t.opaque.typ == "" {
			return failing, false
		}
		return known(constant(slices.Contains(t.opaque.attributes, name))), true
	}
	return failing, true
}

func (l *lowerer) hasTag(t, tag term) (ternary, bool) {
	name, ok := tag.value.(types.String)
	switch {
	case t.kind == termValue && tag.kind == termValue:
		return l.evaluated(withOperands(nodeHasTag{}, nodeValue{Value: t.value}, nodeValue{Value: tag.value})), true
	case t.kind == termResource && ok:
		return known(l.regions.tag(l, name).present), true
	}
	return failing, false
}

// like is t like pattern.
func (l *lowerer) like(t term, p types.Pattern) (ternary, bool) {
	if t.kind != termText {
		return failing, t.kind != termOpaque
	}
	pattern, err := likePattern(p)
	if err != nil {
		return failing, false
	}
	return known(likeText(t.field, pattern)), true
}

func (l *lowerer) isEmpty(t term) (ternary, bool) {
	elements, ok := elementsOf(t)
	if !ok {
		return failing, t.kind != termOpaque
	}
	return known(constant(len(elements) == 0)), true
}
