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

func sizeOf(e *abi.Event) int { return eventSize + len(e.Path) + len(e.Dest) + len(e.Exe) }

// runQueue holds denials between the one reader of the ring, which waits for
// nobody, and a run that may be slow. One stays until the run says that it dealt with it:
// a run may be killed with some that it was handed.
type runQueue struct {
	news chan struct{} // something is to be taken, or was

	mu       sync.Mutex
	notes    []string // about responses to it
	waiting  []abi.Event
	handed   int // of these, from the first
	bytes    int
	taken    api.RunTaken // what the run dealt with
	counted  uint64       // denials that came, to earlier agents too
	missed   uint64
	attached bool
	silent   bool // the run never says what it dealt with: it is of a build before that
	orphan   bool // the run is gone
	end      *api.RunEnd
	told     bool          // the end was handed over
	done     chan struct{} // closed when the run is not attached any more
}

// newRunQueue returns the queue of a run, which is attached to it.
func newRunQueue(silent bool) *runQueue {
	return &runQueue{news: make(chan struct{}, 1), attached: true, silent: silent, done: make(chan struct{})}
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
	size := sizeOf(&e)
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

// note adds what the run is to tell whoever started it.
func (q *runQueue) note(text string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.notes = append(q.notes, text)
	q.notes = q.notes[max(0, len(q.notes)-maxNotes):]
	q.wake()
}

// takeNotes returns what was noted. Who takes it after what take returned has all that was
// noted before the end.
func (q *runQueue) takeNotes() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	notes := q.notes
	q.notes = nil
	return notes
}

// maxBatch bounds the denials that are handed over at once.
const maxBatch = 256

// take returns what comes next, and once the end, when nothing comes before it. settled
// reports whether that, too, is behind: the run dealt with all.
func (q *runQueue) take() (events []abi.Event, end *api.RunEnd, settled bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	next := q.waiting[q.handed:]
	n := min(len(next), maxBatch)
	q.handed += n
	switch {
	case n < len(next):
		q.wake()
	case q.end != nil && !q.told:
		q.told, end = true, q.end
	}
	return next[:n:n], end, end == nil && q.isSettled()
}

func (q *runQueue) isSettled() bool { return q.told && len(q.waiting) == 0 }

// settled reports whether the run took its end, and dealt with all.
func (q *runQueue) settled() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.isSettled()
}

// idle reports whether nothing waits, nor was handed over and is not dealt with.
func (q *runQueue) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) == 0
}

// handedOver is what a run has dealt with that deals with what it is handed at once.
func (q *runQueue) handedOver() api.RunTaken {
	q.mu.Lock()
	defer q.mu.Unlock()
	return api.RunTaken{Denials: q.taken.Denials + uint64(q.handed), Lost: q.taken.Lost}
}

// settle lets go of what a run dealt with, and returns how many of these it wrote, and
// how many it could not.
func (q *runQueue) settle(now api.RunTaken) (written, lost uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.attached {
		return 0, 0 // it says so again as it attaches
	}
	n := min(since(now.Denials, q.taken.Denials), uint64(q.handed))
	lost = min(since(now.Lost, q.taken.Lost), n)
	q.drop(int(n))
	q.handed -= int(n)
	q.taken.Denials, q.taken.Lost = q.taken.Denials+n, q.taken.Lost+lost
	if n > 0 {
		q.wake()
	}
	return n - lost, lost
}

// since is how far a count has come; one that is behind has come nowhere.
func since(now, before uint64) uint64 { return now - min(now, before) }

// drop lets go of the first n.
func (q *runQueue) drop(n int) {
	for i := range n {
		q.bytes -= sizeOf(&q.waiting[i])
	}
	if q.waiting = q.waiting[n:]; len(q.waiting) == 0 {
		q.waiting = nil
	}
}

// attach claims the queue for a run that an earlier agent handed denials; false if it
// has one. delivered is how many of these are counted; written and lost are how many the
// run dealt with beside them: nobody told the agent, which was killed. A run of an earlier
// build says nothing (nil).
func (q *runQueue) attach(taken *api.RunTaken, delivered uint64) (written, lost uint64, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.attached || q.orphan || q.end != nil {
		return 0, 0, false
	}
	q.attached, q.silent = true, taken == nil
	q.done = make(chan struct{})
	q.wake()
	if taken == nil {
		return 0, 0, true
	}
	q.taken = *taken
	q.missed = since(q.missed, taken.Told) // the run was handed these, and tells of them itself
	written, lost = since(since(taken.Denials, taken.Lost), delivered), since(taken.Lost, taken.Told)
	q.counted += written + lost
	if len(q.waiting) > 0 && q.waiting[0].Seq == taken.Last { // on the ring when the agent was killed
		q.drop(1)
		q.counted--
	}
	return written, lost, true
}

// followed reports whether a run takes what comes.
func (q *runQueue) followed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.attached
}

// expected reports whether the run may come for its denials: it was another agent's.
func (q *runQueue) expected() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.attached && !q.orphan && q.end == nil
}

func (q *runQueue) detach() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.attached {
		q.attached = false
		close(q.done)
	}
}

// abandon returns what nobody will deal with any more.
func (q *runQueue) abandon() []abi.Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	rest := q.waiting
	q.waiting, q.handed, q.bytes, q.orphan = nil, 0, 0, true
	return rest
}

// unread returns how many denials of these counts did not come yet.
func (q *runQueue) unread(counters abi.Counters) uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lacks(counters)
}

func (q *runQueue) lacks(counters abi.Counters) uint64 {
	return since(counters.Denied, counters.Dropped+q.counted)
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
