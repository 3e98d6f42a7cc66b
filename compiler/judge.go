package compiler

import (
	"slices"

	"github.com/cedar-policy/cedar-go"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// Oracle returns cedar-go's view of the policies of a plan that asks; nil if the
// plan asks nothing.
func (p *Plan) Oracle() *Oracle {
	if p.front == nil {
		return nil
	}
	return newOracle(p.front)
}

// Uses are the facts that the answer to a request depends on and the kernel does
// not know, by the position of the policy that asks.
func (p *Plan) Uses(request abi.Request) map[int]Uses {
	uses := make(map[int]Uses)
	for _, x := range p.Asks(request) {
		uses[x.Policy] |= x.Uses
	}
	return uses
}

// Judge settles a request that the plan asks about: what is open of a policy is
// decided by open, all else by the plan, answers included. determining are the
// policies that the verdict rests on.
func (p *Plan) Judge(request abi.Request, open func(policy int) bool) (allow bool, determining []*rule.Policy) {
	facts := &request
	certain, unclear := make(map[int]bool), make(map[int]bool)
	for r := range p.enforced(request) {
		switch rule.Eval(r.Cond, facts) {
		case rule.True:
			certain[r.Policy] = true
		case rule.Unclear:
			unclear[r.Policy] = true
		}
	}
	for i := range unclear {
		certain[i] = certain[i] || open(i)
	}
	var met [2][]*rule.Policy
	for i := range p.Rules.Policies {
		if policy := &p.Rules.Policies[i]; certain[i] {
			met[policy.Effect] = append(met[policy.Effect], policy)
		}
	}
	if len(met[rule.Forbid]) > 0 {
		return false, met[rule.Forbid]
	}
	return len(met[rule.Permit]) > 0, met[rule.Permit]
}

// Favoured reports whether a policy that asks is satisfied if whatever is not
// known of it is taken to favour the request, or (favour is false) to be against
// it: what an Answer does.
func (p *Plan) Favoured(request abi.Request, policy int, favour bool) bool {
	facts := &request
	for r := range p.enforced(request) {
		up := (r.Effect == rule.Permit) == favour
		if r.Policy == policy && rule.Eval(bound(r.Cond, up), facts) == rule.True {
			return true
		}
	}
	return false
}

// Satisfied reports whether one policy is satisfied, by its position among the
// plan's policies. The request must be one that AuthorizeIn takes.
func (o *Oracle) Satisfied(policy int, r abi.Request, told Told) bool {
	set := o.single[policy]
	if set == nil {
		set = cedar.NewPolicySet()
		set.Add(cedar.PolicyID(o.order[policy].meta.ID), o.order[policy].cedar)
		o.single[policy] = set
	}
	_, diagnostic := o.diagnoseBy(set, r, told)
	return len(diagnostic.Reasons) > 0
}

// place is where a condition can leave something open.
type place struct {
	literal []string
	wide    bool
}

// AskPlaces says where the plan may ask about any of the actions: at the paths
// listed and, if wide, elsewhere too. It never leaves out a place.
func (p *Plan) AskPlaces(actions abi.ActionMask) (paths []string, wide bool) {
	if len(p.Rules.Residuals) == 0 {
		return nil, false
	}
	for _, r := range p.Rules.Rules {
		if r.Audited || r.Actions&actions == 0 {
			continue
		}
		at := asksAt(r.Cond)
		paths, wide = append(paths, at.literal...), wide || at.wide
	}
	slices.Sort(paths)
	return slices.Compact(paths), wide
}

// asksAt returns where a condition can be unclear.
func asksAt(c rule.Cond) place {
	open := false
	rule.Unknowns(c, func(int) { open = true })
	if !open {
		return place{}
	}
	return holdsAt(c, true)
}

// holdsAt returns paths such that a condition can be true or unclear at no
// other. Of a disjunction, open keeps the operands that can be unclear alone.
func holdsAt(c rule.Cond, open bool) place {
	switch c := c.(type) {
	case rule.Const:
		return place{wide: bool(c)}
	case rule.PathEq:
		return place{literal: []string{c.Path}}
	case rule.And:
		best := place{wide: true}
		for _, x := range c {
			if at := holdsAt(x, false); !at.wide && (best.wide || len(at.literal) < len(best.literal)) {
				best = at
			}
		}
		if best.wide && open { // unclear only where an operand is
			at := place{}
			for _, x := range c {
				one := asksAt(x)
				at = place{append(at.literal, one.literal...), at.wide || one.wide}
			}
			return at
		}
		return best
	case rule.Or:
		at := place{}
		for _, x := range c {
			one := holdsAt(x, open)
			if open {
				one = asksAt(x)
			}
			at = place{append(at.literal, one.literal...), at.wide || one.wide}
		}
		return at
	}
	return place{wide: true}
}

// singles makes room for what Satisfied keeps.
func (o *Oracle) singles(f *front) {
	o.order, o.single = f.policies, make(map[int]*cedar.PolicySet)
}
