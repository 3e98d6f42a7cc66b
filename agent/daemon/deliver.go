package daemon

import (
	"fmt"

	"github.com/stockade-dev/stockade/agent/delivery"
	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/agent/tripwire"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/fault"
	"github.com/stockade-dev/stockade/compiler"
)

// accountant counts what became of denials, so that the next agent goes on from there.
type accountant interface {
	// Account counts the denial that was read last, Count one that was read before.
	Account(id uint32, delivered bool)
	Count(id uint32, delivered bool)
}

// waits is what knows of operations that wait: hold.Answerer.
type waits interface {
	Missed(e *abi.Event)
	Policies(e *abi.Event) []sink.Policy
}

// deliverer hands denials to who they are for.
type deliverer struct {
	all     *registry
	kernel  accountant
	held    waits
	tickets *tickets
	figures *figures
	book    *notebook
	wires   *tripwire.Wires
	spare   outlet   // of denials that no workload takes
	hub     sink.Hub // who listens to all
}

// follow delivers denials until the ring is closed.
func (d *deliverer) follow(events delivery.Source) error {
	path := delivery.Path{Explain: d.known, Deliver: d.deliver, Failed: func(err error) { d.book.note("error: " + err.Error()) }}
	return path.Follow(events)
}

// known says as much of a denial as is wanted of it here: a run explains its own.
func (d *deliverer) known(e *abi.Event) *sink.Event {
	w := d.all.numbered(e.Workload)
	if w != nil && w.run != nil {
		return delivery.Event(e, w.name)
	}
	return d.explained(w, e)
}

// explained says what is known of a denial of a workload, which may be nil.
func (d *deliverer) explained(w *workload, e *abi.Event) *sink.Event {
	if w == nil {
		return delivery.Event(e, fmt.Sprintf("#%d", e.Workload))
	}
	event := delivery.Event(e, w.name)
	if installed := d.all.installation(w, e.Generation); installed != nil {
		installed.explain.Explain(event, d.held.Policies)
	}
	return event
}

// deliver hands one denial to its run, or else to the sinks of its workload; and to who
// listens.
func (d *deliverer) deliver(e *sink.Event) {
	d.figures.event(&e.Event)
	d.held.Missed(&e.Event)
	w := d.all.numbered(e.Event.Workload)
	if w != nil {
		w.recent.Event(e)
		d.trip(w, e)
	}
	if w == nil || w.run == nil {
		d.write(w, e, d.kernel.Account)
		_ = d.hub.Event(e)
		return
	}
	lost, ok := w.run.put(e.Event)
	switch {
	case !ok:
		e = d.explained(w, &e.Event)
		d.write(w, e, d.kernel.Account)
		_ = d.hub.Event(e)
		return
	case lost:
		d.kernel.Account(w.id, false)
	}
	if d.hub.Listened() {
		_ = d.hub.Event(d.explained(w, &e.Event))
	}
}

// trip has a denial responded to, where a policy or the budget says so.
func (d *deliverer) trip(w *workload, e *sink.Event) {
	d.all.mu.Lock()
	budget, installed := w.memory.Budget, w.installations[e.Generation]
	d.all.mu.Unlock()
	wired := installed != nil && installed.wired
	if !wired && budget == nil {
		return
	}
	if wired && w.run != nil { // whose denials are not explained here as a rule
		e = d.explained(w, &e.Event)
	}
	d.wires.Denied(e, budget)
}

// log writes denials that their run does not take: who listens has seen them.
func (d *deliverer) log(w *workload) {
	for _, e := range w.run.abandon() {
		d.write(w, d.explained(w, &e), d.kernel.Count)
	}
}

// write hands one denial to the sinks of its workload, and counts it.
func (d *deliverer) write(w *workload, e *sink.Event, count func(id uint32, delivered bool)) {
	to, asks := d.places(w, e.Generation)
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
		d.book.once("log", fmt.Sprintf("log: %v: denials are lost, and counted; make room", err))
	}
}

// places returns where the denials of a workload go, and the plan whose questions become
// tickets: nil where there is none, or who answers is gone with its run.
func (d *deliverer) places(w *workload, generation uint32) (to *outlet, asks *compiler.Plan) {
	if w == nil || w.run != nil {
		return &d.spare, nil
	}
	if to = &w.outlet; !to.open() { // the configuration does not declare it
		to = &d.spare
	}
	d.all.mu.Lock()
	defer d.all.mu.Unlock()
	if installed := w.installations[generation]; installed != nil {
		asks = installed.explain.Plan()
	}
	return to, asks
}
