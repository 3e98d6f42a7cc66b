package daemon

import (
	"errors"
	"fmt"

	"github.com/stockade-dev/stockade/agent/config"
	"github.com/stockade-dev/stockade/agent/delivery"
	"github.com/stockade-dev/stockade/agent/memory"
	"github.com/stockade-dev/stockade/agent/policies"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/compiler"
)

// succeedable reports whether an error is about a set of another build whose place this one's
// can take.
func succeedable(err error) bool {
	var foreign *bpf.ForeignError
	return errors.As(err, &foreign) && foreign.Why == ""
}

// succeed has a set of this build take the place of that of another one, which enforces
// until then.
func (d *Daemon) succeed(cfg *config.Config) (err error) {
	if err = d.machine.Check(); err != nil {
		return err
	}
	progress("loading the programs into the kernel, beside those of another build")
	d.kernel, err = d.machine.Succeed(d.machine.Pins, options(d.machine, cfg), bpf.Heir{Plan: d.remembered(), Own: d.machine.Own()})
	if err == nil {
		d.book.note(d.machine.Pins + ": pinned by another build: this one's set took its place, with all workloads and their tasks")
	}
	return err
}

// remembered compiles what is remembered of workloads: once for those that have the same.
func (k *keeper) remembered() func(name string) ([]uint64, error) {
	done := map[string][]uint64{}
	return func(name string) ([]uint64, error) {
		m, err := memory.Recall(k.memories(), name)
		if err == nil && m == nil {
			err = errors.New("its policies are not remembered")
		}
		if err != nil {
			return nil, err
		}
		digest := policies.DigestOf(m.Input)
		if words := done[digest]; words != nil {
			return words, nil
		}
		progress("compiling the policies of " + name)
		plan, err := compiler.Compile(m.Input)
		if err != nil {
			return nil, fmt.Errorf("its policies: %w", err)
		}
		done[digest] = plan.Table.Words()
		return done[digest], nil
	}
}

// bury ends what an upgrade left beside the set. Denials on its ring are delivered as others
// are, and counted where they are.
func (d *Daemon) bury() error {
	return d.machine.Bury(d.machine.Pins, func(from bpf.Reader) error {
		events, err := from.Events()
		if err != nil {
			return err
		}
		if err := events.Flush(); err != nil { // nobody writes to it any more
			return errors.Join(err, events.Close())
		}
		d.out.kernel = from
		err = d.out.follow(delivery.Source(events))
		d.out.kernel = d.kernel
		return errors.Join(err, events.Close())
	})
}
