package compiler

import (
	"slices"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// maxSplit bounds the work of distributing a conjunction over its largest
// disjunction.
const maxSplit = 1 << 24

// cut turns the formulas of policies into rules. Actions for which a policy has
// equal ones share them.
func cut(policies []rule.Policy, list []lowered) []rule.Rule {
	var rules []rule.Rule
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].policy == list[0].policy {
			n++
		}
		rules = append(rules, cutOne(&policies[list[0].policy], list[:n])...)
		list = list[n:]
	}
	return rules
}

// cutOne cuts the formulas of one policy.
func cutOne(p *rule.Policy, list []lowered) []rule.Rule {
	var rules []rule.Rule
	at := make(map[string]int)
	for _, f := range list {
		for _, cond := range split(f.cond) {
			if len(list) > 1 {
				key := cond.String()
				if i, ok := at[key]; ok {
					rules[i].Actions |= f.actions
					continue
				}
				at[key] = len(rules)
			}
			rules = append(rules, f.rule(p, cond))
		}
	}
	return rules
}

// rule is one of its policy, which holds under a condition.
func (f *lowered) rule(p *rule.Policy, cond rule.Cond) rule.Rule {
	return rule.Rule{Policy: f.policy, Effect: p.Effect, Audited: p.Audited(), Trips: p.Respond() != "", Actions: f.actions, Cond: cond}
}

// split cuts a formula into alternatives of which any one suffices. Many small
// rules are what tables are good at: a set of 100,000 paths becomes as many.
func split(cond rule.Cond) []rule.Cond {
	var out []rule.Cond
	seen := make(map[string]bool)
	for _, alternative := range alternatives(cond) {
		for _, c := range distribute(alternative) {
			c = narrow(c)
			if c == rule.Cond(rule.Const(false)) {
				continue
			}
			key := c.String()
			if !seen[key] {
				seen[key] = true
				out = append(out, c)
			}
		}
	}
	return out
}

// alternatives returns the operands of a disjunction, or the formula itself.
func alternatives(cond rule.Cond) []rule.Cond {
	if or, ok := cond.(rule.Or); ok {
		return or
	}
	return []rule.Cond{cond}
}

// distribute turns a & (b | c) into a & b, a & c for the largest disjunction.
func distribute(cond rule.Cond) []rule.Cond {
	and, ok := cond.(rule.And)
	if !ok {
		return []rule.Cond{cond}
	}
	largest, rest := -1, 0
	for i, c := range and {
		or, ok := c.(rule.Or)
		if ok && (largest < 0 || len(or) > len(and[largest].(rule.Or))) {
			largest = i
		}
		rest += size(c)
	}
	if largest < 0 {
		return []rule.Cond{cond}
	}
	or := and[largest].(rule.Or)
	if rest -= size(or); rest*len(or) > maxSplit {
		return []rule.Cond{cond}
	}
	others := append(append([]rule.Cond(nil), and[:largest]...), and[largest+1:]...)
	out := make([]rule.Cond, len(or))
	for i, c := range or {
		out[i] = rule.Conj(append(others[:len(others):len(others)], c)...)
	}
	return out
}

func size(cond rule.Cond) int {
	n := 1
	switch c := cond.(type) {
	case rule.Not:
		n += size(c.X)
	case rule.And:
		for _, x := range c {
			n += size(x)
		}
	case rule.Or:
		for _, x := range c {
			n += size(x)
		}
	}
	return n
}

// narrow decides everything about the path in a conjunction that names the one
// path it is about.
func narrow(cond rule.Cond) rule.Cond {
	and, ok := cond.(rule.And)
	if !ok {
		return cond
	}
	for _, c := range and {
		eq, ok := c.(rule.PathEq)
		if !ok {
			continue
		}
		of := abi.Each(func(k abi.Kind) rule.Cond { return rule.Bind(and, k, eq.Path) })
		if !slices.ContainsFunc(of[:], func(c rule.Cond) bool { return c.String() != of[0].String() }) {
			return rule.Conj(eq, of[0])
		}
		each := abi.Each(func(k abi.Kind) rule.Cond { return rule.Conj(rule.OfKind(k), eq, of[k]) })
		return rule.Disj(each[:]...)
	}
	return cond
}
