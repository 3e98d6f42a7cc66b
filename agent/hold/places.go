package hold

import (
	"fmt"
	"maps"
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

// Workload is one as far as it matters for what waits.
type Workload struct {
	ID   uint32
	Name string
	Plan *compiler.Plan
	// Root is the process whose root directory its paths start from, Identity tells
	// that directory.
	Root, Identity string
}

// wants says what of a plan can wait.
func (h *Answerer) wants(plan *compiler.Plan) bpf.Hold {
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

// Expect has ready what lets wait what plans ask that no workload has yet.
func (h *Answerer) Expect(plans []*compiler.Plan) {
	if h.kernel == nil {
		return
	}
	var which bpf.Hold
	for _, plan := range plans {
		which |= h.wants(plan)
	}
	if which == 0 {
		return
	}
	err := h.kernel.AttachHolds(which)
	if err != nil && which&bpf.HoldOpen != 0 {
		h.opensStay(err)
		if which &^= bpf.HoldOpen; which == 0 {
			return
		}
		err = h.kernel.AttachHolds(which)
	}
	if err != nil {
		h.note("expect", fmt.Sprintf("asks: %v: it is tried again with the first container that asks", err))
	}
}

// opensStay notes that the kernel confirms no opens.
func (h *Answerer) opensStay(err error) {
	h.note("open", fmt.Sprintf("asks: %v: opens do not wait for the agent, asks about them become tickets", err))
	h.noOpen = true
}

// Apply lets wait what the plans of all workloads ask, and nothing else. Marks
// come before the kernel relies on them, and go after.
func (h *Answerer) Apply(list []Workload) {
	if h.kernel == nil {
		return
	}
	which := make(map[uint32]bpf.Hold)
	some := false
	for _, w := range list {
		which[w.ID] = h.wants(w.Plan)
		some = some || which[w.ID] != 0
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
		h.Apply(list) // without the marks for them
	}
}

// set tells the kernel what waits. Of a workload that is new to this agent an
// earlier one may have told it something.
func (h *Answerer) set(which map[uint32]bpf.Hold, change func(now, next bpf.Hold) bpf.Hold) {
	for id, next := range which {
		h.mu.Lock()
		now, known := h.which[id]
		h.mu.Unlock()
		if next = change(now, next); known && next == now || !known && next == 0 && !h.adopted {
			continue
		}
		err := h.kernel.SetHold(id, next)
		if err != nil && next&bpf.HoldOpen != 0 {
			h.opensStay(err)
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
func (h *Answerer) mark(list []Workload, which map[uint32]bpf.Hold, some bool) error {
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

func (h *Answerer) marker(group *fanotify.Group, has marks) *marker {
	return &marker{group: group, has: has, list: marks{}, note: h.note}
}

func (h *Answerer) plans(m *marker, list []Workload, which map[uint32]bpf.Hold, roots map[uint32]*rootDir) {
	for _, w := range list {
		if root := roots[w.ID]; root != nil && which[w.ID] != 0 {
			m.plan(root, w.Plan, which[w.ID])
		}
	}
}

// openRoots opens the root directories of the workloads of which something
// waits, and closes those of others.
func (h *Answerer) openRoots(list []Workload, which map[uint32]bpf.Hold) map[uint32]*rootDir {
	h.mu.Lock()
	old := maps.Clone(h.roots)
	h.mu.Unlock()
	next := make(map[uint32]*rootDir)
	for _, w := range list {
		if which[w.ID] == 0 {
			continue
		}
		if root := old[w.ID]; root != nil && root.identity == w.Identity && root.of == w.Root {
			next[w.ID] = root
			continue
		}
		root, err := openRoot(w.Root, w.Identity)
		if err != nil {
			h.note("root of "+w.Name, fmt.Sprintf("workload %s: %v", w.Name, err))
			continue
		}
		next[w.ID] = root
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

// Missed asks for a mark on what was refused because it did not wait, so that a
// retry does. It does not wait itself.
func (h *Answerer) Missed(e *abi.Event) {
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
func (h *Answerer) follow() {
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

// Status says what became of a workload's operations that waited; nil if none
// ever did.
func (h *Answerer) Status(id uint32) *api.Held {
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
