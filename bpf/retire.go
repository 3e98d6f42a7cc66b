package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// endedName is the name of the one workload that has what workloads left behind when
// they ended: cgroups that cannot be removed, tasks that do not die. It has no plan:
// they are denied everything. No other name begins so.
const endedName = "@ended"

// retireIter is the iterator of tasks in kern/identity.bpf.c.
const retireIter = "retire"

// retirement is the twin of struct retirement in kern/identity.bpf.c.
type retirement struct{ From, To uint32 }

// retireTries bounds how often is looked whether nothing is left of a workload: while
// its tasks fork, new ones come.
const retireTries = 20

// ended returns the number of the workload of that name, 0 if there is none.
func (s *store) ended() uint32 {
	for id := uint32(1); id < abi.MaxWorkloads; id++ {
		if s.record(id).name() == endedName {
			return id
		}
	}
	return 0
}

// Retire gives the number of a workload back that still has cgroups or tasks: from now
// on these are denied everything. The first number that is retired is the one that all
// of them get.
func (e *Enforcer) Retire(id uint32) error {
	s := e.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.workload(id); err != nil {
		return err
	}
	if err := e.retire(id); err != nil {
		return fmt.Errorf("workload %d: %w: its number is not given back; try again", id, err)
	}
	return nil
}

func (e *Enforcer) retire(id uint32) error {
	s, to := e.store, e.ended()
	if to == 0 || to == id {
		// The name first: whatever follows, nobody else gets the number.
		s.record(id).rename(endedName)
		return s.disarm(id)
	}
	if w, err := s.workload(to); err != nil {
		return err
	} else if *w != (workload{}) { // that was interrupted
		if err := s.disarm(to); err != nil {
			return err
		}
	}
	// Once nothing is left, and every program ended that may have met what was,
	// nothing can become a task of it. A mark that was busy is had the next time.
	for clean, try := 0, 0; clean < 2; try++ {
		if try == retireTries {
			return fmt.Errorf("its tasks come faster than they are moved: %w", ErrInUse)
		}
		groups, err := e.move(id, to)
		if err != nil {
			return err
		}
		if clean++; groups > 0 {
			clean = 0
		}
		if _, tasks, err := s.left(id); err != nil {
			return err
		} else if tasks > 0 {
			clean = 0
		}
	}
	return s.clear(id)
}

// move gives the cgroups of a workload, and then the tasks, to another one. It returns
// how many cgroups there were.
func (e *Enforcer) move(from, to uint32) (groups int, err error) {
	list, _, err := e.left(from)
	if err != nil {
		return 0, err
	}
	for _, group := range list {
		err := e.maps["cgroups"].Update(group, to, ebpf.UpdateExist)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return 0, fmt.Errorf("cgroup %d: %w", group, err)
		}
	}
	if err := e.graceperiod(); err != nil {
		return 0, fmt.Errorf("grace period: %w", err)
	}
	if err := e.maps["retirement"].Put(uint32(0), retirement{from, to}); err != nil {
		return 0, fmt.Errorf("tasks: %w", err)
	}
	iter, ok := e.links[retireIter].(*link.Iter)
	if !ok {
		return 0, errors.New("tasks: no iterator")
	}
	if err := runIter(iter); err != nil {
		return 0, fmt.Errorf("tasks: %w", err)
	}
	return len(list), nil
}

// rename gives a record that has a name another one.
func (r *record) rename(name string) {
	var padded [len(r.Name)]byte
	copy(padded[:], name)
	copy(r.Name[1:], padded[1:])
	r.Name[0] = padded[0]
}
