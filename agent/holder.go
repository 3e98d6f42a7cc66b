package agent

import "github.com/stockade-dev/stockade/bpf/abi"

// holdKernel is a kernel side that can let asked operations wait for the agent: it
// sends them on to the agent's fanotify groups and, in a later hook, refuses
// those that have no answer.
type holdKernel interface {
	// SetHold says which asked operations of a workload wait. holdOpen is refused
	// where the kernel has no hook to confirm an open.
	SetHold(id uint32, which hold) error
	holds() (holdReader, error)
}

// hold is a set of sorts of operations.
type hold uint32

const (
	holdExec hold = 1 << iota
	holdOpen
)

// actions returns what can be asked of operations that wait.
func (h hold) actions() abi.ActionMask {
	var m abi.ActionMask
	if h&holdExec != 0 {
		m |= abi.MaskOf(abi.Execute)
	}
	if h&holdOpen != 0 {
		m |= abi.MaskOf(abi.Open, abi.Read, abi.Write)
	}
	return m
}

// holdReader is where operations that wait come from.
type holdReader interface {
	// Read returns the next: an event as for a denial, with its number in Hold.
	Read() (abi.Event, error)
	// Pending returns the number of what a task waits for; 0: it does not.
	Pending(tid int) (uint64, error)
	Answer(a holdAnswer) error
	Close() error
}

// holdAnswer settles one operation. The kernel kills a process whose image is
// not the one given; nil: any will do.
type holdAnswer struct {
	Number uint64
	Allow  bool
	Image  *holdImage
}

// holdImage is what a program begins with: NUL-ended strings, arguments, then
// environment.
type holdImage struct {
	Argc, Envc int
	Strings    []byte
}
