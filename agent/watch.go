package agent

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// eventReader is where denials come from: bpf.Events.
type eventReader interface {
	Read() (abi.Event, error)
	Flush() error
	Close() error
}

// answerReader is one that knows of the agent's answers.
type answerReader interface {
	// restsOn names the policies that the denial that was read last rests on, if
	// the agent's answer denied it.
	restsOn() []string
}

// maxReadErrors bounds how often in a row reading may fail.
const maxReadErrors = 100

// watch reads the denials of one run, explains them and counts them.
type watch struct {
	name   string
	plan   *compiler.Plan
	judge  *judge // of what the plan asks; nil if nothing waits
	sink   sink.Sink
	events eventReader
	tally  sink.Tally
	known  map[question][]sink.Policy
	broken uint64 // records that could not be decoded
	done   chan struct{}
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

func startWatch(name string, plan *compiler.Plan, to sink.Sink, events eventReader) *watch {
	w := &watch{name: name, plan: plan, sink: to, events: events, known: make(map[question][]sink.Policy), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.loop()
	}()
	return w
}

func (w *watch) loop() {
	for failures := 0; failures < maxReadErrors; {
		e, err := w.events.Read()
		switch {
		case errors.Is(err, bpf.ErrFlushed), errors.Is(err, os.ErrClosed):
			return
		case err != nil:
			failures++
			w.broken++
			w.sink.Note(w.name, "error: "+err.Error())
			continue
		}
		failures = 0
		d := &sink.Denial{Event: e, Wall: wallTime(e.Time), Workload: w.name, Digest: w.plan.Digest, Policies: w.explain(&e)}
		w.tally.Add(d)
		w.sink.Denial(d)
	}
}

// drain reads what is pending and ends the loop. The workload must be dead.
func (w *watch) drain() error {
	err := w.events.Flush()
	if err == nil {
		<-w.done
	}
	if err := errors.Join(err, w.events.Close()); err != nil {
		return fmt.Errorf("events: %w: the last denials may be missing; see the counters", err)
	}
	<-w.done
	return nil
}

// received counts the records that were read.
func (w *watch) received() uint64 { return w.tally.Total() + w.broken }

// wallTime turns CLOCK_MONOTONIC into the time of day. Reading both clocks
// each time follows a clock that was set.
func wallTime(monotonic uint64) time.Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return time.Now()
	}
	return time.Now().Add(time.Duration(int64(monotonic) - ts.Nano()))
}

// explain returns the forbids that a denial rests on. None means that no
// policy permits it.
func (w *watch) explain(e *abi.Event) []sink.Policy {
	if r, ok := w.events.(answerReader); ok && e.Reason == abi.ReasonAnswered {
		return named(w.plan, r.restsOn())
	}
	if e.Reason != abi.ReasonPolicy || e.PathStatus != abi.PathOK {
		return nil
	}
	q := question{e.Missing, e.Mode, e.Kind, e.Path, factsOf(w.plan, e)}
	if !bpf.ReadsClock(w.plan.Table.Words()) {
		q.facts.Now = 0
	}
	if found, ok := w.known[q]; ok {
		return found
	}
	if len(w.known) >= maxKnown {
		clear(w.known)
	}
	found := forbids(w.plan, e)
	w.known[q] = found
	return found
}

// shown is a policy as a denial shows it.
func shown(p *compiler.Policy) sink.Policy {
	return sink.Policy{ID: p.ID, Reason: p.Reason(), Severity: p.Annotations["severity"], Effect: p.Effect.String(), Audit: p.Audited()}
}

// named lists the policies of a plan that have one of some ids.
func named(plan *compiler.Plan, ids []string) []sink.Policy {
	var list []sink.Policy
	for i := range plan.Rules.Policies {
		if p := &plan.Rules.Policies[i]; slices.Contains(ids, p.ID) {
			list = append(list, shown(p))
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
		q := requestOf(plan, e, a, subject(plan, e, a))
		determining := plan.Satisfied(q)
		if e.Mode == abi.Audit && plan.Decide(q) == abi.Allow {
			_, determining = plan.Audited(q)
		}
		for _, p := range determining {
			s := shown(p)
			if s.Effect == "forbid" && !slices.Contains(list, s) {
				list = append(list, s)
			}
		}
	}
	return list
}

// requestOf is what an event says of one of its requests. Only a move has a
// destination, and only a change of an extended attribute its name.
func requestOf(plan *compiler.Plan, e *abi.Event, a abi.Action, path string) abi.Request {
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

// subject returns the path that an action of an event is about. A rename moves
// the old path, creates the new one and deletes what was there; an exchange
// does so both ways.
func subject(plan *compiler.Plan, e *abi.Event, a abi.Action) string {
	if e.DestStatus != abi.PathOK {
		return e.Path
	}
	first, second := e.Dest, e.Path
	if a == abi.Move {
		first, second = e.Path, e.Dest
	}
	of := func(path string) abi.Request { return requestOf(plan, e, a, path) }
	switch {
	case plan.Decide(of(first)) != abi.Allow:
		return first
	case plan.Decide(of(second)) != abi.Allow, !plan.Table.Reports(of(first)):
		return second
	}
	return first
}
