package compiler

import (
	"github.com/cedar-policy/cedar-go/types"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
	"github.com/stockade-dev/stockade/compiler/schema"
)

// lowerer turns policies into rules for one principal.
//
// Partial evaluation by cedar-go would leave `resource is T` and errors to be
// guessed at; lowering goes over the syntax tree instead and keeps, for every
// expression, where it is true and where it errors (formula.go).
type lowerer struct {
	principal types.EntityUID
	world     world
	handled   abi.ActionMask
	covers    map[types.EntityUID]abi.ActionMask
	errs      *collector

	// The policy and the action at hand.
	policy   *policy
	action   types.EntityUID
	spent    int
	tooLarge bool
}

// lower returns the rules of all policies. It reports what it cannot compile
// exactly.
func lower(policies []*policy, principal types.EntityUID, data types.EntityMap, handled abi.ActionMask, errs *collector) rule.Set {
	l := &lowerer{principal: principal, world: world{data}, handled: handled, covers: coverage(), errs: errs}
	set := rule.Set{Policies: make([]rule.Policy, len(policies)), Unenforced: unenforced(policies, l.covers)}
	for i, p := range policies {
		set.Policies[i] = p.meta
		set.Rules = append(set.Rules, l.rules(i, p)...)
		if errs.full() {
			break
		}
	}
	return set
}

// coverage says for every action of the schema, groups included, which actions
// of the kernel are it or in it.
func coverage() map[types.EntityUID]abi.ActionMask {
	covers := make(map[types.EntityUID]abi.ActionMask)
	for uid, entity := range schema.Actions() {
		a, ok := abi.ParseAction(string(uid.Type), string(uid.ID))
		if !ok {
			continue
		}
		covers[uid] |= abi.MaskOf(a)
		for parent := range entity.Parents.All() {
			covers[parent] |= abi.MaskOf(a)
		}
	}
	return covers
}

// actions returns the handled actions of a scope.
func (l *lowerer) actions(scope scopeNode) abi.ActionMask {
	switch scope := scope.(type) {
	case scopeEq:
		return l.covers[scope.Entity] & l.handled
	case scopeIn:
		return l.covers[scope.Entity] & l.handled
	case scopeInSet:
		var mask abi.ActionMask
		for _, uid := range scope.Entities {
			mask |= l.covers[uid]
		}
		return mask & l.handled
	}
	return l.handled
}

// rules lowers one policy. Actions with equal formulas share a rule.
func (l *lowerer) rules(index int, p *policy) []rule.Rule {
	mask := l.actions(p.action)
	l.policy = p
	if mask == 0 || !l.principalMatches(p.principal) {
		return nil
	}
	groups := []abi.ActionMask{mask}
	if p.mentions("action") {
		groups = groups[:0]
		for _, a := range mask.Actions() {
			groups = append(groups, abi.MaskOf(a))
		}
	}
	var rules []rule.Rule
	at := make(map[string]int)
	for _, group := range groups {
		for _, cond := range split(l.satisfied(p, group.Actions()[0])) {
			key := ""
			if len(groups) > 1 {
				key = cond.String()
			}
			if i, ok := at[key]; ok && len(groups) > 1 {
				rules[i].Actions |= uint32(group)
				continue
			}
			at[key] = len(rules)
			rules = append(rules, rule.Rule{Policy: index, Effect: p.meta.Effect, Actions: uint32(group), Cond: cond})
		}
	}
	return rules
}

// satisfied returns where the policy is satisfied for one action.
func (l *lowerer) satisfied(p *policy, a abi.Action) rule.Cond {
	l.action = types.NewEntityUID(types.EntityType(a.Type()), types.String(a.String()))
	l.spent, l.tooLarge = 0, false
	operands := []func() ternary{func() ternary { return known(l.resourceScope(p.resource)) }}
	for _, c := range p.conditions {
		body := c.body
		if c.unless {
			body = negated(body)
		}
		operands = append(operands, func() ternary { return l.lower(body) })
	}
	x := l.and(operands...)
	if l.tooLarge {
		l.errs.addf(p.position(), "policy %s: its conditions become a formula of more than %d terms: the policy set is refused; split the policy", p.meta.ID, maxFormula)
	}
	return x.t.cond
}

// principalMatches decides the principal's scope.
func (l *lowerer) principalMatches(scope scopeNode) bool {
	in := func(parent types.EntityUID) bool {
		n := nodeIn{}
		n.Left, n.Right = nodeValue{Value: l.principal}, nodeValue{Value: parent}
		v, err := evaluate(n, l.env())
		return err == nil && v == types.True
	}
	switch scope := scope.(type) {
	case scopeEq:
		return l.principal == scope.Entity
	case scopeIn:
		return in(scope.Entity)
	case scopeIs:
		return l.principal.Type == scope.Type
	case scopeIsIn:
		return l.principal.Type == scope.Type && in(scope.Entity)
	}
	return true
}

// resourceScope lowers the resource's scope.
func (l *lowerer) resourceScope(scope scopeNode) formula {
	switch scope := scope.(type) {
	case scopeEq:
		return isEntity(scope.Entity)
	case scopeIn:
		return inEntity(scope.Entity)
	case scopeIs:
		return isType(scope.Type)
	case scopeIsIn:
		return l.conj(isType(scope.Type), inEntity(scope.Entity))
	}
	return always
}

// env is what cedar-go may know. Nothing that mentions the resource or the
// context is evaluated.
func (l *lowerer) env() evalEnv {
	return evalEnv{Entities: l.world, Principal: l.principal, Action: l.action, Resource: types.EntityUID{}, Context: types.Record{}}
}

// lower returns the meaning of a boolean expression.
func (l *lowerer) lower(n node) ternary {
	if l.tooLarge || l.errs.full() {
		return failing
	}
	switch n := n.(type) {
	case nodeAnd:
		return l.and(l.each(operandsOf(n, func(n node) (left, right node, ok bool) {
			and, ok := n.(nodeAnd)
			return and.Left, and.Right, ok
		}))...)
	case nodeOr:
		return l.or(l.each(operandsOf(n, func(n node) (left, right node, ok bool) {
			or, ok := n.(nodeOr)
			return or.Left, or.Right, ok
		}))...)
	case nodeNot:
		return l.not(l.lower(n.Arg))
	case nodeIf:
		return l.choose(l.lower(n.If),
			func() ternary { return l.lower(n.Then) },
			func() ternary { return l.lower(n.Else) })
	}
	if !depends(n) {
		return l.evaluated(n)
	}
	return l.relation(n)
}

// operandsOf lists the operands of a chain, which leans to the left.
func operandsOf(n node, pair func(node) (left, right node, ok bool)) []node {
	var reversed []node
	for {
		left, right, ok := pair(n)
		if !ok {
			reversed = append(reversed, n)
			break
		}
		reversed = append(reversed, right)
		n = left
	}
	for i, j := 0, len(reversed)-1; i < j; i, j = i+1, j-1 {
		reversed[i], reversed[j] = reversed[j], reversed[i]
	}
	return reversed
}

func (l *lowerer) each(list []node) []func() ternary {
	out := make([]func() ternary, len(list))
	for i, n := range list {
		out[i] = func() ternary { return l.lower(n) }
	}
	return out
}

// evaluated is a boolean expression that cedar-go can decide now.
func (l *lowerer) evaluated(n node) ternary {
	v, err := evaluate(n, l.env())
	if b, ok := v.(types.Boolean); err == nil && ok {
		return known(constant(bool(b)))
	}
	return failing
}

// depends reports whether n mentions what only the kernel knows.
func depends(n node) bool { return mentions(n, "resource") || mentions(n, "context") }

// mentions reports whether n uses a variable.
func mentions(n node, variable types.String) bool {
	found := false
	inspect(n, func(n node) bool {
		if v, ok := n.(nodeVariable); ok && v.Name == variable {
			found = true
		}
		return !found
	})
	return found
}

// mentions reports whether a condition uses a variable.
func (p *policy) mentions(variable types.String) bool {
	for _, c := range p.conditions {
		if mentions(c.body, variable) {
			return true
		}
	}
	return false
}
