package agent

import (
	"github.com/stockade-dev/stockade/agent/delivery"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// enforcer is what a run needs of the kernel: bpf.Enforcer, or in tests
// something else.
type enforcer interface {
	RegisterRoot(id uint32) error
	Install(id uint32, words []uint64, mode abi.Mode) (uint32, error)
	SetStrict(id uint32, strict bool) error
	Grant(id uint32, g abi.Grants) error
	Confine(cgroup uint64, id uint32) error
	Counters(id uint32) (abi.Counters, error)
	Gaps() []string
	SyncClock() error
	Close() error
	Abandon() error
	events() (delivery.Source, error)
}

// runHost is the machine that a run is on.
type runHost struct {
	check  func() error
	load   func(bpf.Options) (enforcer, error)
	reaper []string // the command that ends in Reap, less the name
}

// thisHost is the machine itself.
var thisHost = runHost{
	check: bpf.Ready,
	load: func(o bpf.Options) (enforcer, error) {
		e, err := bpf.Load(o)
		if err != nil {
			return nil, err
		}
		return own{loaded{e}}, nil
	},
	reaper: []string{"/proc/self/exe", "reap"},
}

// own is a run's own set, which is pinned: its reaper removes the pins.
type own struct{ loaded }

func (o own) Close() error { return o.Abandon() }

type loaded struct{ *bpf.Enforcer }

func (l loaded) events() (delivery.Source, error) { return l.Enforcer.Events() }

var _ holdKernel = loaded{}

func (l loaded) holds() (holdReader, error) { return l.Enforcer.Holds() }
