package run

import (
	"cmp"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/stockade-dev/stockade/agent/delivery"
	"github.com/stockade-dev/stockade/agent/explain"
	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/agent/tripwire"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// answerReader is a source that knows of the agent's answers.
type answerReader interface {
	// restsOn names the policies that the denial that was read last rests on, if
	// the agent's answer denied it.
	restsOn() []string
}

// acknowledged is a source that wants to know what became of a denial.
type acknowledged interface {
	took(e *abi.Event, written bool)
}

// watch delivers the denials of one run, and counts them.
type watch struct {
	name    string
	explain *explain.Explainer
	output  sink.Output
	sinks   sink.Queues
	events  delivery.Source
	tally   sink.Tally
	recent  sink.Recent
	wires   tripwire.Wires // of a run that has a set of its own: an agent has wires of its own
	budget  *tripwire.Budget
	broken  uint64        // records that could not be decoded
	written atomic.Uint64 // denials that the output took
	lost    atomic.Uint64 // those that it did not
	failed  error         // why it did not take the first
	done    chan struct{}
}

func startWatch(cfg *Config, events delivery.Source, respond func(tripwire.Response)) *watch {
	w := &watch{name: cfg.Name, budget: cfg.Budget, wires: tripwire.Wires{Respond: respond}, explain: explain.New(cfg.Plan), output: cfg.Sink, sinks: cfg.Sinks, events: events, done: make(chan struct{})}
	path := delivery.Path{Explain: w.explained, Deliver: w.deliver, Failed: w.unreadable}
	go func() {
		defer close(w.done)
		_ = path.Follow(events) // each failure was told, and is counted
	}()
	return w
}

func (w *watch) explained(e *abi.Event) *sink.Event {
	event := delivery.Event(e, w.name)
	w.explain.Explain(event, w.answered)
	return event
}

// answered returns what a denial by the agent's answer rests on.
func (w *watch) answered(e *abi.Event) []sink.Policy {
	if r, ok := w.events.(answerReader); ok {
		return explain.Named(w.explain.Plan(), r.restsOn())
	}
	return nil
}

func (w *watch) deliver(e *sink.Event) {
	w.tally.Add(e)
	w.recent.Event(e)
	if w.wires.Respond != nil {
		w.wires.Denied(e, w.budget)
	}
	w.sinks.Event(e)
	err := w.output.Event(e)
	if err != nil {
		w.lost.Add(1)
		w.failed = cmp.Or(w.failed, err)
	} else {
		w.written.Add(1)
	}
	if from, ok := w.events.(acknowledged); ok {
		from.took(&e.Event, err == nil)
	}
}

// unwritten says what the output did not take. The output itself is not asked to tell.
func (w *watch) unwritten() error {
	lost := w.lost.Load()
	if lost == 0 {
		return nil
	}
	return fmt.Errorf("%s: denials: %w: %s not written, though counted; make room", w.name, w.failed, sink.Plural(lost, "denial"))
}

func (w *watch) unreadable(err error) {
	w.broken++
	w.output.Note(w.name, "error: "+err.Error())
}

// drain reads what is pending and ends the watch. The workload must be dead.
func (w *watch) drain() error {
	err := w.events.Flush()
	if err == nil {
		<-w.done
	}
	if err := errors.Join(err, w.events.Close()); err != nil {
		return fmt.Errorf("events: %w: the last denials may be missing; see the counters", err)
	}
	<-w.done
	w.closeSinks()
	return nil
}

// closeSinks hands over what waits for sinks, and tells what they did not take.
func (w *watch) closeSinks() {
	if err := w.sinks.Close(); err != nil {
		w.output.Note(w.name, fmt.Sprintf("warning: %v", err))
	}
	for _, c := range w.sinks.Counts() {
		if c.Lost > 0 {
			w.output.Note(w.name, fmt.Sprintf("warning: sink %s: %s: %s lost there", c.Name, c.Error, sink.Plural(c.Lost, "denial")))
		}
	}
}

// received counts the records that were read.
func (w *watch) received() uint64 { return w.tally.Total() + w.broken }
