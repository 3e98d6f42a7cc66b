package daemon

import (
	"sync"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// maxQueue bounds the bytes of denials that wait for one run, as the ring of a
// run with a set of its own would. What finds no room is counted as missed.
const maxQueue = 4 << 20

// eventSize is what an event takes beside its paths.
const eventSize = 256

// runQueue holds denials between the one reader of the ring, which waits for
// nobody, and a run that may be slow.
type runQueue struct {
	news chan struct{} // something is to be taken

	mu       sync.Mutex
	waiting  []abi.Event
	bytes    int
	counted  uint64 // denials that came, to earlier agents too
	missed   uint64
	attached bool
	orphan   bool // the run is gone
	end      *api.RunEnd
	done     chan struct{} // closed when the run is not attached any more
}

// newRunQueue returns the queue of a run, which is attached to it.
func newRunQueue() *runQueue {
	return &runQueue{news: make(chan struct{}, 1), attached: true, done: make(chan struct{})}
}

// adoptedRunQueue is that of a run that an earlier agent held, which may come
// back for its denials.
func adoptedRunQueue(counted, missed uint64) *runQueue {
	return &runQueue{news: make(chan struct{}, 1), counted: counted, missed: missed}
}

// put adds a denial; lost says that there was no room, ok that it is dealt with:
// else nobody will take it.
func (q *runQueue) put(e abi.Event) (lost, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.counted++
	if q.orphan || q.end != nil && !q.attached {
		return false, false
	}
	size := eventSize + len(e.Path) + len(e.Dest) + len(e.Exe)
	if q.bytes+size > maxQueue {
		q.missed++
		return true, true
	}
	q.bytes += size
	q.waiting = append(q.waiting, e)
	q.wake()
	return false, true
}

func (q *runQueue) wake() {
	select {
	case q.news <- struct{}{}:
	default: // it will look anyhow
	}
}

// maxBatch bounds the denials that are handed over at once.
const maxBatch = 256

// take returns what comes next, and the end once nothing comes before it.
func (q *runQueue) take() ([]abi.Event, *api.RunEnd) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.waiting), maxBatch)
	events := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	for i := range events {
		q.bytes -= eventSize + len(events[i].Path) + len(events[i].Dest) + len(events[i].Exe)
	}
	if len(q.waiting) > 0 {
		q.wake()
		return events, nil
	}
	q.waiting = nil
	return events, q.end
}

// attach claims the queue for a run; false if it has one.
func (q *runQueue) attach() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.attached || q.orphan || q.end != nil {
		return false
	}
	q.attached = true
	q.done = make(chan struct{})
	q.wake()
	return true
}

// followed reports whether a run takes what comes.
func (q *runQueue) followed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.attached
}

func (q *runQueue) detach() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.attached {
		q.attached = false
		close(q.done)
	}
}

// abandon returns what nobody will take any more.
func (q *runQueue) abandon() []abi.Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	rest := q.waiting
	q.waiting, q.bytes, q.orphan = nil, 0, true
	return rest
}

// unread returns how many denials of these counts did not come yet.
func (q *runQueue) unread(counters abi.Counters) uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lacks(counters)
}

func (q *runQueue) lacks(counters abi.Counters) uint64 {
	return counters.Denied - min(counters.Denied, counters.Dropped+q.counted)
}

// finish adds the end; it returns what is closed once it was taken, nil if
// nobody takes it. What did not come by now does not come to the run any more.
func (q *runQueue) finish(counters abi.Counters) <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.end = &api.RunEnd{Counters: counters, Missed: q.missed + q.lacks(counters)}
	if !q.attached {
		return nil
	}
	q.wake()
	return q.done
}
