package compiler

import (
	"fmt"
	"slices"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// Explanation says why a request is answered as it is.
type Explanation struct {
	Request abi.Request
	Verdict abi.Verdict
	// Policies are those that determine the verdict, with their text.
	Policies []Clause
	// Would is what the verdict would be if the policies in audit were enforced,
	// and Audited are those that make it another.
	Would   abi.Verdict
	Audited []Clause
	// Matters lists the facts that could change the verdict.
	Matters []abi.Dim
	// Asks are the conditions that an ask waits for.
	Asks []Question
	// Suggestions are changes that allow a request that is denied, the smallest
	// first. Each was compiled and asked.
	Suggestions []Suggestion
	// Dead says why there are no suggestions, of a denial.
	Dead string
	// Boundary says what is refused here whatever policies say, or "".
	Boundary string
}

// Clause is a policy with its text, from its effect on.
type Clause struct {
	*rule.Policy
	Text string
}

// Question is a condition that only the agent can evaluate.
type Question struct {
	Policy *rule.Policy
	rule.Residual
}

// Explain compiles an input, decides a request and says why. Sources of the
// names in fixed are not to be edited.
func Explain(in Input, q abi.Request, fixed ...string) (*Explanation, error) {
	if problem, mend := PathProblem(q.Path); problem != "" {
		return nil, &Error{Position{File: "path"}, problem + ": it is not decided; " + mend}
	}
	f, err := read(in)
	if err != nil {
		return nil, err
	}
	plan, err := f.compile(in)
	if err != nil {
		return nil, err
	}
	if !plan.Handled.Has(q.Action) {
		return nil, &Error{Position{File: "action"}, unhandled(q.Action)}
	}
	e := &Explanation{Request: q, Verdict: plan.Decide(q), Matters: plan.Table.Matters(q), Boundary: boundary(q)}
	for _, p := range plan.Satisfied(q) {
		e.Policies = append(e.Policies, Clause{p, f.find(plan, p).text()})
	}
	would, audited := plan.Audited(q)
	e.Would = would
	for _, p := range audited {
		e.Audited = append(e.Audited, Clause{p, f.find(plan, p).text()})
	}
	for _, r := range plan.Asks(q) {
		e.Asks = append(e.Asks, Question{&plan.Rules.Policies[r.Policy], r})
	}
	if e.Verdict == abi.Deny {
		m := &mender{in: in, front: f, plan: plan, request: q, fixed: fixed}
		e.Suggestions, e.Dead = m.suggestions()
	}
	return e, nil
}

// unhandled says why a plan has no verdict on an action.
func unhandled(a abi.Action) string {
	switch {
	case abi.EnforcedActions.Has(a):
		return fmt.Sprintf("%s: it is not among the handled actions: it is not enforced, so nothing is denied; add --handle %s", a.Cedar(), a)
	case a == abi.Trace || a == abi.Interrupt || a == abi.Kill:
		return a.Cedar() + ": no policy is asked: towards processes outside the workload it is always refused, inside never; leave it to the boundary"
	}
	return a.Cedar() + ": no hook of this version decides it: it is neither allowed nor denied; ask about one of " + abi.EnforcedActions.String()
}

// find returns the parsed policy of a plan's policy.
func (f *front) find(plan *Plan, p *rule.Policy) *policy {
	return f.policies[slices.IndexFunc(plan.Rules.Policies, func(x rule.Policy) bool { return x.ID == p.ID })]
}

// boundary says what the boundary refuses at a path, going by where such files
// usually are.
func boundary(q abi.Request) string {
	reads := abi.MaskOf(abi.Open, abi.Read, abi.Stat, abi.Execute, abi.Map, abi.ConnectUnix).Has(q.Action)
	under := func(dirs ...string) bool {
		return slices.ContainsFunc(dirs, func(d string) bool { return q.Path == d || rule.Below(q.Path, d) })
	}
	const always = ", whatever policies say, where the usual filesystem is mounted there"
	switch {
	case under("/sys/fs/bpf"):
		return "any use of bpffs is refused" + always
	case under("/proc/kcore", "/dev/mem", "/dev/kmem", "/dev/port"):
		return "a device that bypasses every path is refused" + always
	case !reads && under("/sys"):
		return "a change of sysfs, cgroupfs, debugfs, tracefs or securityfs is refused" + always
	case !reads && under("/proc"):
		return "a change of procfs is refused, but for files about the workload's own processes" + always
	}
	return ""
}
