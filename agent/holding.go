package agent

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/fanotify"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// heal asks for a mark on a file that was asked about and did not wait.
type heal struct {
	workload uint32
	path     string
	mask     uint64
}

// holding is a workload as far as it matters for what waits.
type holding struct {
	id             uint32
	name           string
	plan           *compiler.Plan
	root, identity string
}

// wants says what of a plan can wait.
func (h *held) wants(plan *compiler.Plan) bpf.Hold {
	var which bpf.Hold
	for _, one := range []bpf.Hold{bpf.HoldExec, bpf.HoldOpen} {
		paths, wide := plan.AskPlaces(askedBy(one) & plan.Handled)
		if one == bpf.HoldOpen && h.noOpen || len(paths) == 0 && !wide {
			continue
		}
		which |= one
	}
	return which
}

// apply lets wait what the plans of all workloads ask, and nothing else. Marks
// come before the kernel relies on them, and go after.
func (h *held) apply(list []holding) {
	if h.kernel == nil {
		return
	}
	which := make(map[uint32]bpf.Hold)
	some := false
	for _, w := range list {
		which[w.id] = h.wants(w.plan)
		some = some || which[w.id] != 0
	}
	if some {
		if err := h.begin(); err != nil {
			h.note("holds", fmt.Sprintf("asks: %v: nothing waits for the agent, asks become tickets", err))
			return
		}
	}
	h.set(which, func(now, next bpf.Hold) bpf.Hold { return now & next }) // less first
	if err := h.mark(list, which, some); err != nil {
		h.note("marks", fmt.Sprintf("asks: %v: nothing waits for the agent, asks become tickets", err))
		return
	}
	opens := !h.noOpen
	h.set(which, func(_, next bpf.Hold) bpf.Hold { return next })
	if opens && h.noOpen {
		h.apply(list) // without the marks for them
	}
}

// set tells the kernel what waits. Of a workload that is new to this agent an
// earlier one may have told it something.
func (h *held) set(which map[uint32]bpf.Hold, change func(now, next bpf.Hold) bpf.Hold) {
	for id, next := range which {
		h.mu.Lock()
		now, known := h.which[id]
		h.mu.Unlock()
		if next = change(now, next); known && next == now || !known && next == 0 && !h.adopted {
			continue
		}
		err := h.kernel.SetHold(id, next)
		if err != nil && next&bpf.HoldOpen != 0 {
			h.note("open", fmt.Sprintf("asks: %v: opens do not wait for the agent, asks about them become tickets", err))
			h.noOpen = true
			if next &^= bpf.HoldOpen; next == now {
				continue
			}
			err = h.kernel.SetHold(id, next)
		}
		if err != nil {
			h.note(fmt.Sprintf("hold %d", id), fmt.Sprintf("asks: %v: they become tickets", err))
			continue
		}
		h.mu.Lock()
		h.which[id] = next
		h.mu.Unlock()
	}
}

// mark makes the marks those of the plans. New ones are added to the group; if
// some must go, another group takes over before the old one ends.
func (h *held) mark(list []holding, which map[uint32]bpf.Hold, some bool) error {
	roots := h.openRoots(list, which)
	h.healing.Lock()
	defer h.healing.Unlock()
	wanted := h.marker(nil, marks{})
	h.plans(wanted, list, which, roots)
	old := h.gate
	switch {
	case !some:
		h.gate, h.marked = nil, marks{}
	case old == nil || !h.marked.within(wanted.list):
		gate, err := h.openGate()
		if err != nil {
			return err
		}
		h.gate, h.marked = gate, marks{}
	}
	if h.gate != nil {
		h.plans(h.marker(h.gate.group, h.marked), list, which, roots)
	}
	if old != nil && old != h.gate {
		go old.retire(time.Duration(h.limit.Load()))
	}
	return nil
}

func (h *held) marker(group *fanotify.Group, has marks) *marker {
	return &marker{group: group, has: has, list: marks{}, note: h.note}
}

func (h *held) plans(m *marker, list []holding, which map[uint32]bpf.Hold, roots map[uint32]*rootDir) {
	for _, w := range list {
		if root := roots[w.id]; root != nil && which[w.id] != 0 {
			m.plan(root, w.plan, which[w.id])
		}
	}
}

// openRoots opens the root directories of the workloads of which something
// waits, and closes those of others.
func (h *held) openRoots(list []holding, which map[uint32]bpf.Hold) map[uint32]*rootDir {
	h.mu.Lock()
	old := maps.Clone(h.roots)
	h.mu.Unlock()
	next := make(map[uint32]*rootDir)
	for _, w := range list {
		if which[w.id] == 0 {
			continue
		}
		if root := old[w.id]; root != nil && root.identity == w.identity && root.of == w.root {
			next[w.id] = root
			continue
		}
		root, err := openRoot(w.root, w.identity)
		if err != nil {
			h.note("root of "+w.name, fmt.Sprintf("workload %s: %v", w.name, err))
			continue
		}
		next[w.id] = root
	}
	h.mu.Lock()
	h.roots = next
	h.mu.Unlock()
	return next // the old ones are closed when nobody uses them any more
}

// retire closes a gate once nothing waits in it, or it has waited too long.
func (g *gate) retire(limit time.Duration) {
	time.Sleep(50 * time.Millisecond) // for what was on its way
	for end := time.Now().Add(2 * limit); g.busy.Load() > 0 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	_ = g.close()
}

// missed asks for a mark on what was refused because it did not wait, so that a
// retry does. It does not wait itself.
func (h *held) missed(e *abi.Event) {
	if h == nil || e.Reason != abi.ReasonAsk || e.PathStatus != abi.PathOK {
		return
	}
	which := h.of(e.Workload)
	var mask uint64
	if which&bpf.HoldExec != 0 && e.Missing.Has(abi.Execute) {
		mask |= fanotify.OpenExec
	}
	if which&bpf.HoldOpen != 0 && e.Missing&askedBy(bpf.HoldOpen) != 0 {
		mask |= fanotify.Open | fanotify.Dirs
	}
	if mask == 0 {
		return
	}
	select {
	case h.heals <- heal{e.Workload, e.Path, mask}:
	default:
	}
}

// follow marks what missed names, until the end.
func (h *held) follow() {
	for {
		select {
		case <-h.quit:
			return
		case one := <-h.heals:
			h.healing.Lock()
			h.mu.Lock()
			root := h.roots[one.workload]
			h.mu.Unlock()
			if gate := h.gate; gate != nil && root != nil {
				h.marker(gate.group, h.marked.clone()).path(root, one.path, one.mask)
			}
			h.healing.Unlock()
		}
	}
}

// status says what became of a workload's operations that waited; nil if none
// ever did.
func (h *held) status(id uint32) *api.Held {
	if h == nil {
		return nil
	}
	which := askedBy(h.of(id))
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.counts[id]
	if c == nil && which == 0 {
		return nil
	}
	if c == nil {
		c = &heldCounts{}
	}
	actions := []string{}
	for _, a := range which.Actions() {
		actions = append(actions, a.String())
	}
	return &api.Held{Actions: actions, Asked: c.asked.Load(), Allowed: c.settled[isAllowed].Load(), Denied: c.settled[isDenied].Load(),
		Unanswered: c.settled[isUnanswered].Load(), Late: c.settled[isLate].Load()}
}

// answerAsks makes what answers for operations that wait, with the grants that
// are left.
func (d *Daemon) answerAsks() error {
	find := func(e *abi.Event) *judge {
		d.mu.Lock()
		defer d.mu.Unlock()
		w := d.byID[e.Workload]
		if w == nil || w.installations[e.Generation] == nil {
			return nil
		}
		return w.installations[e.Generation].judge
	}
	d.held = newHeld(d.kernel, d.adopted, d.memories(), find, d.noteOnce)
	for name := range d.workloads {
		if err := d.held.grants.recall(name); err != nil {
			return err
		}
	}
	return nil
}

// holdAsks lets wait what the plans ask now.
func (d *Daemon) holdAsks() {
	var list []holding
	d.mu.Lock()
	d.held.limit.Store(int64(d.config.Asks.Deadline))
	for _, w := range d.workloads {
		if w.plan != nil {
			list = append(list, holding{w.id, w.name, w.plan, w.memory.Root, w.memory.RootID})
		}
	}
	d.mu.Unlock()
	slices.SortFunc(list, func(a, b holding) int { return cmp.Compare(a.id, b.id) })
	d.held.apply(list)
}
