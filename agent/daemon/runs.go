package daemon

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/run"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/cgroup"
	"github.com/stockade-dev/stockade/compiler"
)

// fromRun is the origin of a workload that a `stockade run` asked for. It is
// released when nothing of it lives, and until then survives its run and any
// number of agents.
const fromRun = "run"

// Limits on the end of a run: how long its last denials may take to be read,
// and to be taken by it.
const (
	drainLimit = 2 * time.Second
	takeLimit  = 10 * time.Second
)

// StartRun confines the group of a run, which is empty as yet. On an error
// nothing is left.
func (d *Daemon) StartRun(peer api.Peer, r api.Run) (started api.RunStarted, err error) {
	mode := abi.Enforce
	switch {
	case r.Mode == abi.Audit.String():
		mode = abi.Audit
	case r.Mode != mode.String():
		return started, fmt.Errorf("mode %q: not one of a run: nothing was started; use enforce or audit", r.Mode)
	case r.Grants.Caps&^abi.Grantable() != 0:
		return started, fmt.Errorf("caps %#x: some are never granted: nothing was started; leave them out", r.Grants.Caps)
	case r.Grants.Caps&abi.SysTime != 0:
		return started, run.ErrAgentsClock
	case peer.PID <= 0:
		return started, errors.New("run: its process is not seen from here: nothing was started; use --agent=never")
	}
	if err := host.CheckName(r.Name); err != nil {
		return started, err
	}
	input := inputOfRun(r)
	plan, err := compiler.Compile(input) // before the lock: it may take a while
	if err != nil {
		return started, err
	}
	if plan.Digest != r.Digest {
		return started, errors.New("policies: the agent makes another plan of them than this build: nothing was started; use one build for both, or --agent=never")
	}
	d.change.Lock()
	defer d.change.Unlock()
	if err := d.admitRun(r, plan); err != nil {
		return started, err
	}
	id, err := d.kernel.Claim(r.Name)
	if err != nil {
		return started, err
	}
	w := &workload{name: r.Name, id: id, mode: mode, plan: plan, known: true, run: newRunQueue(),
		memory: memory{Origin: fromRun, Input: input, Process: host.ProcessOf(fmt.Sprint(peer.PID))}}
	d.all.add(w)
	if err := d.confineRun(w, peer, r); err != nil {
		_, failed := d.release(w)
		return started, errors.Join(err, failed)
	}
	d.holdAsks()
	return api.RunStarted{Generation: w.generation, Gaps: d.kernel.Gaps()}, nil
}

// inputOfRun returns what a run's plan is compiled from.
func inputOfRun(r api.Run) compiler.Input {
	in := compiler.Input{Principal: r.Principal, Handled: abi.ActionMask(r.Handled)}
	for _, s := range r.Sources {
		in.Sources = append(in.Sources, compiler.Source{Name: s.Name, Text: s.Text})
	}
	if r.Entities != nil {
		in.EntitiesName, in.Entities = r.Entities.Name, r.Entities.Text
	}
	return in
}

// admitRun refuses what this agent cannot hold.
func (d *Daemon) admitRun(r api.Run, plan *compiler.Plan) error {
	if d.ending {
		return errors.New("agent: its enforcement was uninstalled: nothing was started; try again")
	}
	if w := d.all.byName[r.Name]; w != nil {
		if w.run != nil { // of a run that ended a moment ago, perhaps
			if _, err := d.release(w); err != nil {
				return err
			}
		}
		if d.all.byName[r.Name] != nil {
			return fmt.Errorf("name %s: in use by a workload of the agent (origin %s): nothing was started; choose another --name", r.Name, w.memory.Origin)
		}
	}
	if lack := plan.Handled &^ d.kernel.Handled(); lack != 0 {
		return fmt.Errorf("handle %s: the agent's set has no hooks for it: nothing was started; use --agent=never", lack)
	}
	if r.Strict && !d.kernel.Strict() {
		return errors.New("strict: the agent's set has no hooks for it: nothing was started; use --agent=never, or write `strict: true` into its configuration before it first starts")
	}
	rel := path.Join(cgroup.Parent, r.Name)
	id, err := cgroup.ID(rel)
	if err == nil && id != r.Cgroup {
		err = fmt.Errorf("cgroup %s: not that of the run: nothing was started; its tree is not the agent's: use --agent=never", rel)
	}
	if err != nil {
		return err
	}
	group, err := cgroup.Open(r.Name)
	if err != nil {
		return err
	}
	populated, err := group.Populated()
	if err == nil && populated {
		err = fmt.Errorf("cgroup %s: has processes: nothing was started; end them", rel)
	}
	return err
}

// confineRun puts the empty group under the plan.
func (d *Daemon) confineRun(w *workload, peer api.Peer, r api.Run) error {
	if err := host.RegisterRoot(d.kernel, w.id, fmt.Sprint(peer.PID)); err != nil {
		return err
	}
	if err := w.memory.keep(d.memories(), w.name); err != nil {
		return err
	}
	if err := d.install(w, w.plan, w.mode); err != nil {
		return err
	}
	if r.Strict {
		if err := d.kernel.SetStrict(w.id, true); err != nil {
			return err
		}
	}
	if err := d.kernel.Grant(w.id, r.Grants); err != nil {
		return err
	}
	return d.kernel.Confine(r.Cgroup, w.id)
}

// runOf returns the workload of a run.
func (d *Daemon) runOf(name string) (*workload, error) {
	if w := d.all.named(name); w != nil && w.run != nil {
		return w, nil
	}
	return nil, fmt.Errorf("run %q: %w: nothing was done; see `stockade ps`", name, api.ErrNotFound)
}

// AttachRun gives a run whose agent died what this one has for it.
func (d *Daemon) AttachRun(name string) (api.RunStarted, error) {
	w, err := d.runOf(name)
	if err != nil {
		return api.RunStarted{}, err
	}
	if !w.run.attach() {
		return api.RunStarted{}, fmt.Errorf("run %s: somebody takes its denials already: nothing was done", name)
	}
	d.all.mu.Lock()
	defer d.all.mu.Unlock()
	return api.RunStarted{Generation: w.generation}, nil
}

// FollowRun hands the denials of a run to write.
func (d *Daemon) FollowRun(ctx context.Context, name string, write func([]api.RunLine) error) {
	w, err := d.runOf(name)
	if err != nil {
		return
	}
	q := w.run
	defer q.detach()
	for {
		events, end := q.take()
		lines := make([]api.RunLine, 0, len(events)+1)
		for i := range events {
			denial := api.NewRunDenial(&events[i])
			denial.Policies = d.held.RestsOn(&events[i])
			lines = append(lines, api.RunLine{Denial: denial})
		}
		if end != nil {
			lines = append(lines, api.RunLine{End: end})
		}
		if len(lines) > 0 && (ctx.Err() != nil || write(lines) != nil) {
			d.orphaned(w, events)
			return
		}
		for range events {
			d.kernel.Count(w.id, true)
		}
		if end != nil || len(lines) == 0 && d.stopped() {
			return
		}
		select {
		case <-q.news:
		case <-d.quit: // what waits is still handed over
		case <-ctx.Done():
			if !d.stopped() {
				d.orphaned(w, nil)
			}
			return
		}
	}
}

// stopped reports whether the agent is about to end.
func (d *Daemon) stopped() bool {
	select {
	case <-d.quit:
		return true
	default:
		return false
	}
}

// orphaned is what happens when a run is gone before its end: its workload stays
// confined until its reaper has killed all of it, and denials go to the log.
func (d *Daemon) orphaned(w *workload, unsent []abi.Event) {
	for _, e := range append(unsent, w.run.abandon()...) {
		d.out.write(w, d.out.explained(w, &e), d.kernel.Count)
	}
	if d.stopped() {
		d.book.note(fmt.Sprintf("run %s: it did not take its last denials in time: they are in the log", w.name))
		return
	}
	d.book.note(fmt.Sprintf("run %s: its process is gone: its workload stays confined until none of it lives", w.name))
	go func() {
		for end := time.Now().Add(run.WipeLimit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			d.change.Lock()
			gone, err := d.release(w)
			d.change.Unlock()
			if gone || err != nil || d.stopped() {
				return // an error comes again, and is told, in sweep
			}
		}
	}()
}

// EndRun tells a run its counts once its last denial was handed over, and gives
// its number back.
func (d *Daemon) EndRun(name string) error {
	w, err := d.runOf(name)
	if err != nil {
		return err
	}
	if len(groupOfRun(name)) > 0 {
		return fmt.Errorf("run %s: its group is still there: nothing was done; end what is in it, and remove it", name)
	}
	var counters abi.Counters
	for end := time.Now().Add(drainLimit); ; time.Sleep(2 * time.Millisecond) {
		if counters, err = d.kernel.Counters(w.id); err != nil {
			return err
		}
		if w.run.came()+counters.Dropped >= counters.Denied || time.Now().After(end) {
			break
		}
	}
	if done := w.run.finish(counters); done != nil {
		select {
		case <-done:
		case <-time.After(takeLimit):
		}
	}
	d.change.Lock()
	defer d.change.Unlock()
	_, err = d.release(w)
	return err
}

// release gives the number of a workload back if it confines nothing any more.
// Who calls it holds change.
func (d *Daemon) release(w *workload) (gone bool, err error) {
	if d.all.byID[w.id] != w || d.ending {
		return true, nil
	}
	var last abi.Counters
	if w.run != nil {
		if last, err = d.kernel.Counters(w.id); err != nil {
			return false, err
		}
	}
	if err = d.drop(w, last); err != nil {
		if errors.Is(err, bpf.ErrInUse) {
			err = nil
		}
		return false, err
	}
	err = forget(d.memories(), w.name)
	if d.held != nil { // not yet, while a start looks at what is left
		d.holdAsks() // without it
		err = errors.Join(err, d.held.Forget(w.id, w.name))
	}
	return true, err
}

// drop gives a number back, and counts what a run came to: for who reads the
// figures both happen at once.
func (d *Daemon) drop(w *workload, last abi.Counters) error {
	d.figures.mu.Lock()
	defer d.figures.mu.Unlock()
	err := d.kernel.Release(w.id)
	if errors.Is(err, bpf.ErrInUse) && d.isOver(w) {
		if err = d.kernel.Retire(w.id); err == nil {
			d.book.note(fmt.Sprintf("run %s: over, and not all of it is gone: what is left is denied everything; end its processes and remove its cgroup", w.name))
		}
	}
	if err != nil {
		return err
	}
	d.all.remove(w)
	if w.run != nil {
		d.figures.ended(last, w.run)
	}
	return nil
}

// retireAfter is how long what a run has left may take to go before its number is given
// back without.
const retireAfter = 2 * run.WipeLimit

// isOver reports whether the process of a run is gone for so long. Who calls it holds
// change.
func (d *Daemon) isOver(w *workload) bool {
	if w.run == nil || w.memory.Process == "" {
		return false
	}
	pid, _, _ := strings.Cut(w.memory.Process, " ")
	if host.ProcessOf(pid) == w.memory.Process && !host.Zombie(pid) {
		w.over = time.Time{}
		return false
	}
	if w.over.IsZero() {
		w.over = time.Now()
	}
	return time.Since(w.over) >= retireAfter
}

// errOfRun refuses to change the policies of a run.
func errOfRun(name string) error {
	return fmt.Errorf("workload %s: belongs to a run, whose policies do not change: nothing was done; `stockade mode %s lockdown` denies all it asks", name, name)
}

// groupOfRun lists the group of a run as a status does.
func groupOfRun(name string) []string {
	rel := path.Join(cgroup.Parent, name)
	if _, err := cgroup.ID(rel); err != nil {
		return []string{}
	}
	return []string{rel}
}
