package host

import (
	"github.com/stockade-dev/stockade/agent/delivery"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// Enforcer is what a run needs of the kernel: bpf.Enforcer, or in tests
// something else.
type Enforcer interface {
	RegisterRoot(id uint32) error
	Install(id uint32, words []uint64, mode abi.Mode) (uint32, error)
	SetStrict(id uint32, strict bool) error
	Grant(id uint32, g abi.Grants) error
	Confine(cgroup uint64, id uint32) error
	Counters(id uint32) (abi.Counters, error)
	Gaps() []string
	SyncClock() error
	SetMode(id uint32, mode abi.Mode) error
	Shift(id uint32, mode abi.Mode) (abi.Mode, error)
	Mode(id uint32) (abi.Mode, error)
	SetEnding(id uint32, ending bool) error
	Guard(dirs []string) error
	Roll() ([]bpf.Marked, error)
	Tasks() (map[uint32]int, error)
	Confiner
	Close() error
	Abandon() error
	Events() (delivery.Source, error)
}

// Kernel is what the daemon needs of the kernel side: bpf.Enforcer, or in tests
// something else.
type Kernel interface {
	Enforcer
	Claim(name string) (uint32, error)
	Release(id uint32) error
	Retire(id uint32) error
	SetContainer(id uint32, container bool) error
	Workloads() ([]bpf.Workload, error)
	Table(id uint32) ([]uint64, error)
	Account(id uint32, delivered bool)
	Count(id uint32, delivered bool)
	Accounted(id uint32) (delivered, lost uint64)
	Position() (written, read uint64, err error)
	Handled() abi.ActionMask
	Strict() bool
	Words() int
	Used() int
}

// HoldKernel is a kernel side that can let asked operations wait for the agent: it
// sends them on to the agent's fanotify groups and, in a later hook, refuses
// those that have no answer.
type HoldKernel interface {
	// SetHold says which asked operations of a workload wait. bpf.HoldOpen is
	// refused where the kernel has no hook to confirm an open.
	SetHold(id uint32, which bpf.Hold) error
	// AttachHolds has the hooks ready that SetHold would attach, which takes a while.
	AttachHolds(which bpf.Hold) error
	Holds() (HoldReader, error)
}

// HoldReader is where operations that wait come from: bpf.Holds.
type HoldReader interface {
	// Read returns the next: an event as for a denial, with its number in Hold.
	Read() (abi.Event, error)
	// Pending returns the number of what a task waits for; 0: it does not.
	Pending(tid int) (uint64, error)
	Answer(a bpf.Answer) error
	Close() error
}
