package hold

import (
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stockade-dev/stockade/agent/fanotify"
	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// waiting brings together what is told of each operation that waits: by the
// fanotify group, the task that waits and its file; by the kernel's programs,
// what it asks. Under its lock nothing is opened and nothing waits: the reader
// of the fanotify group takes it, for which any open of the agent may wait.
type waiting struct {
	mu      sync.Mutex
	all     map[uint64]*operation
	of      map[uint32]int     // of all, by workload, once it is known
	over    map[uint64]verdict // by number: of the last ones
	numbers [maxOver]uint64    // in over, as they came
	next    int
	latest  uint64 // number told of
}

// Bounds of what waits, and of the verdicts that are remembered for the event of
// a denial, which comes after. Of one workload waits at most as much as is still free:
// a half of all, of a second one half of the rest, and so on.
const (
	maxHeld = 1024
	maxOver = 8192
)

// operation is one that waits.
type operation struct {
	number uint64
	born   time.Time
	asked  *abi.Event // nil: the kernel's programs have not told yet
	// group is nil as long as the group has not told.
	group *gate
	event fanotify.Event
	taken bool // the evaluators have it, and close its file
}

// verdict is how one was settled.
type verdict struct {
	outcome  outcome
	policies []sink.Policy
	image    *bpf.Image
	// grant of workload is to be spent, if it is not empty.
	grant, workload string
}

// outcome is how the wait of an operation ended.
type outcome int

const (
	isUnanswered outcome = iota // the agent cannot know, or has no room
	isAllowed
	isDenied
	isLate
)

func newWaiting() *waiting {
	return &waiting{all: map[uint64]*operation{}, of: map[uint32]int{}, over: map[uint64]verdict{}}
}

// asks notes what the kernel's programs tell. It returns the operation if it is
// complete; full says that there was no room: then it is over, and what is returned is
// to be finished.
func (w *waiting) asks(e *abi.Event, now time.Time) (o *operation, full bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.latest = max(w.latest, e.Hold)
	room := w.of[e.Workload] < maxHeld-len(w.all)
	o = w.all[e.Hold]
	switch {
	case o == nil && !room:
		w.remember(e.Hold, verdict{}) // its task is not to wait for nothing
		return nil, true
	case o == nil:
		o = &operation{number: e.Hold, born: now}
		w.all[e.Hold] = o
	}
	o.asked = e
	w.of[e.Workload]++
	if !room {
		return o, true
	}
	if o.group == nil {
		return nil, false
	}
	o.taken = true
	return o, false
}

// comes notes what a group tells. go on means that the event needs no answer of
// its own: the operation is settled, or there is no room.
func (w *waiting) comes(number uint64, from *gate, e fanotify.Event, now time.Time) (ready *operation, goOn bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// A task may still show a number whose operation failed long ago.
	if _, over := w.over[number]; over || number+maxOver < w.latest {
		return nil, true
	}
	o := w.all[number]
	if o == nil {
		if len(w.all) >= maxHeld {
			return nil, true
		}
		o = &operation{number: number, born: now}
		w.all[number] = o
	}
	if o.group != nil {
		return nil, true // two events of one operation cannot wait at once
	}
	from.busy.Add(1)
	o.group, o.event = from, e
	if o.asked == nil {
		return nil, false
	}
	o.taken = true
	return o, false
}

// end ends an operation, once: only who is told true may answer and release it.
func (w *waiting) end(o *operation, v verdict) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all[o.number] != o {
		return false
	}
	delete(w.all, o.number)
	if o.asked != nil {
		if w.of[o.asked.Workload]--; w.of[o.asked.Workload] == 0 {
			delete(w.of, o.asked.Workload)
		}
	}
	w.remember(o.number, v)
	return true
}

// remember keeps how an operation ended.
func (w *waiting) remember(number uint64, v verdict) {
	delete(w.over, w.numbers[w.next])
	w.numbers[w.next] = number
	w.over[number] = v
	w.next = (w.next + 1) % maxOver
}

// old lists the operations that began before a time.
func (w *waiting) old(before time.Time) (list []*operation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range w.all {
		if o.born.Before(before) {
			list = append(list, o)
		}
	}
	return list
}

// verdict returns how an operation was settled.
func (w *waiting) verdict(number uint64) verdict {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.over[number]
}

// gate is a fanotify group and its reader.
type gate struct {
	group *fanotify.Group
	busy  atomic.Int64 // operations that wait in it
	done  chan struct{}
}

// release lets an operation go on. Its file must still be open.
func (g *gate) release(e fanotify.Event) {
	_ = g.group.Release(e) // a task that was killed waits no more
}

// file returns what the operation opens; to close it closes the event's.
func (o *operation) file() *os.File { return os.NewFile(uintptr(o.event.File), "held") }
