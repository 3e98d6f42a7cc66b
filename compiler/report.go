package compiler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// Outcome is what becomes of a policy for some actions.
type Outcome uint8

// The outcomes.
const (
	// Exact: the kernel decides it.
	Exact Outcome = iota
	// Asked: the agent is asked where the policy's verdict depends on what the
	// kernel does not know.
	Asked
	// NeverHolds: it is enforced and holds for no request of this principal.
	NeverHolds
	// NotHandled: hooks could decide it, but this plan leaves it out.
	NotHandled
	// NoHook: no hook of this version decides it.
	NoHook
	// OtherPrincipal: its scope is about other principals.
	OtherPrincipal
)

var outcomeTexts = [...]string{
	Exact:          "kernel, exact",
	Asked:          "asked",
	NeverHolds:     "never holds",
	NotHandled:     "not enforced here: the action is not handled",
	NoHook:         "not enforced here: no kernel hook of this version decides it",
	OtherPrincipal: "not enforced here: it is about other principals",
}

// String says the outcome in words.
func (o Outcome) String() string {
	if int(o) < len(outcomeTexts) {
		return outcomeTexts[o]
	}
	return "unknown"
}

// Finding is one outcome of a policy.
type Finding struct {
	Outcome Outcome
	// Actions are those that it is about; 0 where the outcome is about the
	// actions of Names, or about the whole policy.
	Actions abi.ActionMask
	// Names lists actions that no hook decides.
	Names []string
	// Residuals are what the agent is asked.
	Residuals []rule.Residual
}

// Report is what becomes of one policy.
type Report struct {
	Policy   *rule.Policy
	Findings []Finding
}

// String renders a report: a line for each finding, and one for each residual
// below it.
func (r *Report) String() string {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s: %s %s: ", r.Policy.Position(), r.Policy.Effect, r.Policy.ID)
		if names := f.names(); names != "" {
			fmt.Fprintf(&b, "%s: ", names)
		}
		b.WriteString(f.outcome(r.Policy) + "\n")
		for _, x := range f.Residuals {
			what := "whether it holds"
			if x.Error {
				what = "whether it errors"
			}
			fmt.Fprintf(&b, "    %s:%d:%d: `%s`, %s: %s\n", r.Policy.File, x.Line, x.Column, x.Expr, what, x.Reason)
		}
	}
	return b.String()
}

// outcome says the outcome of a policy, which may be in audit.
func (f *Finding) outcome(p *rule.Policy) string {
	switch {
	case !p.Audited() || f.Outcome != Exact && f.Outcome != Asked:
		return f.Outcome.String()
	case p.Effect == rule.Permit:
		return "in audit: it permits nothing"
	case f.Outcome == Asked:
		return "in audit: what it may deny is reported"
	}
	return "in audit: what it would deny is reported"
}

func (f *Finding) names() string {
	if f.Actions != 0 {
		return f.Actions.String()
	}
	return strings.Join(f.Names, ", ")
}

// scope is what a report says of a policy beside its rules.
type scope struct {
	handled, unhandled abi.ActionMask
	// hookless lists the actions of its scope that no hook decides.
	hookless  []string
	principal bool // the policy is about this principal
}

// scopes describes the scope of every policy.
func (f *front) scopes(handled abi.ActionMask) []scope {
	l := &lowerer{principal: f.principal, world: newWorld(f.data), handled: abi.EnforcedActions, covers: coverage()}
	list := make([]scope, len(f.policies))
	for i, p := range f.policies {
		mask := l.actions(p.action)
		s := scope{handled: mask & handled, unhandled: mask &^ handled, principal: l.principalMatches(p.principal)}
		if _, all := p.action.(scopeAll); all {
			s.unhandled = 0 // it names none
		}
		s.hookless = unenforced([]*policy{p}, l.covers)
		list[i] = s
	}
	return list
}

// Reports says of each policy, in their order, what enforces it.
func (p *Plan) Reports() []Report {
	reports := make([]Report, len(p.Rules.Policies))
	exact := make([]abi.ActionMask, len(reports))
	asked := make([]map[abi.ActionMask][]int, len(reports))
	for _, r := range p.Rules.Rules {
		var residuals []int
		rule.Unknowns(r.Cond, func(i int) { residuals = append(residuals, i) })
		if residuals == nil {
			exact[r.Policy] |= r.Actions
			continue
		}
		if asked[r.Policy] == nil {
			asked[r.Policy] = make(map[abi.ActionMask][]int)
		}
		asked[r.Policy][r.Actions] = append(asked[r.Policy][r.Actions], residuals...)
	}
	for i := range reports {
		reports[i].Policy = &p.Rules.Policies[i]
		reports[i].Findings = p.findings(p.scopes[i], exact[i], asked[i])
	}
	return reports
}

// findings joins what the rules and the scope of a policy say.
func (p *Plan) findings(s scope, exact abi.ActionMask, asked map[abi.ActionMask][]int) []Finding {
	if !s.principal {
		return []Finding{{Outcome: OtherPrincipal}}
	}
	// The residuals of each action, then actions with equal ones together.
	var list []Finding
	rest := s.handled
	for _, a := range s.handled.Actions() {
		var numbers []int
		for mask, residuals := range asked {
			if mask.Has(a) {
				numbers = append(numbers, residuals...)
			}
		}
		if len(numbers) == 0 {
			continue
		}
		rest &^= abi.MaskOf(a)
		slices.Sort(numbers)
		f := Finding{Outcome: Asked, Actions: abi.MaskOf(a)}
		for _, n := range slices.Compact(numbers) {
			f.Residuals = append(f.Residuals, p.Rules.Residuals[n])
		}
		list = merge(list, f)
	}
	if mask := exact & rest; mask != 0 {
		list = append([]Finding{{Outcome: Exact, Actions: mask}}, list...)
	}
	if mask := rest &^ exact; mask != 0 {
		list = append(list, Finding{Outcome: NeverHolds, Actions: mask})
	}
	if s.unhandled != 0 {
		list = append(list, Finding{Outcome: NotHandled, Actions: s.unhandled})
	}
	if s.hookless != nil {
		list = append(list, Finding{Outcome: NoHook, Names: s.hookless})
	}
	return list
}

// merge adds a finding to one with the same residuals.
func merge(list []Finding, f Finding) []Finding {
	for i := range list {
		if slices.Equal(list[i].Residuals, f.Residuals) {
			list[i].Actions |= f.Actions
			return list
		}
	}
	return append(list, f)
}
