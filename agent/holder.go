package agent

import (
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// holdKernel is a kernel side that can let asked operations wait for the agent: it
// sends them on to the agent's fanotify groups and, in a later hook, refuses
// those that have no answer.
type holdKernel interface {
	// SetHold says which asked operations of a workload wait. bpf.HoldOpen is
	// refused where the kernel has no hook to confirm an open.
	SetHold(id uint32, which bpf.Hold) error
	holds() (holdReader, error)
}

// askedBy returns what can be asked of operations that wait.
func askedBy(which bpf.Hold) abi.ActionMask {
	var m abi.ActionMask
	if which&bpf.HoldExec != 0 {
		m |= abi.MaskOf(abi.Execute)
	}
	if which&bpf.HoldOpen != 0 {
		m |= abi.MaskOf(abi.Open, abi.Read, abi.Write)
	}
	return m
}

// holdReader is where operations that wait come from: bpf.Holds.
type holdReader interface {
	// Read returns the next: an event as for a denial, with its number in Hold.
	Read() (abi.Event, error)
	// Pending returns the number of what a task waits for; 0: it does not.
	Pending(tid int) (uint64, error)
	Answer(a bpf.Answer) error
	Close() error
}
