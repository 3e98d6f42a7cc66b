package bpf

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf/link"
)

// rollIter is the iterator of tasks in kern/identity.bpf.c that lists those of workloads.
const rollIter = "roll"

// rollEntry is the twin of struct roll_entry in kern/identity.bpf.c.
type rollEntry struct {
	Started             uint64
	PID, TGID, Workload uint32
	Dead                uint32
}

// Marked is a thread that belongs to a workload, whatever cgroup it is in.
type Marked struct {
	Workload uint32
	// PID is the thread's number, TGID its process's, as the reader's namespace of
	// processes numbers them.
	PID, TGID int
	// Started is its start after boot, by CLOCK_BOOTTIME.
	Started time.Duration
	// Dead: it has ended, and its parent has not asked how.
	Dead bool
}

// Roll lists the threads of all workloads. One that is born meanwhile may not be in it:
// who wants to know that none is left asks until none is.
func (e *Enforcer) Roll() ([]Marked, error) {
	list, err := e.roll()
	if err != nil {
		return nil, fmt.Errorf("roll of tasks: %w: whether any is left is not known; try again", err)
	}
	return list, nil
}

func (e *Enforcer) roll() (list []Marked, err error) {
	iter, ok := e.links[rollIter].(*link.Iter)
	if !ok {
		return nil, errors.New("no iterator")
	}
	tasks, err := iter.Open()
	if err != nil {
		return nil, err
	}
	defer tasks.Close()
	from := bufio.NewReader(tasks)
	for {
		var one rollEntry
		switch err := binary.Read(from, binary.NativeEndian, &one); {
		case errors.Is(err, io.EOF):
			return list, nil
		case err != nil:
			return nil, err
		}
		list = append(list, Marked{Workload: one.Workload, PID: int(one.PID), TGID: int(one.TGID), Started: time.Duration(one.Started), Dead: one.Dead != 0})
	}
}
