package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync/atomic"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/memory"
	"github.com/stockade-dev/stockade/agent/respond"
	"github.com/stockade-dev/stockade/agent/run"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/cgroup"
	"github.com/stockade-dev/stockade/compiler"
)

// nothingStarted is what follows from an error of a start.
const nothingStarted = "nothing was started"

// fromRun is the origin of a workload that a `stockade run` asked for. It is
// released when nothing of it lives, and until then survives its run and any
// number of agents.
const fromRun = api.OriginRun

// runs holds the workloads of runs for them.
type runs struct {
	*keeper
	quit      chan struct{} // closed when nothing more is read
	following atomic.Int32  // runs that take their denials
}

// Limits on the end of a run: how long the reader of all denials may stand still while
// its last ones are to be read, how long that may take in all, and how long the run may
// take them.
const (
	stallLimit = 5 * time.Second
	readLimit  = 2 * time.Second // for what was taken from the ring, and is on its way
	drainLimit = 45 * time.Second
	takeLimit  = 10 * time.Second
)

// Limits on the end of the agent: how long runs may deal with what they were handed, and
// how long the rest may take to be logged.
const (
	partLimit = 2 * time.Second
	logLimit  = 20 * time.Second
)

// part waits until runs have dealt with what they are handed, for a while.
func (rs *runs) part(limit time.Duration) {
	for end := time.Now().Add(limit); rs.following.Load() > 0 && time.Now().Before(end); {
		time.Sleep(2 * time.Millisecond)
	}
}

// logRest logs what waits for runs that take it no more, or not yet: what was read does
// not come to the next agent.
func (rs *runs) logRest() {
	rs.part(logLimit)
	rs.all.mu.Lock()
	var list []*workload
	for _, w := range rs.all.byName {
		if w.run != nil {
			list = append(list, w)
		}
	}
	rs.all.mu.Unlock()
	for _, w := range list {
		rs.out.log(w)
	}
}

// StartRun confines the group of a run, which is empty as yet. On an error
// nothing is left.
func (rs *runs) StartRun(peer api.Peer, r api.Run) (started api.RunStarted, err error) {
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
	if err := errors.Join(host.CheckName(r.Name), r.Labels.Check(), r.Budget.Check()); err != nil {
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
	rs.change.Lock()
	defer rs.change.Unlock()
	if err := rs.admitRun(r, plan); err != nil {
		return started, err
	}
	id, err := rs.kernel.Claim(r.Name)
	if err != nil {
		return started, err
	}
	w := &workload{name: r.Name, id: id, mode: mode, plan: plan, known: true, run: newRunQueue(!r.Acknowledges),
		memory: memory.Memory{Origin: fromRun, Input: input, BaseMode: mode, Labels: r.Labels, Budget: r.Budget, Process: host.ProcessOf(fmt.Sprint(peer.PID))}}
	rs.all.add(w)
	if err := rs.confineRun(w, peer, r); err != nil {
		w.run.detach()
		w.run.abandon()
		_, failed := rs.release(w)
		return started, errors.Join(err, failed)
	}
	rs.holdAsks()
	return api.RunStarted{Generation: w.generation, Gaps: rs.kernel.Gaps()}, nil
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

// nameLimit is how long a run, or a container, waits for the name of one that ended a moment ago, whose
// last denials are being read. Who starts it holds change meanwhile.
const nameLimit = 2 * time.Second

func (k *keeper) awaitRelease(w *workload) (gone bool, err error) {
	for end := time.Now().Add(nameLimit); ; time.Sleep(2 * time.Millisecond) {
		gone, err = k.release(w)
		if gone || err != nil || w.last == 0 || time.Now().After(end) { // w.last is 0 while it is in use
			return gone, err
		}
	}
}

// admitRun refuses what this agent cannot hold.
func (rs *runs) admitRun(r api.Run, plan *compiler.Plan) error {
	if rs.ending {
		return errors.New("agent: its enforcement was uninstalled: nothing was started; try again")
	}
	if w := rs.all.byName[r.Name]; w != nil {
		if w.run != nil {
			if _, err := rs.awaitRelease(w); err != nil {
				return err
			}
		}
		if rs.all.byName[r.Name] != nil {
			return fmt.Errorf("name %s: in use by a workload of the agent (origin %s): nothing was started; choose another --name", r.Name, w.memory.Origin)
		}
	}
	if lack := plan.Handled &^ rs.kernel.Handled(); lack != 0 {
		return fmt.Errorf("handle %s: the agent's set has no hooks for it: nothing was started; use --agent=never", lack)
	}
	if r.Strict && !rs.kernel.Strict() {
		return errors.New("strict: the agent's set has no hooks for it: nothing was started; use --agent=never, or write `strict: true` into its configuration before it first starts")
	}
	if err := rs.admitted(plan.Principal, r.Labels, nothingStarted); err != nil {
		return err
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
func (rs *runs) confineRun(w *workload, peer api.Peer, r api.Run) error {
	if err := host.RegisterRoot(rs.kernel, w.id, fmt.Sprint(peer.PID)); err != nil {
		return err
	}
	if err := w.memory.Keep(rs.memories(), w.name); err != nil {
		return err
	}
	if err := rs.install(w, w.plan, w.mode); err != nil {
		return err
	}
	if r.Strict {
		if err := rs.kernel.SetStrict(w.id, true); err != nil {
			return err
		}
	}
	if err := rs.kernel.Grant(w.id, r.Grants); err != nil {
		return err
	}
	return rs.kernel.Confine(r.Cgroup, w.id)
}

// runOf returns the workload of a run.
func (rs *runs) runOf(name string) (*workload, error) {
	if w := rs.all.named(name); w != nil && w.run != nil {
		return w, nil
	}
	return nil, fmt.Errorf("run %q: %w: nothing was done; see `stockade ps`", name, api.ErrNotFound)
}

// AttachRun gives a run whose agent died what this one has for it, and counts what it
// dealt with and no agent was told of.
func (rs *runs) AttachRun(name string, taken *api.RunTaken) (api.RunStarted, error) {
	w, err := rs.runOf(name)
	if err != nil {
		return api.RunStarted{}, err
	}
	delivered, _ := rs.kernel.Accounted(w.id)
	written, lost, ok := w.run.attach(taken, delivered)
	if !ok {
		return api.RunStarted{}, fmt.Errorf("run %s: somebody takes its denials already: nothing was done", name)
	}
	rs.count(w, written, lost)
	rs.all.mu.Lock()
	defer rs.all.mu.Unlock()
	return api.RunStarted{Generation: w.generation}, nil
}

// TakenByRun counts what a run dealt with, once however often it says so.
func (rs *runs) TakenByRun(name string, taken api.RunTaken) error {
	w, err := rs.runOf(name)
	if err == nil {
		written, lost := w.run.settle(taken)
		rs.count(w, written, lost)
	}
	return err
}

// count counts denials of a run that were read before.
func (rs *runs) count(w *workload, written, lost uint64) {
	for range written {
		rs.kernel.Count(w.id, true)
	}
	for range lost {
		rs.kernel.Count(w.id, false)
	}
}

// FollowRun hands the denials of a run to write.
func (rs *runs) FollowRun(ctx context.Context, name string, write func([]api.RunLine) error) {
	w, err := rs.runOf(name)
	if err != nil {
		return
	}
	q := w.run
	rs.following.Add(1)
	defer rs.following.Add(-1)
	defer q.detach()
	quit := rs.quit
	for {
		events, end, settled := q.take()
		if settled {
			return
		}
		notes := q.takeNotes()
		lines := make([]api.RunLine, 0, len(events)+len(notes)+1)
		for i := range events {
			denial := api.NewRunDenial(&events[i])
			denial.Policies = rs.held.RestsOn(&events[i])
			lines = append(lines, api.RunLine{Denial: denial})
		}
		for _, text := range notes {
			lines = append(lines, api.RunLine{Note: text})
		}
		if end != nil {
			lines = append(lines, api.RunLine{End: end})
		}
		if len(lines) > 0 && (ctx.Err() != nil || write(lines) != nil) {
			rs.orphaned(w)
			return
		}
		if q.silent {
			written, lost := q.settle(q.handedOver())
			rs.count(w, written, lost)
		}
		if len(lines) > 0 {
			continue
		}
		if rs.stopped() && q.idle() {
			return
		}
		select {
		case <-q.news:
		case <-quit: // what waits is still handed over
			quit = nil
		case <-ctx.Done():
			if !q.settled() { // else it is over, and closed the stream first
				rs.orphaned(w)
			}
			return
		}
	}
}

// stopped reports whether the agent is about to end.
func (rs *runs) stopped() bool {
	select {
	case <-rs.quit:
		return true
	default:
		return false
	}
}

// orphaned is what happens when a run is gone before its end: its workload stays
// confined until its reaper has killed all of it, and denials go to the log.
func (rs *runs) orphaned(w *workload) {
	rs.out.log(w)
	if rs.stopped() {
		rs.book.note(fmt.Sprintf("run %s: it did not take its last denials in time: they are in the log", w.name))
		return
	}
	rs.book.note(fmt.Sprintf("run %s: its process is gone: its workload stays confined until none of it lives", w.name))
	go func() {
		for end := time.Now().Add(run.WipeLimit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			rs.change.Lock()
			gone, err := rs.release(w)
			rs.change.Unlock()
			if gone || err != nil || rs.stopped() {
				return // an error comes again, and is told, in sweep
			}
		}
	}()
}

// EndRun tells a run its counts once its last denial was handed over, and gives
// its number back.
func (rs *runs) EndRun(name string) error {
	w, err := rs.runOf(name)
	if err != nil {
		return err
	}
	if len(groupOfRun(name)) > 0 {
		return fmt.Errorf("run %s: its group is still there: nothing was done; end what is in it, and remove it", name)
	}
	if !w.run.followed() { // it has the stream of another agent
		return fmt.Errorf("run %s: takes no denials from this agent: nothing was done; attach it first", name)
	}
	rs.awaitResponses(w)
	counters, err := rs.drained(w)
	if err != nil {
		return err
	}
	if done := w.run.finish(counters); done != nil {
		select {
		case <-done:
		case <-time.After(takeLimit):
		}
	}
	if !w.run.followed() { // one that is slow takes the rest yet
		rs.out.log(w) // and what is read later follows it
	}
	rs.change.Lock()
	defer rs.change.Unlock()
	_, err = rs.release(w)
	return err
}

// respondLimit is how long the end of a run waits for responses to it.
const respondLimit = respond.DefaultWithin + respond.SealLimit

// awaitResponses lets responses to a run end, for a while: it may be a kill that ended it,
// and the evidence of that is signed when who started the run goes on.
func (rs *runs) awaitResponses(w *workload) {
	for end := time.Now().Add(respondLimit); rs.inResponse(w) && time.Now().Before(end); {
		time.Sleep(2 * time.Millisecond)
	}
}

// responded tells a run what was done to it.
func (rs *runs) responded(r *api.Response) {
	if w := rs.all.named(r.Workload); w != nil && w.run != nil {
		w.run.note(r.Note())
	}
}

// drained returns the counts of a run of which nothing lives once its denials were read,
// or are read too slowly. However many others wait before them, they are waited for.
func (rs *runs) drained(w *workload) (abi.Counters, error) {
	var until, at uint64
	moved := time.Now()
	for end := moved.Add(drainLimit); ; time.Sleep(2 * time.Millisecond) {
		counters, err := rs.kernel.Counters(w.id)
		if err != nil || w.run.unread(counters) == 0 {
			return counters, err
		}
		written, now, err := rs.kernel.Position()
		if until == 0 {
			until = written
		}
		if now != at {
			at, moved = now, time.Now()
		}
		if err != nil || at >= until && time.Since(moved) > readLimit || time.Since(moved) > stallLimit || time.Now().After(end) {
			return counters, err
		}
	}
}

// errOfRun refuses to change the policies of a run.
func errOfRun(name string) error {
	return fmt.Errorf("workload %s: belongs to a run, whose policies do not change: nothing was done; `stockade mode %s lockdown` denies all it asks", name, name)
}

// groupOfRun lists the group of a run as a status does.
func groupOfRun(name string) []string {
	rel := path.Join(cgroup.Parent, name)
	if _, err := cgroup.ID(rel); errors.Is(err, fs.ErrNotExist) { // what cannot be looked at is not gone
		return []string{}
	}
	return []string{rel}
}
