package run

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime/debug"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/delivery"
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/memory"
	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/cgroup"
)

// workloadID is the number of the one workload that an enforcer of ours has.
const workloadID = host.RunWorkload

// session is a run in progress: all that end has to undo.
type session struct {
	signals    *relay
	host       *Host
	cfg        *Config
	claim      *claim
	group      *cgroup.Group
	reaper     *reaper
	enforcer   enforcement
	agent      bool   // an agent is to hold the workload
	lease      *lease // nil where the run has a set of its own
	watch      *watch
	control    *control    // nil where an agent holds the workload
	clock      *host.Clock // nil where the plan does not test the time
	started    func()      // to be called once the command is, or will not be
	generation uint32
	dead       bool // nothing is left in the group
	told       told
}

// enforcement is what a session needs of who confines its workload: a set of its
// own, or a lease of the agent's.
type enforcement interface {
	Counters(id uint32) (abi.Counters, error)
	Close() error
	Abandon() error
	Events() (delivery.Source, error)
}

// begin makes everything ready for the command to be started.
func (s *session) begin() (err error) {
	defer debug.SetGCPercent(debug.SetGCPercent(20)) // the kernel's types are large
	if err = keepDescriptors(); err != nil {
		return err
	}
	if s.claim, err = takeName(s.cfg.Name, s.cfg.Sink.Note); err != nil {
		return err
	}
	if s.group, err = cgroup.Create(s.cfg.Name); err != nil {
		return err
	}
	if s.reaper, err = startReaper(s.host.Reaper, s.claim); err != nil {
		return err
	}
	if err = s.confine(); err != nil {
		return err
	}
	events, err := s.enforcer.Events()
	if err != nil {
		return err
	}
	own, ok := s.enforcer.(host.Enforcer)
	if !ok {
		s.watch = startWatch(s.cfg, events, nil)
	} else {
		s.control = newControl(s, own)
		s.watch = startWatch(s.cfg, events, s.control.tripped)
		if err = s.control.listen(); err != nil {
			return err
		}
		// Who locks from now on finds it; who did while it was being made ready, did not.
		if err = s.cfg.admitted("nothing was started"); err != nil {
			return err
		}
	}
	debug.FreeOSMemory() // loading took several times what running needs
	return nil
}

// confine puts the empty group under the plan: by the agent, if there is one
// and it may be used, else by a set of programs of its own.
func (s *session) confine() error {
	if s.agent {
		err := s.borrow()
		if err == nil || s.cfg.Agent == AgentRequire || !errors.Is(err, api.ErrNoAgent) {
			return err
		}
		if err := s.host.Check(); err != nil {
			return err
		}
	}
	return s.load()
}

// borrow has the agent confine the group. Until the command is started, nobody
// uninstalls the agent's set.
func (s *session) borrow() (err error) {
	if s.started, err = host.This.KeepSet(false); err != nil {
		return err
	}
	lease, err := askAgent(s.cfg, s.group, s.signals, s.note)
	if err != nil {
		s.started()
		s.started = nil
		return err
	}
	s.lease, s.enforcer, s.generation = lease, lease, lease.started.Generation
	for _, gap := range lease.started.Gaps {
		s.cfg.Sink.Note(s.cfg.Name, "warning: "+gap)
	}
	s.claim.pins = lease.pins
	return s.claim.record()
}

// load loads the programs and confines the group by them.
func (s *session) load() (err error) {
	pins, words := host.PinDir(s.cfg.Name), s.cfg.Plan.Table.Words()
	// The group is new: pins of that name confine nobody.
	if err = bpf.Remove(pins); err != nil {
		return err
	}
	own, err := s.host.Load(bpf.Options{PinDir: pins, TableWords: len(words), Handled: s.cfg.Plan.Handled, Clock: s.cfg.Plan.Table.ReadsClock(), Strict: s.cfg.Strict})
	if err != nil {
		return err
	}
	s.enforcer = own
	if err = s.claim.record(); err != nil { // where it is pinned, too
		return err
	}
	if s.cfg.Plan.Table.ReadsClock() {
		s.clock = host.StartClock(own.SyncClock)
	}
	for _, gap := range own.Gaps() {
		s.cfg.Sink.Note(s.cfg.Name, "warning: "+gap)
	}
	if err = own.Guard(host.This.Own()); err != nil {
		return err
	}
	if err = own.RegisterRoot(workloadID); err != nil {
		return err
	}
	if s.generation, err = own.Install(workloadID, words, s.cfg.Mode); err != nil {
		return err
	}
	if err = own.SetStrict(workloadID, s.cfg.Strict); err != nil {
		return err
	}
	if err = own.Grant(workloadID, s.cfg.Grants); err != nil {
		return err
	}
	id, err := s.group.ID()
	if err != nil {
		return err
	}
	return own.Confine(id, workloadID)
}

// runCommand runs the command to its end. A command that could not be started
// has a status and an error; status 0 with an error is a failure of our own.
func (s *session) runCommand(ctx context.Context, signals *relay) (status int, err error) {
	cmd, err := launch(s.cfg, s.group)
	s.launched()
	if err != nil {
		return startError(s.cfg.Args[0], err)
	}
	signals.forward(cmd.Process)
	defer signals.stop()
	stops := followStops(s.group, func(text string) { s.cfg.Sink.Note(s.cfg.Name, text) })
	defer stops.end()
	stop := context.AfterFunc(ctx, func() { _, _ = s.group.Kill(WipeLimit) })
	defer stop()
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return 0, fmt.Errorf("%s: %w: how it ended is not known; try again", quoteArg(s.cfg.Args[0]), err)
	}
	return exitStatus(cmd.ProcessState), nil
}

// launched lets the agent's set be uninstalled again.
func (s *session) launched() {
	if s.started != nil {
		s.started()
		s.started = nil
	}
}

// finish kills what the command left, reads the last denials and sums up.
func (s *session) finish(sum *sink.Summary) error {
	killed, err := s.kill()
	if err != nil {
		return err
	}
	if s.lease != nil { // nothing lives: the agent can give the number back
		if err := errors.Join(s.claim.noStragglers(strayLimit), s.group.Remove()); err != nil {
			return err
		}
	}
	known := s.told.follow(s.past(), s.cfg.Name) // who holds it forgets it as it is over
	err = s.watch.drain()
	s.control.settle() // it may be a response that ended the command, which is told before the sum
	for _, text := range known() {
		s.cfg.Sink.Note(s.cfg.Name, text)
	}
	if err != nil {
		return err
	}
	if s.clock != nil {
		if err := s.clock.Stop(); err != nil {
			s.cfg.Sink.Note(s.cfg.Name, "warning: "+err.Error())
		}
		s.clock = nil
	}
	counters, unseen, unknown, err := s.counters()
	if err != nil {
		return err
	}
	sum.Workload, sum.Mode, sum.Killed = s.cfg.Name, s.cfg.Mode, killed
	sum.Digest, sum.Generation = s.cfg.Plan.Digest, s.generation
	sum.Counters, sum.Received, sum.Unseen = counters, s.watch.received(), unseen
	sum.Unknown = unknown
	sum.Distinct, sum.Partial = s.watch.tally.Distinct()
	sum.Audit = s.watch.tally.Audit()
	sum.Top = s.watch.tally.Top()
	return nil
}

// note tells who typed the run what was done to it, among others.
func (s *session) note(text string) {
	s.told.add(text)
	s.cfg.Sink.Note(s.cfg.Name, text)
}

// past is what was done to it.
func (s *session) past() memory.Book {
	if s.lease != nil {
		return memory.BookOfAgent(host.StateRoot)
	}
	return memory.BookOfRuns(host.StateRoot)
}

// counters returns the counts of the workload. Where the agent ended, and its set
// too, what is known is what was seen.
func (s *session) counters() (counters abi.Counters, unseen uint64, unknown bool, err error) {
	counters, err = s.enforcer.Counters(workloadID)
	if s.lease == nil || !s.lease.wasLost() {
		return counters, 0, false, err
	}
	seen := s.watch.received()
	switch {
	case err != nil:
		s.cfg.Sink.Note(s.cfg.Name, fmt.Sprintf("warning: the agent ended, and its counts with it: %v: only what was seen is counted", err))
		counters, unknown = abi.Counters{Denied: seen}, true
	case counters.Denied > counters.Dropped+seen:
		unseen = counters.Denied - counters.Dropped - seen
		s.cfg.Sink.Note(s.cfg.Name, fmt.Sprintf("warning: the agent ended: %s counted and not shown: gone with it, or in the log of the next agent", sink.Plural(unseen, "denial")))
	}
	return counters, unseen, unknown, nil
}

// kill empties the group.
func (s *session) kill() (killed int, err error) {
	if s.dead || s.group == nil {
		return 0, nil
	}
	killed, err = s.group.Kill(WipeLimit)
	s.dead = err == nil
	resumeOutput()
	return killed, err
}

// end undoes begin, in an order that leaves no process unconfined. Where one
// will not die the enforcement stays, and the reaper goes on trying.
func (s *session) end() error {
	if s.claim == nil {
		return nil
	}
	if s.clock != nil {
		s.clock.Stop() // a failure matters no more: nothing runs
	}
	s.launched()
	_, err := s.kill()
	s.control.close()
	if err == nil && s.enforcer != nil {
		err = s.claim.noStragglers(strayLimit)
	}
	if err != nil {
		if s.enforcer != nil {
			err = errors.Join(err, s.enforcer.Abandon())
		}
		return errors.Join(err, s.handOver())
	}
	var errs []error
	if s.watch != nil {
		errs = append(errs, s.watch.events.Close())
		<-s.watch.done
		_ = s.watch.sinks.Close() // as a rule they are: drain tells what they did not take
	}
	if s.enforcer != nil {
		errs = append(errs, s.enforcer.Close())
	}
	if s.group != nil {
		errs = append(errs, s.group.Remove())
	}
	if err := errors.Join(errs...); err != nil {
		return errors.Join(err, s.handOver())
	}
	return s.release()
}

// release gives the name back, and a set of the run's own with it.
func (s *session) release() error {
	if s.enforcer != nil && s.lease == nil {
		err := s.reaper.retire()
		if !errors.Is(err, errNoReaper) {
			return errors.Join(err, s.claim.file.Close())
		}
		if err := bpf.Remove(s.claim.pins); err != nil {
			return errors.Join(err, s.claim.file.Close())
		}
		return s.claim.release()
	}
	err := s.claim.release()
	if s.reaper != nil {
		s.reaper.dismiss()
	}
	return err
}

// handOver leaves the rest to the reaper, or without one to the next run.
func (s *session) handOver() error {
	if s.reaper != nil {
		s.reaper.socket.Close()
	}
	return s.claim.file.Close()
}
