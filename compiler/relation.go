package compiler

import (
	"cmp"
	"slices"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/stockade-dev/stockade/compiler/rule"
	"github.com/stockade-dev/stockade/compiler/schema"
)

// Conditions on the resource.

// possible reports whether a resource can have the path.
func possible(path types.String) bool {
	problem, _ := checkPath(string(path))
	return problem == ""
}

func isDir(dir bool) formula {
	if dir {
		return simple(rule.IsDir{})
	}
	return formula{rule.Neg(rule.IsDir{}), 2}
}

// isType is `resource is T`.
func isType(t types.EntityType) formula {
	if !isPath(t) {
		return never
	}
	return isDir(t == schema.Dir)
}

// isEntity is `resource == uid`.
func isEntity(uid types.EntityUID) formula {
	kind := isType(uid.Type)
	if kind.is(false) || !possible(uid.ID) {
		return never
	}
	return formula{rule.And{kind.cond, rule.PathEq{Path: string(uid.ID)}}, 4}
}

// inEntity is `resource in uid`: uid itself or, if it is a directory, below.
func inEntity(uid types.EntityUID) formula {
	self := isEntity(uid)
	if uid.Type != schema.Dir || self.is(false) {
		return self
	}
	return formula{rule.Or{rule.PathBelow{Path: string(uid.ID)}, self.cond}, 6}
}

// termKind is the sort of a term.
type termKind uint8

const (
	termValue    termKind = iota // known now
	termFailing                  // its evaluation errors
	termResource                 // the variable resource
	termPath                     // resource.path
)

// term is an operand of a relation.
type term struct {
	kind  termKind
	value types.Value
}

// term classifies an operand; ok is false if nothing here fits.
func (l *lowerer) term(n node) (t term, ok bool) {
	switch v := n.(type) {
	case nodeValue:
		return term{termValue, v.Value}, true
	case nodeVariable:
		if v.Name == "resource" {
			return term{kind: termResource}, true
		}
	case nodeAccess:
		if isResourcePath(v) {
			return term{kind: termPath}, true
		}
	}
	if depends(n) {
		return term{}, false
	}
	value, err := evaluate(n, l.env())
	if err != nil {
		return term{kind: termFailing}, true
	}
	return term{termValue, value}, true
}

func isResourcePath(n node) bool {
	access, ok := n.(nodeAccess)
	if !ok || access.Value != "path" {
		return false
	}
	v, ok := access.Arg.(nodeVariable)
	return ok && v.Name == "resource"
}

// same is a == b for terms that do not fail.
func same(a, b term) formula {
	if a.kind < b.kind {
		a, b = b, a
	}
	switch {
	case a.kind == b.kind && a.kind == termValue:
		return constant(a.value.Equal(b.value))
	case a.kind == b.kind:
		return always
	case a.kind == termResource && b.kind == termValue:
		if uid, ok := b.value.(types.EntityUID); ok {
			return isEntity(uid)
		}
	case a.kind == termPath && b.kind == termValue:
		if s, ok := b.value.(types.String); ok && possible(s) {
			return simple(rule.PathEq{Path: string(s)})
		}
	}
	return never
}

// relation lowers an expression on the resource that is no boolean operator.
func (l *lowerer) relation(n node) ternary {
	x, ok := failing, false
	switch r := n.(type) {
	case nodeEqual:
		x, ok = l.equal(r.Left, r.Right)
	case nodeUnequal:
		if x, ok = l.equal(r.Left, r.Right); ok {
			x = l.not(x)
		}
	case nodeIn:
		x, ok = l.in(r.Left, r.Right)
	case nodeIs:
		x, ok = l.is(r.Left, r.EntityType)
	case nodeIsIn:
		x, ok = l.isIn(r)
	case nodeHas:
		x, ok = l.has(r)
	case nodeContains:
		x, ok = l.contains(r.Left, r.Right)
	case nodeAny:
		x, ok = l.overlap(r.Left, r.Right, false)
	case nodeAll:
		x, ok = l.overlap(r.Left, r.Right, true)
	}
	if !ok {
		return l.unsupported(n)
	}
	return x
}

// unsupported records an expression that is not compiled.
func (l *lowerer) unsupported(n node) ternary {
	err := &UnsupportedError{Expr: cedarText(n)}
	switch _, like := n.(nodeLike); {
	case mentions(n, "context"):
		err.Reason, err.Mend = "conditions on the context are not compiled yet", "remove the condition"
	case like:
		err.Reason, err.Mend = "glob conditions are not compiled yet", "use == or in Dir"
	default:
		err.Reason, err.Mend = "this condition on the resource is not compiled yet", "use ==, in, is or a set of literals"
	}
	err.Position = l.policy.expression(n)
	l.errs.add(err)
	return failing
}

// equal is left == right. Comparing values never errors by itself.
func (l *lowerer) equal(left, right node) (ternary, bool) {
	if depends(left) && l.isBoolean(left) || depends(right) && l.isBoolean(right) {
		return l.equalBooleans(left, right)
	}
	a, okA := l.term(left)
	b, okB := l.term(right)
	switch {
	case !okA || !okB:
		return failing, false
	case a.kind == termFailing || b.kind == termFailing:
		return failing, true
	}
	return known(same(a, b)), true
}

// isBoolean reports the expressions that are a boolean wherever they do not
// error.
func (l *lowerer) isBoolean(n node) bool {
	switch n := n.(type) {
	case nodeAnd, nodeOr, nodeNot, nodeEqual, nodeUnequal, nodeLess, nodeLessEq, nodeMore, nodeMoreEq,
		nodeIn, nodeIs, nodeIsIn, nodeHas, nodeHasTag, nodeLike, nodeContains, nodeAll, nodeAny, nodeIsEmpty:
		return true
	case nodeIf:
		return l.isBoolean(n.Then) && l.isBoolean(n.Else)
	}
	if depends(n) {
		return false
	}
	v, err := evaluate(n, l.env())
	_, ok := v.(types.Boolean)
	return err != nil || ok
}

// equalBooleans compares two boolean expressions, for example
// (resource is File) == principal.reader.
func (l *lowerer) equalBooleans(left, right node) (ternary, bool) {
	var sides [2]ternary
	for i, n := range []node{left, right} {
		if l.isBoolean(n) {
			sides[i] = l.lower(n)
			continue
		}
		if t, ok := l.term(n); !ok || t.kind != termFailing {
			return failing, false
		}
		sides[i] = failing
	}
	a, b := sides[0], sides[1]
	e := l.disj(a.e, b.e)
	both := l.disj(l.conj(a.t, b.t), l.conj(l.falsity(a), l.falsity(b)))
	return ternary{both, e}, true
}

// in is left in right, with the resource on the left.
func (l *lowerer) in(left, right node) (ternary, bool) {
	if t, ok := l.term(left); !ok || t.kind != termResource {
		return failing, false
	}
	if t, ok := l.term(right); ok && t.kind == termResource {
		return known(always), true
	}
	members, x, ok := l.members(right, true)
	if members == nil {
		return x, ok
	}
	list := make([]formula, len(members))
	for i, m := range members {
		if m.kind == termResource {
			list[i] = always
			continue
		}
		uid, isEntity := m.value.(types.EntityUID)
		if !isEntity {
			return failing, true
		}
		list[i] = inEntity(uid)
	}
	return known(l.disj(list...)), true
}

// members lists the elements of a set; single allows an entity in its place.
// Where there is no list the set has another meaning: x, if ok.
func (l *lowerer) members(n node, single bool) (list []term, x ternary, ok bool) {
	if set, isSet := n.(nodeSet); isSet {
		list = make([]term, 0, len(set.Elements))
		for _, element := range set.Elements {
			t, ok := l.term(element)
			if !ok {
				return nil, failing, false
			}
			if t.kind == termFailing {
				return nil, failing, true
			}
			list = append(list, t)
		}
		return list, failing, true
	}
	t, ok := l.term(n)
	if !ok {
		return nil, failing, false
	}
	switch v := t.value.(type) {
	case types.Set:
		list = make([]term, 0, v.Len())
		for element := range v.All() {
			list = append(list, term{termValue, element})
		}
		slices.SortFunc(list, func(a, b term) int { return cmp.Compare(valueText(a.value), valueText(b.value)) })
		return list, failing, true
	case types.EntityUID:
		if single {
			return []term{t}, failing, true
		}
	}
	return nil, failing, true
}

func valueText(v types.Value) string { return string(v.MarshalCedar()) }

// is is `left is T`.
func (l *lowerer) is(left node, t types.EntityType) (ternary, bool) {
	if operand, ok := l.term(left); !ok || operand.kind != termResource {
		return failing, false
	}
	return known(isType(t)), true
}

// isIn is `left is T in right`; right is evaluated only if the type fits.
func (l *lowerer) isIn(n nodeIsIn) (ternary, bool) {
	kind, ok := l.is(n.Left, n.EntityType)
	if !ok {
		return failing, false
	}
	supported := true
	x := l.and(func() ternary { return kind }, func() ternary {
		in, ok := l.in(n.Left, n.Entity)
		supported = ok
		return in
	})
	return x, supported
}

// has is `resource has name`: a path is all that a resource has.
func (l *lowerer) has(n nodeHas) (ternary, bool) {
	if t, ok := l.term(n.Arg); !ok || t.kind != termResource {
		return failing, false
	}
	return known(constant(n.Value == "path")), true
}

// contains is set.contains(element).
func (l *lowerer) contains(set, element node) (ternary, bool) {
	want, ok := l.term(element)
	if !ok {
		return failing, false
	}
	members, x, ok := l.members(set, false)
	if members == nil {
		return x, ok
	}
	if want.kind == termFailing {
		return failing, true
	}
	return known(l.disj(matches(members, want)...)), true
}

// matches compares every member with want, each distinct one once.
func matches(members []term, want term) []formula {
	list := make([]formula, 0, len(members))
	seen := make(map[types.Value]bool)
	for _, m := range members {
		switch m.value.(type) {
		case types.EntityUID, types.String:
			if seen[m.value] {
				continue
			}
			seen[m.value] = true
		}
		list = append(list, same(m, want))
	}
	return list
}

// overlap is left.containsAny(right), or containsAll.
func (l *lowerer) overlap(left, right node, all bool) (ternary, bool) {
	as, x, ok := l.members(left, false)
	if as == nil {
		return x, ok
	}
	bs, x, ok := l.members(right, false)
	if bs == nil {
		return x, ok
	}
	if len(as)*len(bs) > maxFormula {
		l.tooLarge = true
		return failing, true
	}
	list := make([]formula, len(bs))
	for i, b := range bs {
		list[i] = l.disj(matches(as, b)...)
	}
	if all {
		return known(l.conj(list...)), true
	}
	return known(l.disj(list...)), true
}
