package compiler

import (
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
	"github.com/stockade-dev/stockade/compiler/table"
)

// Plan is the compiled form of a policy set for one principal: pure data, no
// kernel involved.
type Plan struct {
	// Principal is the Cedar text of the principal, for example User::"alice".
	Principal string
	// Digest identifies the policy set: SHA-256, in hexadecimal, of its
	// canonical form (policies, entities, schema).
	Digest string
	Rules  rule.Set
	Table  *table.Table
	// Handled are the actions that this plan enforces.
	Handled abi.ActionMask
	// Warnings are positioned remarks that do not stop a compile.
	Warnings []string
}

// Decide answers one request from the compiled table. Outside paths cannot be
// asked here.
func (p *Plan) Decide(r abi.Request) abi.Verdict { return p.Table.Decide(r) }

// ruleRequest is a request as conditions see it.
func ruleRequest(r abi.Request) *rule.Request {
	return &rule.Request{Dir: r.Kind == abi.Dir, Path: r.Path, Exe: r.Exe, Parent: r.Parent, Dest: r.Dest,
		Attr: r.Xattr, UID: int64(r.UID), GID: int64(r.GID), Now: r.Now}
}

// Satisfied returns the policies that determine the verdict, as Cedar defines
// them: the satisfied forbids if there are any, else the satisfied permits.
func (p *Plan) Satisfied(request abi.Request) []*rule.Policy {
	var permits, forbids []*rule.Policy
	seen := make(map[int]bool)
	facts := ruleRequest(request)
	for _, r := range p.Rules.Rules {
		if r.Actions>>request.Action&1 == 0 || seen[r.Policy] || rule.Eval(r.Cond, facts) != rule.True {
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
