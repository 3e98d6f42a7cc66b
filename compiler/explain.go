package compiler

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cedar-policy/cedar-go/types"

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

// Suggestion is a change of policies.
type Suggestion struct {
	// Edits are all needed.
	Edits []Edit
	// Changes are all that it changes, the request included.
	Changes []Change
	// Only says that it allows the request, with any facts, and nothing else.
	Only bool
}

// Edit is a change of one policy, or a policy to add.
type Edit struct {
	// Policy is nil where one is to be added.
	Policy *rule.Policy
	// What says what to do with Text.
	What, Text string

	source     string
	start, end int
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
		return fmt.Sprintf("%s: it is not among the handled actions: it is not enforced, so nothing is denied; handle %s", a.Cedar(), a)
	case a == abi.Trace || a == abi.Interrupt || a == abi.Kill:
		return a.Cedar() + ": no policy is asked: towards processes outside the workload it is always refused, inside never; leave it to the boundary"
	}
	return a.Cedar() + ": no hook of this version decides it: it is neither allowed nor denied; ask about one of " + abi.EnforcedActions.String()
}

// find returns the parsed policy of a plan's policy.
func (f *front) find(plan *Plan, p *rule.Policy) *policy {
	return f.policies[slices.IndexFunc(plan.Rules.Policies, func(x rule.Policy) bool { return x.ID == p.ID })]
}

// spans are the parts of a policy's text: from its effect, of its action scope
// after the word action, and its semicolon.
type spans struct{ effect, action, actionEnd, end int }

// spans finds the parts of the text.
func (p *policy) spans() spans {
	text := p.source.text
	s := scanner{text: text, pos: p.offset}
	x := spans{effect: -1}
	depth, commas := 0, 0
	before := ""
	last := p.offset
	for t := s.next(); t.kind != tokenEOF; t = s.next() {
		word := string(text[t.start:t.end])
		switch {
		case x.effect < 0:
			if depth == 0 && before != "@" && (word == "permit" || word == "forbid") {
				x.effect = t.start
			}
		case depth == 1 && word == "," && x.actionEnd == 0:
			if commas++; commas == 2 {
				x.actionEnd = last
			}
		case depth == 1 && commas == 1 && word == "action" && x.action == 0:
			x.action = t.end
		}
		if t.kind == tokenOperator {
			switch word {
			case "(", "[", "{":
				depth++
			case ")", "]", "}":
				depth--
			case ";":
				x.end = t.start
				return x
			}
		}
		before, last = word, t.end
	}
	x.end = len(text)
	return x
}

// text returns the policy without its annotations.
func (p *policy) text() string {
	x := p.spans()
	return string(p.source.text[x.effect:min(x.end+1, len(p.source.text))])
}

// mender looks for changes that allow a request.
type mender struct {
	in      Input
	front   *front
	plan    *Plan
	request abi.Request
	fixed   []string
}

// maxSuggestions bounds the changes that are tried and told.
const maxSuggestions = 3

// suggestions returns changes that work, or why there are none.
func (m *mender) suggestions() (list []Suggestion, dead string) {
	var exclusions []Edit
	for _, p := range m.forbidding() {
		if slices.Contains(m.fixed, p.meta.File) {
			return nil, fmt.Sprintf("policy %s (%s) forbids it and is not yours to edit", p.meta.ID, p.meta.Position())
		}
		exclusions = append(exclusions, m.exclusion(p))
	}
	tries := [][]Edit{exclusions}
	if len(exclusions) == 0 {
		tries = nil
	}
	for _, p := range m.wider() {
		tries = append(tries, append(slices.Clone(exclusions), m.widening(p)))
	}
	tries = append(tries, append(slices.Clone(exclusions), m.addition()))
	for i, edits := range tries {
		if s, ok := m.try(edits); ok {
			list = append(list, s)
			if i == 0 && len(exclusions) > 0 {
				break // a permit is there already
			}
		}
	}
	if len(list) == 0 {
		return nil, m.hopeless()
	}
	slices.SortStableFunc(list, func(a, b Suggestion) int {
		return cmp.Or(-compareBool(a.Only, b.Only), cmp.Compare(len(a.Changes), len(b.Changes)))
	})
	return list[:min(len(list), maxSuggestions)], ""
}

// hopeless says why no change works.
func (m *mender) hopeless() string {
	if !utf8.ValidString(m.request.Path) {
		return "no Cedar text can name this path, which is not UTF-8; permit it with a directory above it"
	}
	alone := m.in
	alone.Sources = []Source{{"the added policy", []byte(m.addition().Text)}}
	if _, err := Compile(alone); err != nil {
		return fmt.Sprintf("no policy can permit it: the schema has no %s of a %s", m.request.Action, strings.ToLower(m.request.Kind.String()))
	}
	return "no change of single policies allows it: they depend on each other or on more than this path"
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// forbidding lists the forbids that hold, or may hold.
func (m *mender) forbidding() []*policy {
	return m.policies(func(r *rule.Rule) bool {
		return r.Effect == rule.Forbid && !r.Audited && r.Actions>>m.request.Action&1 == 1 && rule.Eval(r.Cond, &m.request) != rule.False
	})
}

// wider lists the permits that hold here for other actions and whose scope
// lists the actions.
func (m *mender) wider() []*policy {
	list := m.policies(func(r *rule.Rule) bool {
		return r.Effect == rule.Permit && !r.Audited && rule.Eval(r.Cond, &m.request) == rule.True
	})
	list = slices.DeleteFunc(list, func(p *policy) bool {
		return slices.Contains(m.fixed, p.meta.File) || len(p.listed()) == 0
	})
	return list[:min(len(list), maxSuggestions)]
}

// policies lists those with a rule that passes a test.
func (m *mender) policies(test func(*rule.Rule) bool) []*policy {
	var list []*policy
	for i := range m.plan.Rules.Rules {
		r := &m.plan.Rules.Rules[i]
		if p := m.front.policies[r.Policy]; test(r) && !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	return list
}

// listed returns the actions that the scope names.
func (p *policy) listed() []types.EntityUID {
	switch scope := p.action.(type) {
	case scopeEq:
		return []types.EntityUID{scope.Entity}
	case scopeIn:
		return []types.EntityUID{scope.Entity}
	case scopeInSet:
		return scope.Entities
	}
	return nil
}

// resource is the request's resource in Cedar.
func (m *mender) resource() string {
	return types.NewEntityUID(resourceType(m.request.Kind), types.String(m.request.Path)).String()
}

// exclusion takes the request out of a policy.
func (m *mender) exclusion(p *policy) Edit {
	cond := "resource == " + m.resource()
	if _, one := p.action.(scopeEq); !one {
		cond = "action == " + m.request.Action.Cedar() + " && " + cond
	}
	text, x := "unless { "+cond+" }", p.spans()
	return Edit{Policy: &p.meta, What: "before its semicolon, add", Text: text, source: p.source.name, start: x.end, end: x.end}
}

// widening adds the action to a policy's scope.
func (m *mender) widening(p *policy) Edit {
	var names []string
	for _, uid := range p.listed() {
		names = append(names, uid.String())
	}
	x := p.spans()
	text := " in [" + strings.Join(append(names, m.request.Action.Cedar()), ", ") + "]"
	return Edit{Policy: &p.meta, What: "make its actions", Text: "action" + text, source: p.source.name, start: x.action, end: x.actionEnd}
}

// addition is a permit for nothing else.
func (m *mender) addition() Edit {
	return Edit{What: "add", Text: fmt.Sprintf("permit (principal == %s, action == %s, resource == %s);",
		m.plan.Principal, m.request.Action.Cedar(), m.resource())}
}

// try compiles a changed set and asks again.
func (m *mender) try(edits []Edit) (Suggestion, bool) {
	plan, err := Compile(m.edited(edits))
	if err != nil || plan.Decide(m.request) != abi.Allow {
		return Suggestion{}, false
	}
	changes, err := Diff(m.plan, plan)
	if err != nil {
		return Suggestion{}, false
	}
	return Suggestion{Edits: edits, Changes: changes, Only: m.only(changes)}, true
}

// edited returns the input with all edits done.
func (m *mender) edited(edits []Edit) Input {
	in := m.in
	in.Sources = slices.Clone(in.Sources)
	edits = slices.Clone(edits)
	slices.SortStableFunc(edits, func(a, b Edit) int { return b.start - a.start }) // from the end
	for _, e := range edits {
		if e.Policy == nil {
			in.Sources = append(in.Sources, Source{"the added policy", []byte(e.Text)})
			continue
		}
		i := slices.IndexFunc(in.Sources, func(s Source) bool { return s.Name == e.source })
		text := in.Sources[i].Text
		in.Sources[i].Text = slices.Concat(text[:e.start], []byte(" "+strings.TrimPrefix(e.Text, "action")+" "), text[e.end:])
	}
	return in
}

// only reports that nothing but the request changes, with any facts.
func (m *mender) only(changes []Change) bool {
	for _, c := range changes {
		var mask abi.Masks
		mask[m.request.Kind] = abi.MaskOf(m.request.Action)
		if c.New.Verdict != abi.Allow || c.Actions != mask || len(c.Places) != 1 || c.Places[0].Beneath || c.Places[0].Path != m.request.Path {
			return false
		}
	}
	return true
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
