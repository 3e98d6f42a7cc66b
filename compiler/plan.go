package compiler

import (
	"iter"
	"maps"
	"slices"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
	"github.com/stockade-dev/stockade/compiler/table"
)

// Policy is one of a plan's.
type Policy = rule.Policy

// Plan is the compiled form of a policy set for one principal: pure data, no
// kernel involved.
type Plan struct {
	// Principal is the Cedar text of the principal, for example User::"alice".
	Principal string
	// Digest identifies the policy set: SHA-256, in hexadecimal, of an encoding of
	// policies, entities, schema and answers (digest.go).
	Digest string
	Rules  rule.Set
	Table  *table.Table
	// Handled are the actions that this plan enforces.
	Handled abi.ActionMask
	// Warnings are positioned remarks that do not stop a compile.
	Warnings []string
	// Container is what reads otherwise in a container.
	Container Container

	index  *ruleIndex
	scopes []scope
	front  *front // of a plan that asks, for its Oracle
}

// Decide answers one request from the compiled table: by the enforced policies
// (Audited tells of the others). Outside paths cannot be asked here.
func (p *Plan) Decide(r abi.Request) abi.Verdict { return p.Table.Decide(r) }

// candidates yields the numbers of the rules that may hold for a path: all of
// them if the plan was made without an index.
func (p *Plan) candidates(path string) iter.Seq[int] {
	if p.index == nil {
		return func(yield func(int) bool) {
			for i := range p.Rules.Rules {
				if !yield(i) {
					return
				}
			}
		}
	}
	return slices.Values(p.index.candidates(path))
}

// applicable yields the rules about an action that may hold for a path.
func (p *Plan) applicable(request abi.Request) iter.Seq[*rule.Rule] {
	return func(yield func(*rule.Rule) bool) {
		for i := range p.candidates(request.Path) {
			if r := &p.Rules.Rules[i]; r.Actions>>request.Action&1 == 1 && !yield(r) {
				return
			}
		}
	}
}

// enforced yields the applicable rules that take part in the verdict.
func (p *Plan) enforced(request abi.Request) iter.Seq[*rule.Rule] {
	return func(yield func(*rule.Rule) bool) {
		for r := range p.applicable(request) {
			if !r.Audited && !yield(r) {
				return
			}
		}
	}
}

// Satisfied returns the policies that determine the verdict, as Cedar defines
// them: the satisfied forbids if there are any, else the satisfied permits. Of
// an ask it returns those that are satisfied whatever the agent finds out.
func (p *Plan) Satisfied(request abi.Request) []*rule.Policy {
	var permits, forbids []*rule.Policy
	seen := make(map[int]bool)
	facts := &request
	for r := range p.enforced(request) {
		if seen[r.Policy] || rule.Eval(r.Cond, facts) != rule.True {
			continue
		}
		seen[r.Policy] = true
		if r.Effect == rule.Forbid {
			forbids = append(forbids, &p.Rules.Policies[r.Policy])
		} else {
			permits = append(permits, &p.Rules.Policies[r.Policy])
		}
	}
	if len(forbids) > 0 {
		return forbids
	}
	return permits
}

// Asks returns the residuals that the verdict on a request depends on, in order;
// none if the rules decide it.
func (p *Plan) Asks(request abi.Request) []rule.Residual {
	facts := &request
	open := [2]map[int]bool{rule.Permit: {}, rule.Forbid: {}}
	permitted := false
	for r := range p.enforced(request) {
		switch rule.Eval(r.Cond, facts) {
		case rule.True:
			if r.Effect == rule.Forbid {
				return nil
			}
			permitted = true
		case rule.Unclear:
			rule.Unknowns(rule.Known(r.Cond, facts), func(i int) { open[r.Effect][i] = true })
		}
	}
	numbers := open[rule.Forbid]
	if !permitted {
		if len(open[rule.Permit]) == 0 {
			return nil
		}
		maps.Copy(numbers, open[rule.Permit])
	}
	var list []rule.Residual
	for _, i := range slices.Sorted(maps.Keys(numbers)) {
		list = append(list, p.Rules.Residuals[i])
	}
	return list
}

// DigestName is the digest as the API and events tell it, with the algorithm's name.
func (p *Plan) DigestName() string { return "sha256:" + p.Digest }
