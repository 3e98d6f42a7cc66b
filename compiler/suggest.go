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

// Suggestion is a change of policies.
type Suggestion struct {
	// Edits are all needed.
	Edits []Edit
	// Changes are all that it changes, the request included.
	Changes []Change
	// Only says that it allows the request, with any facts, and nothing else.
	Only bool
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
	alone.Sources = []Source{{addedSource, []byte(m.addition().Insert)}}
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
	end := p.spans().end
	return Edit{Does: Exclude, Policy: &p.meta, At: p.source.position(end), Start: end, End: end, Insert: " unless { " + cond + " }"}
}

// widening adds the action to a policy's scope.
func (m *mender) widening(p *policy) Edit {
	var names []string
	for _, uid := range p.listed() {
		names = append(names, uid.String())
	}
	x := p.spans()
	return Edit{Does: Widen, Policy: &p.meta, At: p.source.position(x.action), Start: x.action, End: x.actionEnd,
		Insert: "action in [" + strings.Join(append(names, m.request.Action.Cedar()), ", ") + "]"}
}

// addition is a permit for nothing else, at the end of the last source that may be
// edited.
func (m *mender) addition() Edit {
	e := Edit{Does: Add, Insert: fmt.Sprintf("permit (principal == %s, action == %s, resource == %s);\n",
		m.front.principal, m.request.Action.Cedar(), m.resource())}
	for _, s := range slices.Backward(m.in.Sources) {
		if slices.Contains(m.fixed, s.Name) {
			continue
		}
		e.Start, e.End, e.At = len(s.Text), len(s.Text), newSource(s).position(len(s.Text))
		if e.Start > 0 && s.Text[e.Start-1] != '\n' {
			e.Insert = "\n" + e.Insert
		}
		break
	}
	return e
}

// try compiles a changed set and asks again.
func (m *mender) try(edits []Edit) (Suggestion, bool) {
	in := m.in
	var err error
	if in.Sources, err = Apply(in.Sources, edits); err != nil {
		return Suggestion{}, false
	}
	plan, err := Compile(in)
	if err != nil || plan.Decide(m.request) != abi.Allow {
		return Suggestion{}, false
	}
	changes, err := Diff(m.plan, plan)
	if err != nil {
		return Suggestion{}, false
	}
	return Suggestion{Edits: edits, Changes: changes, Only: m.only(changes)}, true
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
