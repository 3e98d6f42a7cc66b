package compiler

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
	"github.com/stockade-dev/stockade/compiler/table"
)

// Idle is a policy without which every verdict is the same.
type Idle struct {
	Policy *rule.Policy
	// Empty says that no request satisfies it.
	Empty bool
	// Witness is a request that satisfies it, and Others are the policies that
	// decide such requests without it: of a permit, forbids if there are any. A
	// forbid without others forbids what nothing permits.
	Witness abi.Request
	Others  []*rule.Policy
}

// IdleReport is the result of a search for idle policies.
type IdleReport struct {
	Idle []Idle
	// Late are the policies that no time was left for, Large those whose
	// patterns take too large automata to compare.
	Late, Large []*rule.Policy
	// Principal are those that depend on who acts: they may matter for others.
	// Asked are those that other policies cover, but only as far as the table
	// says: the agent is asked there.
	Principal, Asked []*rule.Policy
}

// FindIdle looks for policies that never matter, within a limit of time: those
// that leave the table as it is when they are left out. Each is judged alone:
// of two that cover each other both are idle. Policies of files in skip, and
// those that are not enforced anyway, are not looked at.
func FindIdle(in Input, plan *Plan, limit time.Duration, skip ...string) (*IdleReport, error) {
	f, err := read(in)
	if err != nil {
		return nil, err
	}
	report, end := &IdleReport{}, time.Now().Add(limit)
	s, err := newIdleSearch(plan.inForce(false))
	if err != nil {
		return nil, err
	}
	audits := s // those in audit are looked at as if they were enforced
	if slices.ContainsFunc(plan.Rules.Rules, func(r rule.Rule) bool { return r.Audited }) {
		all := plan.inForce(true)
		if all.Table, err = table.Build(&all.Rules, plan.Handled); err != nil {
			return nil, costly(&all.Rules, err)
		}
		if audits, err = newIdleSearch(all); err != nil {
			return nil, err
		}
	}
	for i, p := range f.policies {
		meta := &plan.Rules.Policies[i]
		_, anyone := p.principal.(scopeAll)
		switch {
		case slices.Contains(skip, p.source.name), plan.scopes[i].handled == 0:
		case in.Workload == nil && p.mentionsAttribute("workload"): // a warning says so already
		case !anyone || p.mentions("principal"):
			report.Principal = append(report.Principal, meta)
		case time.Now().After(end):
			report.Late = append(report.Late, meta)
		default:
			search := s
			if meta.Audited() {
				search = audits
			}
			if search.look(i, report) != nil {
				report.Large = append(report.Large, meta)
			}
		}
	}
	return report, nil
}

// inForce is a plan without policies in audit: with all of them enforced, but
// for the table, or without their rules.
func (p *Plan) inForce(all bool) *Plan {
	other := *p
	other.Table, other.Rules.Rules = p.Table.Enforced(), nil
	for _, r := range p.Rules.Rules {
		if r.Audited && !all {
			continue
		}
		r.Audited = false
		other.Rules.Rules = append(other.Rules.Rules, r)
	}
	other.index = newRuleIndex(other.Rules.Rules)
	return &other
}

type idleSearch struct {
	plan    *Plan
	nothing *table.Table
	bytes   []byte
	rules   [][]rule.Rule // by policy
}

func newIdleSearch(plan *Plan) (*idleSearch, error) {
	nothing, err := table.Build(&rule.Set{}, plan.Handled)
	if err != nil {
		return nil, err
	}
	s := &idleSearch{plan: plan, nothing: nothing, bytes: plan.Table.Bytes(), rules: make([][]rule.Rule, len(plan.Rules.Policies))}
	for _, r := range plan.Rules.Rules {
		s.rules[r.Policy] = append(s.rules[r.Policy], r)
	}
	return s, nil
}

// look judges policy number i.
func (s *idleSearch) look(i int, report *IdleReport) error {
	var mine rule.Set
	for _, r := range s.rules[i] {
		r.Effect, r.Cond = rule.Permit, possibly(r.Cond, true)
		mine.Rules = append(mine.Rules, r)
	}
	// What the policy may hold for is allowed in reach.
	reach, err := table.Build(&mine, s.plan.Handled)
	if err != nil {
		return err
	}
	holds, err := table.Compare(s.nothing, reach)
	if err != nil {
		return err
	}
	policy := &s.plan.Rules.Policies[i]
	if len(holds) == 0 {
		report.Idle = append(report.Idle, Idle{Policy: policy, Empty: true})
		return nil
	}
	if slices.ContainsFunc(holds, func(d table.Difference) bool { return s.matters(i, d.Witness) }) {
		return nil // no need to compile the others
	}
	rest := rule.Set{Residuals: s.plan.Rules.Residuals}
	for j, rules := range s.rules {
		if j != i {
			rest.Rules = append(rest.Rules, rules...)
		}
	}
	without, err := table.Build(&rest, s.plan.Handled)
	if err != nil {
		return err
	}
	if same, err := s.unchanged(without); err != nil || !same {
		return err
	}
	asks, err := table.Compare(reach, s.plan.Table)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(asks, func(d table.Difference) bool { return d.Old.Verdict == abi.Allow && d.New.Verdict == abi.Ask }) {
		report.Asked = append(report.Asked, policy)
		return nil
	}
	report.Idle = append(report.Idle, s.covered(i, policy, holds))
	return nil
}

// matters reports that the verdict on a request changes without policy i.
func (s *idleSearch) matters(i int, q abi.Request) bool {
	var seen [2][3]bool
	for r := range s.plan.applicable(q) {
		if r.Policy != i {
			seen[r.Effect][rule.Eval(r.Cond, &q)] = true
		}
	}
	return cedarVerdict(seen[rule.Permit], seen[rule.Forbid]) != s.plan.Decide(q)
}

// unchanged reports that a table decides as the plan's does.
func (s *idleSearch) unchanged(t *table.Table) (bool, error) {
	if bytes.Equal(t.Bytes(), s.bytes) {
		return true, nil
	}
	if s.plan.Table.Classes(abi.DimGlob1) == 0 && t.Classes(abi.DimGlob1) == 0 {
		return false, nil // equal meaning gives equal bytes
	}
	list, err := table.Compare(s.plan.Table, t)
	return len(list) == 0, err
}

// possibly is where a condition holds whatever the agent finds out.
func possibly(c rule.Cond, unknown bool) rule.Cond {
	switch c := c.(type) {
	case rule.Unknown:
		return rule.Const(unknown)
	case rule.Not:
		return rule.Neg(possibly(c.X, !unknown))
	case rule.And:
		return rule.Conj(eachPossibly(c, unknown)...)
	case rule.Or:
		return rule.Disj(eachPossibly(c, unknown)...)
	}
	return c
}

func eachPossibly(list []rule.Cond, unknown bool) []rule.Cond {
	out := make([]rule.Cond, len(list))
	for i, c := range list {
		out[i] = possibly(c, unknown)
	}
	return out
}

// maxOthers bounds the policies that are named.
const maxOthers = 3

// covered names the policies that make number i idle.
func (s *idleSearch) covered(i int, policy *rule.Policy, holds []table.Difference) Idle {
	idle := Idle{Policy: policy, Witness: holds[0].Witness}
	for _, d := range holds {
		var permits, forbids []*rule.Policy
		for r := range s.plan.applicable(d.Witness) {
			other := &s.plan.Rules.Policies[r.Policy]
			switch {
			case r.Policy == i || rule.Eval(r.Cond, &d.Witness) != rule.True:
			case r.Effect == rule.Forbid:
				forbids = append(forbids, other)
			default:
				permits = append(permits, other)
			}
		}
		others := forbids
		if policy.Effect == rule.Permit && len(forbids) == 0 {
			others = permits
		}
		for _, p := range others {
			if len(idle.Others) < maxOthers && !slices.Contains(idle.Others, p) {
				idle.Others = append(idle.Others, p)
			}
		}
	}
	return idle
}

// String is a positioned warning.
func (i Idle) String() string {
	text := fmt.Sprintf("%s: policy %s: ", i.Policy.Position(), i.Policy.ID)
	if i.Empty {
		return printable(text + "no request satisfies it: it never matters; correct its conditions, or remove it")
	}
	forbid := slices.ContainsFunc(i.Others, func(p *rule.Policy) bool { return p.Effect == rule.Forbid })
	var names []string
	for _, p := range i.Others {
		names = append(names, p.ID+" ("+p.Position()+")")
	}
	others := strings.Join(names, ", ")
	switch {
	case i.Policy.Effect == rule.Permit && forbid:
		text += "what it permits is forbidden or permitted by others, such as " + others
	case len(i.Others) == 0:
		text += "it forbids only what no policy permits"
	default:
		text += "others decide alike without it, such as " + others
	}
	return printable(text + ", for example " + RequestText(i.Witness) + ": no verdict changes without it; " + i.mend())
}

// mend says what to do about a policy that matters to no verdict: with @respond written
// right it may matter.
func (i Idle) mend() string {
	for key := range i.Policy.Annotations {
		if meantAnnotation(key) == "respond" {
			return "write @respond for @" + key + " if what it denies is to be responded to"
		}
	}
	return "remove it, or correct its conditions"
}

// Unchecked says, a line each, which policies were not judged.
func (r *IdleReport) Unchecked() []string {
	var lines []string
	for _, x := range []struct {
		list []*rule.Policy
		why  string
	}{
		{r.Late, "no time was left; give more with --idle"},
		{r.Large, "comparing their patterns takes too large automata"},
		{r.Principal, "what they decide depends on the principal, and they may matter for others"},
		{r.Asked, "others cover them, but the agent is asked there, and its answers are not known"},
	} {
		if len(x.list) > 0 {
			which := "one, at"
			if len(x.list) > 1 {
				which = fmt.Sprintf("%d policies, the first at", len(x.list))
			}
			lines = append(lines, printable(fmt.Sprintf("not checked for policies that never matter: %s %s: %s", which, x.list[0].Position(), x.why)))
		}
	}
	return lines
}
