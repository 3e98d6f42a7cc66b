package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/lock"
	"github.com/stockade-dev/stockade/agent/respond"
	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/agent/tripwire"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/cgroup"
)

// Respond stops a workload, or undoes that, and says what of it was verified.
func (d *Daemon) Respond(by api.Peer, name string, ask api.Respond) (api.Response, error) {
	return d.respond(lock.ActorOf(by.PID, int(by.UID)), name, ask)
}

// tripped responds to a denial. What is denied from now on is all: the rest takes its
// time, and the next denial is read meanwhile.
func (d *Daemon) tripped(r tripwire.Response) {
	actor := lock.Actor{UID: os.Getuid(), PID: os.Getpid(), Login: -1, Name: r.Why}
	if w := d.all.named(r.Workload); w != nil {
		if err := d.lockNow(w); err != nil {
			d.book.note(fmt.Sprintf("workload %s: %s: lockdown: %v: it is NOT locked down; kill it", r.Workload, r.Why, err))
		}
	}
	go func() {
		err := respond.Survive(func() error { // nobody else's recover is above it
			_, err := d.respond(actor, r.Workload, api.Respond{Verb: r.Verb})
			return err
		})
		if err != nil {
			d.book.note(fmt.Sprintf("workload %s: %s: %s: %v", r.Workload, r.Why, r.Verb, err))
		}
	}()
}

func (d *Daemon) respond(actor lock.Actor, name string, ask api.Respond) (api.Response, error) {
	r, err := d.desk.Respond(d.kernel, actor, name, ask, func() (respond.Target, func(), error) {
		w, err := d.engage(name)
		if err != nil {
			return respond.Target{}, nil, err
		}
		return d.target(w), func() { d.disengage(w) }, nil
	})
	if err == nil {
		d.book.note(fmt.Sprintf("workload %s: %s by %s: %s", name, ask.Verb, actor, r.About()))
	}
	return r, err
}

// engage keeps the number of a workload from being given back until disengage.
func (k *keeper) engage(name string) (*workload, error) {
	k.all.mu.Lock()
	defer k.all.mu.Unlock()
	w := k.all.byName[name]
	if w == nil {
		return nil, errUnknown(name)
	}
	w.responses++
	return w, nil
}

func (k *keeper) disengage(w *workload) {
	k.all.mu.Lock()
	defer k.all.mu.Unlock()
	w.responses--
}

// inResponse reports whether a response to a workload goes on.
func (k *keeper) inResponse(w *workload) bool {
	k.all.mu.Lock()
	defer k.all.mu.Unlock()
	return w.responses > 0
}

// lockNow locks a workload down at once, whatever change goes on.
func (d *Daemon) lockNow(w *workload) error { return d.kernel.SetMode(w.id, abi.Lockdown) }

// keepLocked notes the lockdown once the change that goes on, if any, has been made.
func (d *Daemon) keepLocked(w *workload) error {
	_, err := d.SetMode(w.name, abi.Lockdown.String())
	return err
}

// unlock gives a workload back the mode that it was declared or started with.
func (d *Daemon) unlock(w *workload) error {
	d.all.mu.Lock()
	mode := w.base()
	d.all.mu.Unlock()
	_, err := d.SetMode(w.name, mode.String())
	return err
}

// base is the mode that a workload was declared or started with.
func (w *workload) base() abi.Mode {
	if w.declared != nil {
		return w.declared.Mode
	}
	return w.memory.BaseMode
}

// unlocked is its mode but for a lockdown: what the kernel locked down by itself has here the
// mode that it had.
func (w *workload) unlocked() string {
	if w.mode != abi.Lockdown {
		return w.mode.String()
	}
	return w.base().String()
}

// target is what a workload consists of. A cgroup beneath which another workload lives is
// left out: what is in it is found by its mark, one by one.
func (d *Daemon) target(w *workload) respond.Target {
	t := respond.Target{Name: w.name, ID: w.id, Lock: func() error { return d.lockNow(w) },
		Keep: func() error { return d.keepLocked(w) }, Unlock: func() error { return d.unlock(w) },
		Papers: func() []respond.Paper { return d.papers(w) }, Run: w.run != nil, Locks: func() []lock.Lock { return d.locksOn(w) }}
	all := d.groups.of()
	d.all.mu.Lock()
	t.Past, t.Unlocked = slices.Collect(maps.Keys(w.past)), w.unlocked()
	for name, other := range d.all.byName {
		if own, ok := other.ownGroups(); ok {
			all[name] = own
		}
	}
	d.all.mu.Unlock()
	shared := func(rel string) bool {
		for name, others := range all {
			for _, other := range others {
				if name != w.name && cgroup.Within(other, rel) {
					return true
				}
			}
		}
		return false
	}
	for _, rel := range all[w.name] {
		if !shared(rel) {
			t.Groups = append(t.Groups, rel)
		}
	}
	return t
}

// papers is what the agent knows of a workload, for evidence.
func (d *Daemon) papers(w *workload) []respond.Paper {
	d.all.mu.Lock()
	input := w.memory.Input
	d.all.mu.Unlock()
	return append(respond.PolicyPapers(input), respond.Paper{Name: "workload.json", Method: "the agent's status", Write: func(to io.Writer) error {
		status, err := d.statusOf(w.name)
		if err != nil {
			return err
		}
		return json.NewEncoder(to).Encode(status)
	}}, respond.DenialPaper(d.recent(w)))
}

// statusOf is what a status says of one workload.
func (d *Daemon) statusOf(name string) (w api.Workload, err error) {
	s, err := d.Status()
	if err != nil {
		return w, err
	}
	for i := range s.Workloads {
		if s.Workloads[i].Name == name {
			return s.Workloads[i], nil
		}
	}
	return w, errUnknown(name)
}

// Inspect tells what can be known of a workload now.
func (d *Daemon) Inspect(ctx context.Context, name string) (i api.Inspection, err error) {
	w, err := d.engage(name)
	if err != nil {
		return i, err
	}
	defer d.disengage(w)
	status, err := d.statusOf(name)
	if err != nil {
		return i, err
	}
	return d.desk.Inspect(ctx, d.kernel, d.target(w), status, d.recent(w))
}

// recent lists the last denials of a workload, explained.
func (d *Daemon) recent(w *workload) []*sink.Event {
	list := w.recent.Last()
	for i, e := range list {
		if w.run != nil { // whose denials are not explained here as a rule
			list[i] = d.out.explained(w, &e.Event)
		}
	}
	return list
}
