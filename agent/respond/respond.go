// Package respond stops workloads, and says what was verified rather than what was asked.
package respond

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/evidence"
	"github.com/stockade-dev/stockade/agent/lock"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/fault"
	"github.com/stockade-dev/stockade/cgroup"
)

// Target is what is to be stopped, and how its keeper changes it.
type Target struct {
	Name string
	ID   uint32
	// Groups are its outermost cgroups, relative to the mount.
	Groups []string
	// Past are the ids of cgroups that were beneath them, and may be gone.
	Past []uint64
	// Lock locks it down at once, Keep makes that stay, and Unlock undoes both.
	Lock, Keep, Unlock func() error
	// Unlocked is its mode but for a lockdown, as its keeper knows it; "": not known.
	Unlocked string
	// Unattended: its keeper does not answer.
	Unattended bool
	// Run: it is a run, OwnSet: one that has a set of its own. Locks are those on it; nil: it
	// is not known.
	Run, OwnSet bool
	Locks       func() []lock.Lock
	// Papers are what its keeper knows of it, for the evidence.
	Papers func() []Paper
}

// Kernel is what tells of tasks by their marks: those that left their cgroup, too.
type Kernel interface {
	// Roll lists the tasks of all workloads, and Tasks counts the living ones of each, as
	// they are born and end: what a roll passed by is counted.
	Roll() ([]bpf.Marked, error)
	Tasks() (map[uint32]int, error)
	// SetEnding has no task of a workload make another.
	SetEnding(id uint32, ending bool) error
	Mode(id uint32) (abi.Mode, error)
}

// look is how often is looked whether a workload has stopped.
const look = 10 * time.Millisecond

// chases is how often a freeze stops what bears the mark elsewhere before it keeps it from
// making more.
const chases = 5

// freezeLimit is how long the freezing of one cgroup is waited for before the next step.
const freezeLimit = time.Second

// response is one that is going on.
type response struct {
	kernel Kernel
	target Target
	living []bpf.Marked // as it was last seen
	dead   []bpf.Marked // likewise, and nobody has asked how
	tries  int          // of a freeze that found some running
	urged  map[int]bool // processes that were stopped by a signal, for a freeze
	net    *network     // nil: not looked at yet
	empty  bool         // nothing of it lives, when that was last looked at
	begun  func()       // called once it is locked down
	bundle *evidence.Bundle
	*api.Response
}

func begin(k Kernel, t Target, verb string) *response {
	r := &response{kernel: k, target: t, urged: map[int]bool{}, Response: api.NewResponse(t.Name, verb)}
	r.Unattended, r.Run, r.OwnSet = t.Unattended, t.Run, t.OwnSet
	if t.Locks != nil {
		r.Locks = t.Locks()
	}
	return r
}

// lookBefore notes in which mode it is before it is locked down. Whoever did that already,
// perhaps the kernel by a denial, has overwritten it there: then its keeper is asked.
func (r *response) lookBefore() {
	mode, err := r.kernel.Mode(r.target.ID)
	switch {
	case r.Verb == api.VerbThaw || r.Verb == api.VerbUnlock:
	case err == nil && mode != abi.Lockdown:
		r.ModeBefore = mode.String()
	default:
		r.ModeBefore = r.target.Unlocked
	}
}

// step does one part, and notes when and how it ended. One that fails stops no other.
func (r *response) step(name string, do func() error) {
	began := time.Now()
	s := api.Step{Name: name, At: began.UTC()}
	err := fault.At("respond.step")
	if err == nil {
		err = Survive(do)
	}
	if err != nil {
		s.Error = err.Error()
	}
	s.Seconds = time.Since(began).Seconds()
	r.Steps = append(r.Steps, s)
	if name == api.StepLockdown && r.begun != nil {
		r.begun()
	}
}

// verbs are what can be asked for, beside kill.
var verbs = map[string]func(*response, context.Context) error{
	api.VerbLockdown: (*response).lockDown, api.VerbFreeze: (*response).standStill, api.VerbThaw: (*response).goOn, api.VerbUnlock: (*response).unlock,
}

// lockDown has all that policies could decide denied.
func (r *response) lockDown(context.Context) error {
	r.step(api.StepLockdown, r.target.Lock)
	r.Verified = r.LockedDown()
	r.keep()
	return nil
}

// standStill has every process of a workload stand still, until thaw. It is locked down
// before: what runs until it stands still is denied what policies decide.
func (r *response) standStill(ctx context.Context) error {
	r.step(api.StepLockdown, r.target.Lock)
	r.step("freeze", r.freeze)
	r.step("verify", func() error { return r.await(ctx, r.still) })
	if !r.Verified {
		r.stuck()
	}
	r.Verified = r.Verified && r.LockedDown() // what is let go on is to be denied
	r.keep()
	return nil
}

// stuck lists what waits in the kernel, where it cannot be frozen.
func (r *response) stuck() {
	for _, m := range r.living {
		p := process(m)
		told := slices.ContainsFunc(r.Left, func(q api.Process) bool { return q.TID == p.TID })
		if p.State == asleep && !told {
			r.Left = append(r.Left, p)
		}
	}
}

// goOn undoes freeze, but for the lockdown.
func (r *response) goOn(ctx context.Context) error {
	moved, err := r.moving()
	r.Needless = moved && err == nil
	r.step("thaw", r.thaw)
	r.step("verify", func() error { return r.await(ctx, r.moving) })
	return nil
}

// unlock undoes lockdown and freeze.
func (r *response) unlock(ctx context.Context) error {
	mode, unknown := r.kernel.Mode(r.target.ID)
	var err error
	if r.step(api.StepUnlock, func() error { err = r.target.Unlock(); return err }); err != nil {
		return nil // a lock holds it, which the step says: it stands still as it did
	}
	err = r.goOn(ctx)
	r.Needless = r.Needless && mode != abi.Lockdown && unknown == nil
	return err
}

// end ends every process of a workload, and returns once none lives and no socket of it
// is left, or a while after ctx ends. Until then evidence is taken, of what stands still.
func (r *response) end(ctx context.Context, c *Custody, ask *api.Respond) error {
	defer r.release()
	if ask.Evidence != "" { // a mistake in a name is one before anything is done
		var err error
		if r.bundle, err = c.open(r.target.Name, time.Now(), ask.Evidence); err != nil && !errors.Is(err, errNoKey) {
			return fmt.Errorf("workload %s: it was NOT stopped, nothing was done: %w", r.target.Name, err)
		}
	}
	r.step(api.StepLockdown, r.target.Lock)
	r.step("freeze", r.hold)
	r.step("count", r.count)
	r.step("list sockets", r.lookAtNetwork)
	r.step("destroy sockets", r.cut)
	if c != nil && !ask.NoEvidence {
		r.step(api.StepEvidence, func() error { return r.gather(ctx, c, ask) })
	}
	r.step("kill", r.kill)
	r.step("destroy sockets", r.cut)
	after, cancel := context.WithTimeout(context.Background(), ask.Within)
	defer cancel()
	r.step("verify", func() error { return r.await(after, r.ended) })
	r.Left = processes(r.living)
	r.step("list holders", r.handed)
	r.Zombies = processes(r.dead)
	// What starts in its cgroups is to be denied, and not to wait for ever; a container whose
	// cgroup is frozen counts as paused with its runtime, which then does not remove it.
	if r.empty {
		r.step("thaw", r.thaw)
		_ = r.eachGroup(func(g *cgroup.Group) error { g.Forget(); return nil })
	}
	r.keep()
	if r.bundle != nil {
		r.step("sign", r.seal)
	}
	return nil
}

// release lets go of what was held open.
func (r *response) release() {
	if r.bundle != nil {
		r.bundle.Abandon() // unless it is signed
	}
	if r.net != nil && r.net.namespaces != nil {
		_ = r.net.namespaces.Close() // they are not ours
	}
}

// ended reports whether nothing lives and no socket is left.
func (r *response) ended() (bool, error) {
	over, err := r.over()
	r.empty = over && err == nil
	if !over { // who was moved in or out meanwhile has escaped the first
		return false, errors.Join(err, r.kill())
	}
	silent, failed := r.silent()
	if !silent && failed == nil {
		failed = r.cut()
	}
	return silent, errors.Join(err, failed)
}

// hold has all stand still, for a moment: what does not is killed as it runs.
func (r *response) hold() error {
	err := r.freeze()
	for end := time.Now().Add(freezeLimit); ; time.Sleep(look) {
		still, failed := r.still()
		if still || failed != nil || time.Now().After(end) {
			r.Left = r.Left[:0]
			return errors.Join(err, failed)
		}
	}
}

// keep makes the lockdown stay. It is in force: that is a step only if it fails.
func (r *response) keep() {
	began := time.Now()
	if err := Survive(r.target.Keep); err != nil {
		r.Steps = append(r.Steps, api.Step{Name: api.StepKeep, At: began.UTC(), Seconds: time.Since(began).Seconds(), Error: err.Error()})
	}
}

// thaw lets what is in the cgroups go on.
func (r *response) thaw() error {
	if r.Verb != api.VerbKill {
		if err := r.kernel.SetEnding(r.target.ID, false); err != nil {
			return err
		}
	}
	return r.eachGroup(func(g *cgroup.Group) error { return g.Thaw(freezeLimit) })
}

// freeze has what is in the cgroups stand still.
func (r *response) freeze() error {
	return r.eachGroup(func(g *cgroup.Group) error { return g.Freeze(freezeLimit) })
}

// eachGroup does something to every cgroup that is there; one that fails stops no other.
func (r *response) eachGroup(do func(*cgroup.Group) error) error {
	var errs []error
	for _, rel := range r.target.Groups {
		group, err := cgroup.OpenAt(rel)
		if err == nil {
			err = do(group)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// await waits until something holds: then the response is verified.
func (r *response) await(ctx context.Context, holds func() (bool, error)) error {
	for {
		ok, err := holds()
		if ok && err == nil {
			r.Verified = true
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, fmt.Errorf("workload %s: not so in time: it is NOT verified; see what is left", r.target.Name))
		case <-time.After(look):
		}
	}
}

// count counts the processes that are there, in the cgroups and by their mark.
func (r *response) count() error {
	pids := map[int]bool{}
	var err error
	r.living, err = r.marked()
	for _, m := range r.living {
		pids[m.TGID] = true
	}
	err = errors.Join(err, r.eachGroup(func(g *cgroup.Group) error {
		list, err := g.Procs()
		for _, pid := range list {
			pids[pid] = true
		}
		return err
	}))
	r.Processes = len(pids)
	return err
}

// kill sends the signal to all that is in the cgroups, and to all that bears the mark. From
// then on none of them makes another. Not before: a shell that cannot fork ends by itself,
// and would be missing in the evidence.
func (r *response) kill() error {
	if r.undone() {
		return errUndone
	}
	err := errors.Join(r.kernel.SetEnding(r.target.ID, true), r.eachGroup((*cgroup.Group).SendKill))
	strays, failed := r.strays()
	for _, m := range strays {
		failed = errors.Join(failed, signal(m, unix.SIGKILL))
	}
	return errors.Join(err, failed)
}

// over reports whether nothing lives: no cgroup holds a process, nor does one beneath,
// and no living task bears the mark.
func (r *response) over() (bool, error) {
	r.Populated = nil
	err := r.eachGroup(func(g *cgroup.Group) error {
		populated, err := g.Populated()
		if populated {
			r.Populated = append(r.Populated, g.Path())
		}
		return err
	})
	var failed error
	r.living, failed = r.marked()
	none, uncounted := r.complete()
	return len(r.Populated) == 0 && len(r.living) == 0 && none, errors.Join(err, failed, uncounted)
}

// complete reports whether the last roll has all that lives: one that was born behind it is
// counted.
func (r *response) complete() (bool, error) {
	tasks, err := r.kernel.Tasks()
	return len(r.living) >= tasks[r.target.ID], err
}

// inside has the threads that are in the cgroups. Not processes: where the first thread of
// one has ended, it stays behind in a cgroup that the others left.
func (r *response) inside() (map[int]bool, error) {
	threads := map[int]bool{}
	err := r.eachGroup(func(g *cgroup.Group) error {
		list, err := g.Threads()
		for _, tid := range list {
			threads[tid] = true
		}
		return err
	})
	return threads, err
}
