package compiler

import (
	"slices"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// Answer settles, for some requests, what a policy leaves to be asked: in its
// region, whatever is not known of the policy's condition is taken to be so
// that it favours or disfavours the request. What the kernel knows of the
// condition still counts, and so does every other policy.
type Answer struct {
	// Policy is the id of the policy.
	Policy string
	// Actions are the actions that it is given for; 0 means all.
	Actions abi.ActionMask
	// Path is the resource, Beneath says that it is also given for what lies
	// below; "" means every path.
	Path    string
	Beneath bool
	// Until is when it lapses, in milliseconds since 1970; the kernel's own
	// clock decides. 0 means never.
	Until int64
	// Allow favours the request.
	Allow bool
}

// region returns where the answer holds.
func (a Answer) region() rule.Cond {
	var where, when rule.Cond = rule.Const(true), rule.Const(true)
	switch {
	case a.Path == "":
	case a.Beneath:
		where = rule.Disj(rule.PathEq{Path: a.Path}, rule.PathBelow{Path: a.Path})
	default:
		where = rule.PathEq{Path: a.Path}
	}
	if a.Until != 0 {
		when = rule.Less{Field: rule.Now, Bound: a.Until}
	}
	return rule.Conj(where, when)
}

// Covers reports whether the answer is given for a request, whatever policy it is
// about.
func (a Answer) Covers(r abi.Request) bool {
	return (a.Actions == 0 || a.Actions.Has(r.Action)) && rule.Eval(a.region(), &r) == rule.True
}

// settle applies answers to lowered rules; of two for one request the first
// counts.
func settle(set *rule.Set, answers []Answer) {
	for _, a := range answers {
		var rules []rule.Rule
		for _, r := range set.Rules {
			open := false
			rule.Unknowns(r.Cond, func(int) { open = true })
			actions := r.Actions
			if a.Actions != 0 {
				actions &= a.Actions
			}
			if !open || actions == 0 || set.Policies[r.Policy].ID != a.Policy {
				rules = append(rules, r)
				continue
			}
			if rest := r.Actions &^ actions; rest != 0 {
				other := r
				other.Actions = rest
				rules = append(rules, other)
			}
			r.Actions = actions
			r.Cond = settled(r.Cond, a.region(), (r.Effect == rule.Permit) == a.Allow)
			rules = append(rules, r)
		}
		set.Rules = rules
	}
}

// settled is c, but in the region what is unknown makes it true if it can, or
// (up is false) false.
func settled(c, region rule.Cond, up bool) rule.Cond {
	return rule.Disj(rule.Conj(region, bound(c, up)), rule.Conj(rule.Neg(region), c))
}

// bound replaces every Unknown so that c becomes as true, or as false, as it
// can.
func bound(c rule.Cond, up bool) rule.Cond {
	each := func(list []rule.Cond) []rule.Cond {
		list = slices.Clone(list)
		for i := range list {
			list[i] = bound(list[i], up)
		}
		return list
	}
	switch c := c.(type) {
	case rule.Unknown:
		return rule.Const(up)
	case rule.Not:
		return rule.Neg(bound(c.X, !up))
	case rule.And:
		return rule.Conj(each(c)...)
	case rule.Or:
		return rule.Disj(each(c)...)
	}
	return c
}
