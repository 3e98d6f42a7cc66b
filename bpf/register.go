package bpf

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/stockade-dev/stockade/bpf/fault"
)

// registerArgs is the twin of struct register_args in kern/identity.bpf.c.
type registerArgs struct{ Workload, Result, Place, FD uint32 }

// RegisterRoot makes the calling thread's root directory, in its mount
// namespace, the root of workload id: paths of policies start there.
func (e *Enforcer) RegisterRoot(id uint32) error { return registerRoot(e.register, id) }

func registerRoot(p *ebpf.Program, id uint32) error {
	in := registerArgs{Workload: id}
	var ret uint32
	err := fault.At("bpf.register-root")
	if err == nil {
		ret, err = p.Run(&ebpf.RunOptions{Context: in})
	}
	if err == nil && ret != 0 {
		err = fmt.Errorf("no such workload")
	}
	if err != nil {
		return fmt.Errorf("root of workload %d: %w: it is not confined; try again", id, err)
	}
	return nil
}
