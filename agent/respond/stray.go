package respond

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/cgroup"
)

// strays lists the marked threads that are in none of the cgroups.
func (r *response) strays() (list []bpf.Marked, err error) {
	inside, err := r.inside()
	var failed error
	r.living, failed = r.marked()
	for _, m := range r.living {
		if !inside[m.PID] {
			list = append(list, m)
		}
	}
	return list, errors.Join(err, failed)
}

// urge sends a signal to strays whose state is not yet as wanted, and reports whether there
// were none: those that were are what is left.
func (r *response) urge(strays []bpf.Marked, sig unix.Signal, wanted func(state string) bool) (none bool, err error) {
	r.Left = r.Left[:0]
	none = true
	for _, m := range strays {
		if p := process(m); !wanted(p.State) {
			none = false
			r.urged[m.TGID] = true
			if err = errors.Join(err, signal(m, sig)); len(r.Left) < maxListed {
				r.Left = append(r.Left, p)
			}
		}
	}
	return none, err
}

// fetch brings strays that stand still back beneath a cgroup of the workload, which is
// frozen: what is stopped by a signal alone can have itself continued, by a timer of its own.
func (r *response) fetch(strays []bpf.Marked) (err error) {
	done := map[int]bool{}
	for _, m := range strays {
		// A parent in vfork waits in D for its child, which may be frozen by now; and some
		// continue each other as fast as they are stopped: what runs is taken at last, too.
		if p := process(m); !done[m.TGID] && (p.State == stopped || p.State == traced || p.State == asleep || r.tries >= chases) {
			done[m.TGID] = true
			err = errors.Join(err, r.take(p, m))
		}
	}
	return err
}

// take brings one back. What stands still has its number for itself; of what runs it is
// looked at just before.
func (r *response) take(p api.Process, m bpf.Marked) error {
	from, unknown := cgroup.Of(fmt.Sprintf("%d/task/%d", m.TGID, m.PID)) // the first thread may have ended elsewhere
	if unknown == nil {
		from = "/" + from
	}
	var group *cgroup.Group
	err := errors.New("no cgroup of the workload is left")
	for _, rel := range r.target.Groups {
		if group, err = cgroup.OpenAt(rel); err == nil {
			break
		}
	}
	if start, ok := startOf(m.TGID, m.PID); err == nil && (!ok || start != ticks(m)) {
		return nil // it ended
	}
	if err == nil {
		err = group.Take(m.TGID)
	}
	if err != nil {
		return fmt.Errorf("process %d: %w: only a signal stops it, which it can undo", m.TGID, err)
	}
	if len(r.Returned) < maxListed {
		r.Returned = append(r.Returned, api.Returned{Process: p, Cgroup: from})
	}
	if !r.urged[m.TGID] {
		return nil // somebody else had stopped it
	}
	return signal(m, unix.SIGCONT) // frozen it stays
}

// still reports whether nothing can run: all in the cgroups is frozen, and nothing bears the
// mark elsewhere: that is stopped, and brought back.
func (r *response) still() (bool, error) {
	strays, failed := r.strays()
	if len(strays) > 0 {
		_, unsent := r.urge(strays, unix.SIGSTOP, func(state string) bool { return state == stopped || state == traced })
		failed = errors.Join(failed, unsent, r.fetch(strays))
		var unseen error
		strays, unseen = r.strays()
		failed = errors.Join(failed, unseen)
	}
	none, frozen := len(strays) == 0, true
	if none {
		r.Left = r.Left[:0]
	}
	whole, uncounted := r.complete()
	err := r.eachGroup(func(g *cgroup.Group) error { // last: with what was brought back
		is, err := g.Frozen()
		populated, failed := g.Populated()
		frozen = frozen && (is || !populated)
		return errors.Join(err, failed)
	})
	if !none || !whole {
		r.tries++
	}
	if r.tries == chases { // what makes new ones as fast as they are stopped
		failed = errors.Join(failed, r.kernel.SetEnding(r.target.ID, true))
	}
	return frozen && none && whole, errors.Join(err, failed, uncounted)
}

// moving reports whether no cgroup is frozen, and continues what is stopped elsewhere.
func (r *response) moving() (bool, error) {
	thawed := true
	err := r.eachGroup(func(g *cgroup.Group) error {
		is, err := g.Frozen()
		thawed = thawed && !is
		return err
	})
	strays, unseen := r.strays()
	none, failed := r.urge(strays, unix.SIGCONT, func(state string) bool { return state != stopped })
	return thawed && none, errors.Join(err, unseen, failed)
}
