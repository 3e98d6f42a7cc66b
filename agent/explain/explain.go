// Package explain says which policies a denial rests on. The kernel tells what was
// refused, and what it knew; its plan's policies are asked again.
package explain

import (
	"slices"
	"sync"

	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// Explainer explains the denials of one plan, and remembers answers.
type Explainer struct {
	plan  *compiler.Plan
	clock bool // the plan tests the time

	mu    sync.Mutex
	known map[question][]sink.Policy
}

// question is what an explanation depends on. The facts are those of all
// requests of an event; their time is 0 where the plan does not test it.
type question struct {
	missing abi.ActionMask
	mode    abi.Mode
	kind    abi.Kind
	path    string
	facts   abi.Facts
}

// maxKnown bounds the explanations that are kept.
const maxKnown = 1024

// New returns what explains the denials of a plan.
func New(plan *compiler.Plan) *Explainer {
	return &Explainer{plan: plan, clock: plan.Table.ReadsClock(), known: make(map[question][]sink.Policy)}
}

// Plan returns the plan.
func (x *Explainer) Plan() *compiler.Plan { return x.plan }

// Explain adds to an event what it rests on. answered tells that of a denial by the
// agent's answer.
func (x *Explainer) Explain(e *sink.Event, answered func(*abi.Event) []sink.Policy) {
	e.Digest = x.plan.Digest
	if e.Reason == abi.ReasonAnswered {
		e.Policies = answered(&e.Event)
		return
	}
	e.Policies = x.Policies(&e.Event)
}

// Policies returns the forbids that a denial rests on. None means that no
// policy permits it.
func (x *Explainer) Policies(e *abi.Event) []sink.Policy {
	if e.Reason != abi.ReasonPolicy || e.PathStatus != abi.PathOK {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	q := question{e.Missing, e.Mode, e.Kind, e.Path, factsOf(x.plan, e)}
	if !x.clock {
		q.facts.Now = 0
	}
	if found, ok := x.known[q]; ok {
		return found
	}
	if len(x.known) >= maxKnown {
		clear(x.known)
	}
	found := forbids(x.plan, e)
	x.known[q] = found
	return found
}

// Wired reports whether a policy of a plan says how to respond to a denial.
func Wired(plan *compiler.Plan) bool {
	return slices.ContainsFunc(plan.Rules.Policies, func(p compiler.Policy) bool { return p.Respond() != "" })
}

// Shown is a policy as a denial shows it.
func Shown(p *compiler.Policy) sink.Policy {
	return sink.Policy{ID: p.ID, Reason: p.Reason(), Severity: p.Annotations["severity"], Effect: p.Effect.String(), Audit: p.Audited(), Respond: p.Respond()}
}

// Named lists the policies of a plan that have one of some ids.
func Named(plan *compiler.Plan, ids []string) []sink.Policy {
	var list []sink.Policy
	for i := range plan.Rules.Policies {
		if p := &plan.Rules.Policies[i]; slices.Contains(ids, p.ID) {
			list = append(list, Shown(p))
		}
	}
	return list
}

// forbids lists the forbids that are satisfied for any action that was refused,
// and of an action that is allowed those in audit, which the event reports.
func forbids(plan *compiler.Plan, e *abi.Event) []sink.Policy {
	missing := e.Missing
	if missing.Has(abi.Map) { // execute permits it as well
		missing |= abi.MaskOf(abi.Execute)
	}
	var list []sink.Policy
	for _, a := range missing.Actions() {
		q := Request(plan, e, a, Subject(plan, e, a))
		determining := plan.Satisfied(q)
		if e.Mode == abi.Audit && plan.Decide(q) == abi.Allow {
			_, determining = plan.Audited(q)
		}
		for _, p := range determining {
			s := Shown(p)
			if s.Effect == "forbid" && !slices.Contains(list, s) {
				list = append(list, s)
			}
		}
	}
	return list
}

// Request is what an event says of one of its requests. Only a move has a
// destination, and only a change of an extended attribute its name.
func Request(plan *compiler.Plan, e *abi.Event, a abi.Action, path string) abi.Request {
	r := abi.Request{Action: a, Kind: e.Kind, Path: path, Facts: factsOf(plan, e)}
	switch {
	case a != abi.Move:
		r.Dest = ""
	case path == e.Dest: // the way back of an exchange
		r.Dest = e.Path
	}
	if a != abi.SetXattr {
		r.Xattr = ""
	}
	return r
}

// Subject returns the path that an action of an event is about. A rename moves
// the old path, creates the new one and deletes what was there; an exchange
// does so both ways.
func Subject(plan *compiler.Plan, e *abi.Event, a abi.Action) string {
	if e.DestStatus != abi.PathOK {
		return e.Path
	}
	first, second := e.Dest, e.Path
	if a == abi.Move {
		first, second = e.Path, e.Dest
	}
	of := func(path string) abi.Request { return Request(plan, e, a, path) }
	switch {
	case plan.Decide(of(first)) != abi.Allow:
		return first
	case plan.Decide(of(second)) != abi.Allow, !plan.Table.Reports(of(first)):
		return second
	}
	return first
}

// factsOf returns the facts that the verdict behind an event knew.
func factsOf(plan *compiler.Plan, e *abi.Event) abi.Facts {
	f := e.Facts()
	if e.Automaton == 0 || e.Automaton != plan.Table.ExeIdentity() {
		return f
	}
	// The verdict knew the executable by its class when it was executed; its
	// name may have changed. Of the parent the event has the class alone.
	if plan.Table.ClassOf(abi.DimExe, &abi.Request{Facts: f}) != int(e.ExeClass) {
		f.Exe = plan.Table.ExeOf(int(e.ExeClass))
	}
	f.Parent = plan.Table.ExeOf(int(e.ParentClass))
	return f
}
