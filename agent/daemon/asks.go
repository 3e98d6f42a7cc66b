package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/hold"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// answerAsks makes what answers for operations that wait, with the grants that
// are left, and what delivers what is denied.
func (k *keeper) answerAsks() error {
	find := func(e *abi.Event) *hold.Judge {
		if installed := k.all.installation(k.all.numbered(e.Workload), e.Generation); installed != nil {
			return installed.judge
		}
		return nil
	}
	k.held = hold.New(k.kernel, k.adopted, k.memories(), find, k.book.once)
	k.out = &deliverer{all: k.all, kernel: k.kernel, held: k.held, tickets: k.tickets, figures: k.figures, book: k.book, wires: &k.wires}
	for _, name := range k.all.names() {
		if err := k.held.RecallGrants(name); err != nil {
			return err
		}
	}
	return nil
}

// expectAsks has ready what containers that start would wait for.
func (k *keeper) expectAsks() {
	var plans []*compiler.Plan
	for _, t := range k.templates {
		if t.plan != nil {
			plans = append(plans, t.plan)
		}
	}
	k.held.Expect(plans)
}

// holdAsks lets wait what the plans ask now.
func (k *keeper) holdAsks() {
	var list []hold.Workload
	k.all.mu.Lock()
	k.held.SetDeadline(k.config.Asks.Deadline)
	for _, w := range k.all.byName {
		if w.plan != nil {
			list = append(list, hold.Workload{ID: w.id, Name: w.name, Plan: w.plan, Root: w.memory.Root, Identity: w.memory.RootID})
		}
	}
	k.all.mu.Unlock()
	slices.SortFunc(list, func(a, b hold.Workload) int { return cmp.Compare(a.ID, b.ID) })
	k.held.Apply(list)
}

// maxTimes bounds how often one grant holds.
const maxTimes = 1_000_000

// grant answers a ticket for a number of operations. The plan stays.
func (d *Daemon) grant(a *ask, w *workload, given api.Answer) (api.Change, error) {
	held := d.held.Waits(w.id)
	for _, r := range a.requests {
		switch {
		case !given.Allow:
			return api.Change{}, errors.New("a number of times is for approvals: nothing was done; leave it out")
		case given.Times < 0 || given.Times > maxTimes:
			return api.Change{}, fmt.Errorf("%d times: not from 1 to %d: nothing was done; choose another number", given.Times, maxTimes)
		case !held.Has(r.Action):
			return api.Change{}, fmt.Errorf("%s does not wait for the agent on this kernel, so nobody counts: nothing was done; use --for instead of --times", r.Action)
		}
	}
	now := time.Now()
	answers, err := a.answers(w.plan, given, now)
	if err == nil {
		_, err = a.settle(w, given, now) // would it do what it says?
	}
	if err == nil {
		err = d.held.AddGrant(w.name, newTicketID(), given.Times, answers)
	}
	if err != nil {
		return api.Change{}, err
	}
	d.tickets.drop(a.ID)
	return api.Change{Name: w.name, Generation: w.generation, Digest: w.plan.DigestName()}, nil
}
