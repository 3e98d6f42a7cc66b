package compiler

import (
	"cmp"
	"slices"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/stockade-dev/stockade/compiler/rule"
)

// termKind is the sort of a term.
type termKind uint8

const (
	termValue    termKind = iota // known now
	termResource                 // the variable resource
	termText                     // a string of the request
	termNumber                   // a number of the request, or computed from one
	termRecord                   // a record of which some attributes are no values
	termSet                      // a set of which some elements are no values
	termOpaque                   // what no table can hold
)

// term is what an expression stands for in one case.
type term struct {
	kind     termKind
	value    types.Value
	field    rule.Field
	number   *number
	record   []attribute
	elements []term
	opaque   *opaque
}

// attribute is an attribute of a record: where it is present, and its value.
type attribute struct {
	name    types.String
	present formula
	symbol  symbol
}

// opaque is a value that only the agent can find out. If it is an entity, typ
// is its type and attributes are those that it has for certain.
type opaque struct {
	reason     string
	typ        types.EntityType
	attributes []types.String
}

func valueTerm(v types.Value) term  { return term{kind: termValue, value: v} }
func textTerm(f rule.Field) term    { return term{kind: termText, field: f} }
func opaqueTerm(reason string) term { return term{kind: termOpaque, opaque: &opaque{reason: reason}} }
func numberTerm(f rule.Field, s unit) term {
	return term{kind: termNumber, number: &number{field: f, sort: s}}
}

// symbol is the meaning of an expression: cases that exclude each other, and
// the condition under which its evaluation errors. One of them holds.
type symbol struct {
	cases []choice
	e     formula
}

// choice is one case of a symbol.
type choice struct {
	when formula
	term term
}

// broken is a symbol whose evaluation always errors.
var broken = symbol{e: always}

// certain is the symbol with one case.
func certain(t term) symbol { return symbol{[]choice{{always, t}}, never} }

// value returns the meaning of any expression.
func (l *lowerer) value(n node) symbol {
	switch n := n.(type) {
	case nodeValue:
		return certain(valueTerm(n.Value))
	case nodeVariable:
		switch n.Name {
		case "resource":
			return certain(term{kind: termResource})
		case "context":
			return certain(l.context())
		}
	case nodeSet:
		return l.set(n)
	}
	if !depends(n) {
		return l.known(n)
	}
	switch n := n.(type) {
	case nodeIf:
		return l.chooseValue(n)
	case nodeAccess:
		return l.mapped(l.value(n.Arg), func(t term) symbol { return l.access(n, t, n.Value) })
	case nodeGetTag:
		return l.combined(l.value(n.Left), l.value(n.Right), func(t, tag term) symbol { return l.getTag(n, t, tag) })
	case nodeRecord:
		return l.recordOf(n)
	case nodeNegate, nodeAdd, nodeSub, nodeMult, nodeCall:
		return l.computed(n)
	}
	return l.fromTernary(l.lower(n))
}

// known evaluates what depends on nothing of the request.
func (l *lowerer) known(n node) symbol {
	v, err := evaluate(n, l.env())
	if err != nil {
		l.blame(n)
		return broken
	}
	return certain(valueTerm(v))
}

// fromTernary makes a value of a boolean expression.
func (l *lowerer) fromTernary(x ternary) symbol {
	s := symbol{e: x.e}
	for _, c := range []choice{{x.t, valueTerm(types.True)}, {l.falsity(x), valueTerm(types.False)}} {
		if !c.when.is(false) {
			s.cases = append(s.cases, c)
		}
	}
	return s
}

// truth makes a boolean expression of a value.
func (l *lowerer) truth(n node) ternary {
	s := l.value(n)
	list := make([]ternary, len(s.cases))
	for i, c := range s.cases {
		b, ok := c.term.value.(types.Boolean)
		switch {
		case c.term.kind == termOpaque:
			list[i] = known(l.unknown(n, c.term.opaque.reason, false))
		case ok:
			list[i] = known(constant(bool(b)))
		default:
			list[i] = failing
		}
	}
	return l.gathered(s.cases, list, s.e)
}

// gathered joins what an expression is in each case.
func (l *lowerer) gathered(cases []choice, list []ternary, errors ...formula) ternary {
	if len(cases) == 1 && cases[0].when.is(true) && l.disj(errors...).is(false) {
		return list[0]
	}
	ts := make([]formula, len(cases))
	es := errors[:len(errors):len(errors)]
	for i, c := range cases {
		ts[i] = l.conj(c.when, list[i].t)
		es = append(es, l.conj(c.when, list[i].e))
	}
	return ternary{l.disj(ts...), l.disj(es...)}
}

// chooseValue is if c then a else b for values of any type.
func (l *lowerer) chooseValue(n nodeIf) symbol {
	c := l.lower(n.If)
	out := symbol{e: c.e}
	for i, when := range []formula{c.t, l.falsity(c)} {
		if when.is(false) {
			continue
		}
		branch := n.Then
		if i == 1 {
			branch = n.Else
		}
		s := l.value(branch)
		out.add(l, when, s)
	}
	return out
}

// add appends the cases of s, which hold where when does.
func (s *symbol) add(l *lowerer, when formula, more symbol) {
	for _, c := range more.cases {
		if both := l.conj(when, c.when); !both.is(false) {
			s.cases = append(s.cases, choice{both, c.term})
		}
	}
	s.e = l.disj(s.e, l.conj(when, more.e))
}

// mapped applies a function to each case of a symbol.
func (l *lowerer) mapped(s symbol, f func(term) symbol) symbol {
	if s.certain() {
		return f(s.cases[0].term)
	}
	out := symbol{e: s.e}
	for _, c := range s.cases {
		if l.tooLarge {
			break
		}
		out.add(l, c.when, f(c.term))
	}
	return out
}

// combined applies a function to each pair of cases.
func (l *lowerer) combined(a, b symbol, f func(x, y term) symbol) symbol {
	return l.mapped(a, func(x term) symbol {
		return l.mapped(b, func(y term) symbol {
			l.spend(pairCost)
			return f(x, y)
		})
	})
}

// pairCost is what a pair of cases counts for in the limit of a formula.
const pairCost = 16

func (l *lowerer) spend(n int) {
	if l.spent += n; l.spent > 4*maxFormula {
		l.tooLarge = true
	}
}

// erring adds the error condition e of the node n to a symbol.
func (l *lowerer) erring(n node, s symbol, e formula) symbol {
	if e.is(false) {
		return s
	}
	l.blame(n)
	out := symbol{e: e}
	out.add(l, l.neg(e), s)
	return out
}

// access is t.name.
func (l *lowerer) access(n node, t term, name types.String) symbol {
	switch t.kind {
	case termResource:
		if name == "path" {
			return certain(textTerm(rule.Path))
		}
		return l.erringWhereAbsent(n, l.regions.attribute(l, name))
	case termRecord:
		for _, a := range t.record {
			if a.name == name {
				return l.erring(n, a.symbol, l.neg(a.present))
			}
		}
	case termValue:
		return l.known(access(t.value, name))
	case termOpaque:
		if slices.Contains(t.opaque.attributes, name) {
			return certain(opaqueTerm(t.opaque.reason))
		}
	}
	l.blame(n)
	return broken
}

// erringWhereAbsent is an attribute or a tag of the resource, which many paths
// lack.
func (l *lowerer) erringWhereAbsent(n node, x *inheritance) symbol {
	l.blame(n)
	return symbol{x.cases, l.neg(x.present)}
}

// getTag is t.getTag(tag).
func (l *lowerer) getTag(n nodeGetTag, t, tag term) symbol {
	name, ok := tag.value.(types.String)
	switch {
	case t.kind == termResource && ok:
		return l.erringWhereAbsent(n, l.regions.tag(l, name))
	case t.kind == termValue && tag.kind == termValue:
		return l.known(getTag(t.value, tag.value))
	case t.kind == termOpaque && t.opaque.typ != "":
		has := l.unknown(hasTag(n.Left, n.Right), t.opaque.reason, false)
		return l.erring(n, certain(opaqueTerm(t.opaque.reason)), l.neg(has))
	}
	return l.opaqueResult(n, reasonOf(t, tag))
}

// opaqueResult is a value that no table can hold and whose evaluation may
// error.
func (l *lowerer) opaqueResult(n node, reason string) symbol {
	return l.erring(n, certain(opaqueTerm(reason)), l.unknown(n, reason, true))
}

// set is a set literal.
func (l *lowerer) set(n nodeSet) symbol {
	out := certain(term{kind: termSet, elements: make([]term, 0, len(n.Elements))})
	for _, element := range n.Elements {
		s := l.value(element)
		if len(out.cases) == 1 && s.certain() {
			set := &out.cases[0].term
			set.elements = append(set.elements, s.cases[0].term)
			continue
		}
		out = l.combined(out, s, func(x, y term) symbol {
			return certain(term{kind: termSet, elements: append(slices.Clip(x.elements), y)})
		})
	}
	return out
}

// certain reports a symbol with one case that never errors.
func (s symbol) certain() bool {
	return len(s.cases) == 1 && s.cases[0].when.is(true) && s.e.is(false)
}

// recordOf is a record literal.
func (l *lowerer) recordOf(n nodeRecord) symbol {
	out := certain(term{kind: termRecord})
	for _, element := range n.Elements {
		out = l.combined(out, l.value(element.Value), func(x, y term) symbol {
			record := slices.Clone(x.record)
			record = slices.DeleteFunc(record, func(a attribute) bool { return a.name == element.Key })
			return certain(term{kind: termRecord, record: append(record, attribute{element.Key, always, certain(y)})})
		})
	}
	return out
}

// elementsOf lists the elements of a set.
func elementsOf(t term) ([]term, bool) {
	switch t.kind {
	case termSet:
		return t.elements, true
	case termValue:
		set, ok := t.value.(types.Set)
		if !ok {
			return nil, false
		}
		list := make([]term, 0, set.Len())
		for v := range set.All() {
			list = append(list, valueTerm(v))
		}
		slices.SortFunc(list, func(a, b term) int { return cmp.Compare(valueText(a.value), valueText(b.value)) })
		return list, true
	}
	return nil, false
}

func valueText(v types.Value) string { return string(v.MarshalCedar()) }

// reasonOf says why terms cannot be related in a table.
func reasonOf(list ...term) string {
	for _, t := range list {
		if t.kind == termOpaque {
			return t.opaque.reason
		}
	}
	for _, t := range list {
		for _, element := range t.elements {
			if element.kind == termOpaque {
				return element.opaque.reason
			}
		}
		for _, a := range t.record {
			for _, c := range a.symbol.cases {
				if c.term.kind == termOpaque {
					return c.term.opaque.reason
				}
			}
		}
	}
	return "no table relates facts of a request with each other"
}
