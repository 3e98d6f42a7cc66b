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
// expression, what it stands for in which case (term.go), where it is true and
// where it errors (formula.go).
type lowerer struct {
	principal types.EntityUID
	workload  *Workload
	world     types.EntityGetter
	regions   *regions
	handled   abi.ActionMask
	covers    map[types.EntityUID]abi.ActionMask
	contexts  map[types.EntityUID]term
	residuals []rule.Residual
	errs      *collector

	// The policy and the action at hand.
	policy   *policy
	index    int
	action   types.EntityUID
	shared   map[residualKey]int // the policy's residuals
	culprits []node              // what can error
	spent    int
	tooLarge bool
}

// lowered is what one policy comes to for actions that it does not tell apart.
type lowered struct {
	policy  int
	actions abi.ActionMask
	cond    rule.Cond // where it is satisfied
}

// lower returns the formulas of all policies and a set without rules, with
// residuals that none may need. It reports what it cannot compile.
func (f *front) lower(handled abi.ActionMask, errs *collector) (rule.Set, []lowered, []failure) {
	l := &lowerer{principal: f.principal, workload: f.workload, world: newWorld(f.data), regions: newRegions(f.data),
		handled: handled, covers: coverage(), contexts: make(map[types.EntityUID]term), errs: errs}
	set := rule.Set{Policies: make([]rule.Policy, len(f.policies)), Unenforced: unenforced(f.policies, l.covers)}
	var list []lowered
	var failures []failure
	for i, p := range f.policies {
		set.Policies[i] = p.meta
		l.policy, l.index, l.culprits, l.shared = p, i, nil, make(map[residualKey]int)
		formulas, errors := l.formulas(i, p)
		list = append(list, formulas...)
		if errors != nil {
			failures = append(failures, failure{p, errors, l.culprits, l.env()})
		}
		if errs.full() {
			break
		}
	}
	set.Residuals = l.residuals
	return set, list, failures
}

// failure is a policy whose evaluation may error, and where.
type failure struct {
	policy   *policy
	where    []rule.Cond // an alternative for each group of actions
	culprits []node
	env      evalEnv
}

// blame notes that the evaluation of n can error.
func (l *lowerer) blame(n node) { l.culprits = append(l.culprits, n) }

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

// formulas lowers one policy. errors are the conditions under which its
// evaluation errors.
func (l *lowerer) formulas(index int, p *policy) (list []lowered, errors []rule.Cond) {
	mask := l.actions(p.action)
	if mask == 0 || !l.principalMatches(p.principal) {
		return nil, nil
	}
	for _, group := range l.groups(p, mask) {
		x := l.satisfied(p, group.Actions()[0])
		if !x.e.is(false) {
			errors = append(errors, x.e.cond)
		}
		list = append(list, lowered{index, group, x.t.cond})
	}
	return list, errors
}

// groups splits actions into those that a policy cannot tell apart.
func (l *lowerer) groups(p *policy, mask abi.ActionMask) []abi.ActionMask {
	switch {
	case p.mentions("action"):
		var groups []abi.ActionMask
		for _, a := range mask.Actions() {
			groups = append(groups, abi.MaskOf(a))
		}
		return groups
	case !p.sameContext():
		return contextGroups(mask)
	}
	return []abi.ActionMask{mask}
}

// satisfied returns where the policy is satisfied for one action, and where
// its evaluation errors.
func (l *lowerer) satisfied(p *policy, a abi.Action) ternary {
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
	return x
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
		return l.inEntity(scope.Entity)
	case scopeIs:
		return isType(scope.Type)
	case scopeIsIn:
		return l.conj(isType(scope.Type), l.inEntity(scope.Entity))
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
	l.blame(n)
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

// sameContext reports whether the conditions look only at what the context of
// every action has.
func (p *policy) sameContext() bool {
	mentioned, common := 0, 0
	count := func(arg node, name types.String) {
		v, ok := arg.(nodeVariable)
		switch name {
		case "process", "user", "group", "now", "workload":
			if ok && v.Name == "context" {
				common++
			}
		}
	}
	for _, c := range p.conditions {
		inspect(c.body, func(n node) bool {
			switch n := n.(type) {
			case nodeVariable:
				if n.Name == "context" {
					mentioned++
				}
			case nodeAccess:
				count(n.Arg, n.Value)
			case nodeHas:
				count(n.Arg, n.Value)
			}
			return true
		})
	}
	return mentioned == common
}

// mentionsAttribute reports whether a condition reads an attribute of the
// context, or tests it.
func (p *policy) mentionsAttribute(name types.String) bool {
	ofContext := func(n node) bool { v, ok := n.(nodeVariable); return ok && v.Name == "context" }
	found := false
	for _, c := range p.conditions {
		inspect(c.body, func(n node) bool {
			switch n := n.(type) {
			case nodeAccess:
				found = found || n.Value == name && ofContext(n.Arg)
			case nodeHas:
				found = found || n.Value == name && ofContext(n.Arg)
			}
			return !found
		})
	}
	return found
}
