// Package hosttest has what stands in for the kernel side, and for who is told, in tests.
package hosttest

import (
	"sync"

	"github.com/stockade-dev/stockade/agent/delivery"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/cgroup"
	"github.com/stockade-dev/stockade/compiler"
)

// EmptyPlan is the plan of no policies.
func EmptyPlan() *compiler.Plan {
	plan, err := compiler.Compile(compiler.Input{Principal: `User::"test"`})
	if err != nil {
		panic(err)
	}
	return plan
}

// Kernel stands in for the BPF side: it confines nothing, and checks that
// it is told to stop only when the workload is dead.
type Kernel struct {
	Name     string // of the workload, for that check
	LoadErr  error
	Denials  []abi.Event
	Counts   abi.Counters
	CloseErr error
	Granted  abi.Grants // of the last one
	Now      abi.Mode
	Ring     func() (written, read uint64)

	mu     sync.Mutex
	Closed bool
	Alive  bool // the workload was, when enforcement ended
}

func (k *Kernel) RegisterRoot(uint32) error    { return nil }
func (k *Kernel) SetStrict(uint32, bool) error { return nil }

func (k *Kernel) Grant(_ uint32, g abi.Grants) error { k.Granted = g; return nil }

func (k *Kernel) Install(uint32, []uint64, abi.Mode) (uint32, error) { return 1, nil }
func (k *Kernel) Confine(uint64, uint32) error                       { return nil }
func (k *Kernel) Counters(uint32) (abi.Counters, error)              { return k.Counts, nil }
func (k *Kernel) SetMode(_ uint32, mode abi.Mode) error              { k.Now = mode; return nil }
func (k *Kernel) Shift(_ uint32, mode abi.Mode) (abi.Mode, error)    { return mode, nil }
func (k *Kernel) Mode(uint32) (abi.Mode, error)                      { return k.Now, nil }
func (k *Kernel) SetEnding(uint32, bool) error                       { return nil }
func (k *Kernel) Guard([]string) error                               { return nil }
func (k *Kernel) Tasks() (map[uint32]int, error)                     { return nil, nil }
func (k *Kernel) Roll() ([]bpf.Marked, error)                        { return nil, nil }
func (k *Kernel) Confined(int) (bool, error)                         { return false, nil }
func (k *Kernel) Groups() (map[uint64]uint32, error)                 { return nil, nil }
func (k *Kernel) Gaps() []string                                     { return nil }

// Position tells what the test says of the ring: all is read, unless it says something.
func (k *Kernel) Position() (written, read uint64, err error) {
	if k.Ring == nil {
		return 0, 0, nil
	}
	written, read = k.Ring()
	return written, read, nil
}

func (k *Kernel) SyncClock() error { return nil }
func (k *Kernel) Abandon() error   { return nil }

// Events has the denials.
func (k *Kernel) Events() (delivery.Source, error) {
	pending := make(chan abi.Event, len(k.Denials))
	for _, e := range k.Denials {
		pending <- e
	}
	return Source(pending), nil
}

// Source has what is pending, and waits for more.
func Source(pending chan abi.Event) delivery.Source {
	return &events{pending: pending, flush: make(chan struct{})}
}

func (k *Kernel) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.Closed = true
	if group, err := cgroup.Open(k.Name); err == nil {
		k.Alive, _ = group.Populated()
	}
	return k.CloseErr
}

type events struct {
	pending chan abi.Event
	flush   chan struct{}
	once    sync.Once
}

func (r *events) Read() (abi.Event, error) {
	select {
	case e := <-r.pending:
		return e, nil
	default:
	}
	select {
	case e := <-r.pending:
		return e, nil
	case <-r.flush:
		return abi.Event{}, bpf.ErrFlushed
	}
}
func (r *events) Flush() error { r.once.Do(func() { close(r.flush) }); return nil }
func (r *events) Close() error { return r.Flush() }
