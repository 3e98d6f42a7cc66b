package daemon

import (
	"fmt"

	"github.com/stockade-dev/stockade/agent/delivery"
	"github.com/stockade-dev/stockade/agent/explain"
	"github.com/stockade-dev/stockade/agent/hold"
	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/fault"
	"github.com/stockade-dev/stockade/compiler"
)

// installation is what answers for one plan of a workload: for its denials, and for
// what it asks.
type installation struct {
	explain *explain.Explainer
	judge   *hold.Judge
}

func newInstallation(name string, plan *compiler.Plan) *installation {
	return &installation{explain.New(plan), hold.NewJudge(name, plan)}
}

// read delivers denials until the ring is closed.
func (d *Daemon) read(events delivery.Source) {
	path := delivery.Path{Explain: d.known, Deliver: d.deliver, Failed: func(err error) { d.note("error: " + err.Error()) }}
	if err := path.Follow(events); err != nil {
		d.fail(fmt.Errorf("%w: the agent ends, enforcement stays; see its log", err))
	}
}

// of returns the workload of an event, which may be unknown.
func (d *Daemon) of(e *abi.Event) *workload {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.byID[e.Workload]
}

// known says as much of a denial as is wanted of it here: a run explains its own.
func (d *Daemon) known(e *abi.Event) *sink.Event {
	w := d.of(e)
	if w != nil && w.run != nil {
		return delivery.Event(e, w.name)
	}
	return d.explained(w, e)
}

// explained says what is known of a denial of a workload, which may be nil.
func (d *Daemon) explained(w *workload, e *abi.Event) *sink.Event {
	if w == nil {
		return delivery.Event(e, fmt.Sprintf("#%d", e.Workload))
	}
	event := delivery.Event(e, w.name)
	d.mu.Lock()
	installed := w.installations[e.Generation]
	d.mu.Unlock()
	if installed != nil {
		installed.explain.Explain(event, d.held.Policies)
	}
	return event
}

// deliver hands one denial to its run, or else to the sinks of its workload; and to who
// listens.
func (d *Daemon) deliver(e *sink.Event) {
	d.figures.event(&e.Event)
	d.held.Missed(&e.Event)
	w := d.of(&e.Event)
	if w == nil || w.run == nil {
		d.write(w, e, d.kernel.Account)
		return
	}
	lost, ok := w.run.put(e.Event)
	switch {
	case !ok:
		d.write(w, d.explained(w, &e.Event), d.kernel.Account)
		return
	case lost:
		d.kernel.Account(w.id, false)
	}
	if d.hub.Listened() {
		_ = d.hub.Event(d.explained(w, &e.Event))
	}
}

// write hands one denial to the sinks of its workload, and to who listens, and counts
// it.
func (d *Daemon) write(w *workload, e *sink.Event, count func(id uint32, delivered bool)) {
	to := d.spare
	d.mu.Lock()
	var asks *compiler.Plan
	if w != nil {
		if w.sinks != nil {
			to = w.sinks
		}
		if installed := w.installations[e.Generation]; installed != nil && w.run == nil { // who answers for a run is gone with it
			asks = installed.explain.Plan()
		}
	}
	d.mu.Unlock()
	if asks != nil {
		d.tickets.add(e.Workload, asks, &e.Event, e.Wall)
	}
	err := fault.At("agent.deliver")
	if err == nil {
		err = to.Event(e)
	}
	_ = fault.At("agent.logged")
	count(e.Event.Workload, err == nil)
	if err != nil {
		d.noteOnce("log", fmt.Sprintf("log: %v: denials are lost, and counted; make room", err))
	}
	_ = d.hub.Event(e)
}
