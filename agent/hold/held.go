// Package hold answers for operations that wait for the agent: the kernel stops them in a
// group of fanotify, the plan and cedar-go judge them, and a later hook confirms.
package hold

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stockade-dev/stockade/agent/fanotify"
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/fault"
)

// Answerer answers for operations that wait. Nothing of it is there until a plan
// asks about something that can wait.
type Answerer struct {
	kernel host.HoldKernel // nil: this kernel side holds nothing
	finder func(*abi.Event) *Judge
	note   func(key, text string)
	grants *grants
	limit  atomic.Int64 // nanoseconds that an operation waits at most
	waits  *waiting

	// What follows is changed by one caller at a time.
	reader  host.HoldReader
	gate    *gate
	marked  marks
	started sync.WaitGroup
	turns   turns
	heals   chan heal
	quit    chan struct{}
	adopted bool       // an earlier agent may have told the kernel something
	noOpen  bool       // the kernel confirms no opens
	healing sync.Mutex // of gate and its marks, against follow

	mu     sync.Mutex // what follows
	which  map[uint32]bpf.Hold
	roots  map[uint32]*rootDir
	counts map[uint32]*heldCounts
}

// heldCounts says what became of a workload's operations that waited.
type heldCounts struct {
	asked   atomic.Uint64
	settled [isLate + 1]atomic.Uint64
}

// maxReadErrors bounds how often in a row reading may fail.
const maxReadErrors = 100

// maxHeals bounds the files that are to be marked.
const maxHeals = 64

// New returns who answers for the workloads of a kernel side, which an earlier agent may
// have told something if it was adopted. Its grants lie in the folder memories, finder
// finds who judges for the plan of an event, nil if there is nobody, and note is told,
// with a key, what a reader must know once.
func New(k host.Kernel, adopted bool, memories string, finder func(*abi.Event) *Judge, note func(key, text string)) *Answerer {
	h := &Answerer{finder: finder, note: note, grants: &grants{dir: memories, all: map[string][]*grant{}}, waits: newWaiting(), marked: marks{},
		turns: turns{of: map[uint32]*turn{}}, heals: make(chan heal, maxHeals), quit: make(chan struct{}),
		which: map[uint32]bpf.Hold{}, roots: map[uint32]*rootDir{}, counts: map[uint32]*heldCounts{}}
	h.kernel, _ = k.(host.HoldKernel)
	h.adopted = adopted
	h.limit.Store(int64(5 * time.Second))
	return h
}

// of returns what of a workload waits.
func (h *Answerer) of(id uint32) bpf.Hold {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.which[id]
}

func (h *Answerer) count(id uint32) *heldCounts {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.counts[id]
	if c == nil {
		c = &heldCounts{}
		h.counts[id] = c
	}
	return c
}

// begin starts what answers, the first time.
func (h *Answerer) begin() error {
	if h.reader != nil {
		return nil
	}
	reader, err := h.kernel.Holds()
	if err != nil {
		return err
	}
	h.reader = reader
	h.started.Go(h.readAsks)
	h.started.Go(h.expire)
	h.started.Go(h.follow)
	return nil
}

// RestsOn names the policies that a denial by the agent's answer rests on, as far
// back as they are remembered.
func (h *Answerer) RestsOn(e *abi.Event) (ids []string) {
	if e.Reason != abi.ReasonAnswered {
		return nil
	}
	for _, p := range h.Policies(e) {
		ids = append(ids, p.ID)
	}
	return ids
}

// Policies returns what a denial by the agent's answer rests on, as far back as that is
// remembered.
func (h *Answerer) Policies(e *abi.Event) []sink.Policy { return h.waits.verdict(e.Hold).policies }

// SetDeadline says how long an operation waits at most.
func (h *Answerer) SetDeadline(d time.Duration) { h.limit.Store(int64(d)) }

// Waits returns the actions of a workload that wait now.
func (h *Answerer) Waits(id uint32) abi.ActionMask { return askedBy(h.of(id)) }

// Forget forgets a workload that is gone.
func (h *Answerer) Forget(id uint32, name string) error {
	h.mu.Lock()
	delete(h.which, id)
	delete(h.counts, id)
	h.mu.Unlock()
	h.turns.forget(id)
	return h.grants.drop(name)
}

// Close ends all of it. What waits goes on, and is refused by the kernel.
func (h *Answerer) Close() error {
	if h == nil {
		return nil
	}
	var errs []error
	close(h.quit)
	if h.gate != nil { // first: the agent's own opens may wait for it
		errs = append(errs, h.gate.close())
	}
	if h.reader != nil {
		errs = append(errs, h.reader.Close())
	}
	h.started.Wait()
	h.turns.close()
	for _, o := range h.waits.old(time.Now().Add(time.Hour)) {
		h.finish(o, verdict{})
	}
	for _, root := range h.roots {
		errs = append(errs, root.dir.Close())
	}
	return errors.Join(errs...)
}

// openGate opens a group and lets it be read, before anything is marked: the
// agent's own opens wait for it as well.
func (h *Answerer) openGate() (*gate, error) {
	err := fault.At("agent.hold-group")
	var group *fanotify.Group
	if err == nil {
		group, err = fanotify.New()
	}
	if err != nil {
		return nil, err
	}
	g := &gate{group: group, done: make(chan struct{})}
	take := func(e fanotify.Event) bool { return h.take(g, e) }
	go func() {
		defer close(g.done)
		for failures := 0; failures < maxReadErrors; {
			err := group.Read(take)
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if err != nil {
				failures++
				continue
			}
			failures = 0
		}
		group.Close() // what waits goes on; what is asked is refused
	}()
	return g, nil
}

// take is all that happens to an open of a task that asks nothing: its first
// look-up. It opens nothing, and takes no lock under which anything is opened.
func (h *Answerer) take(g *gate, e fanotify.Event) (keep bool) {
	number, err := h.reader.Pending(e.TID)
	if err != nil || number == 0 {
		return false
	}
	o, goOn := h.waits.comes(number, g, e, time.Now())
	if !goOn {
		h.enqueue(o)
	}
	return !goOn
}

// enqueue hands a complete operation, or nil, to the evaluators of its workload.
func (h *Answerer) enqueue(o *operation) {
	if o == nil {
		return
	}
	if t, start := h.turns.add(o); start {
		h.started.Go(func() { h.evaluate(t) })
	}
}

// readAsks reads what the kernel's programs tell, until the end.
func (h *Answerer) readAsks() {
	for failures := 0; failures < maxReadErrors; {
		e, err := h.reader.Read()
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			failures++
			h.note("holds", fmt.Sprintf("asks: %v: some become tickets", err))
			continue
		}
		failures = 0
		c := h.count(e.Workload)
		c.asked.Add(1)
		switch o, full := h.waits.asks(&e, time.Now()); {
		case full && o != nil:
			h.finish(o, verdict{})
		case full:
			c.settled[isUnanswered].Add(1)
		default:
			h.enqueue(o)
		}
	}
	h.note("holds read", "asks: reading failed too often: what is asked becomes tickets; start the agent again")
}

// expire ends operations that wait for too long.
func (h *Answerer) expire() {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-h.quit:
			return
		case now := <-ticker.C:
			for _, o := range h.waits.old(now.Add(-time.Duration(h.limit.Load()))) {
				h.finish(o, verdict{outcome: isLate})
				if o.taken && h.turns.drop(o) {
					o.file().Close()
				}
			}
		}
	}
}

// evaluate answers for operations of one workload until none waits, or the end.
func (h *Answerer) evaluate(t *turn) {
	x := h.turns.examiner(h.note)
	defer h.turns.leave(x)
	for {
		o := h.turns.next(t)
		if o == nil {
			return
		}
		file := o.file()
		select {
		case <-h.quit:
			h.finish(o, verdict{})
		default:
			h.finish(o, h.judge(o, file, x))
		}
		file.Close()
	}
}

// judge settles one operation.
func (h *Answerer) judge(o *operation, file *os.File, x *examiner) verdict {
	j := h.finder(o.asked)
	if j == nil {
		return verdict{}
	}
	h.mu.Lock()
	root := h.roots[o.asked.Workload]
	h.mu.Unlock()
	return j.settle(o, file, x, root, h.grants)
}

// finish ends an operation with a verdict: the answer first, then it goes on.
func (h *Answerer) finish(o *operation, v verdict) {
	if !h.waits.end(o, v) {
		return
	}
	if v.grant != "" {
		spent, err := h.grants.spend(v.workload, v.grant)
		if err != nil {
			h.note("grants", err.Error())
		}
		if !spent {
			v.outcome = isUnanswered
		}
	}
	if v.outcome == isAllowed || v.outcome == isDenied {
		a := bpf.Answer{Number: o.number, Workload: o.asked.Workload, Allow: v.outcome == isAllowed, Image: v.image}
		if err := h.reader.Answer(a); err != nil {
			v.outcome = isUnanswered
			h.note("answer", fmt.Sprintf("answer: %v: the operation is refused, with a ticket", err))
		}
	}
	if o.asked != nil {
		h.count(o.asked.Workload).settled[v.outcome].Add(1)
	}
	if o.group == nil {
		return
	}
	_ = fault.At("agent.go-on")
	o.group.release(o.event)
	o.group.busy.Add(-1)
	if !o.taken {
		o.file().Close()
	}
}

// close ends a gate when nothing waits in it any more.
func (g *gate) close() error {
	err := g.group.Close()
	<-g.done
	return err
}

// Idle reports whether nothing waits, and no group of fanotify is there for it.
func (h *Answerer) Idle() bool {
	h.healing.Lock()
	defer h.healing.Unlock()
	return h.gate == nil
}
