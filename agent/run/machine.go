package run

import (
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/bpf"
)

// Host is the machine that a run is on.
type Host struct {
	Check  func() error
	Load   func(bpf.Options) (host.Enforcer, error)
	Reaper []string // the command that ends in Reap, less the name
}

// thisHost is the machine itself.
var thisHost = Host{
	Check: bpf.Ready,
	Load: func(o bpf.Options) (host.Enforcer, error) {
		e, err := bpf.Load(o)
		if err != nil {
			return nil, err
		}
		return own{host.Loaded{Enforcer: e}}, nil
	},
	Reaper: []string{"/proc/self/exe", "reap"},
}

// own is a run's own set, which is pinned: its reaper removes the pins.
type own struct{ host.Loaded }

func (o own) Close() error { return o.Abandon() }
