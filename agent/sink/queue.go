package sink

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// queueRoom is how many events wait for a sink of a configuration.
const queueRoom = 4096

// closeLimit bounds how long a sink may take for what waits for it at the end.
const closeLimit = 2 * time.Second

// ErrFull is an error about an event for which a queue had no room.
var ErrFull = errors.New("no room: the sink is too slow")

// Queue lets a sink take its time: who hands it an event does not wait. What finds no
// room, and what the sink refuses, is lost, and counted. Several goroutines may use it.
type Queue struct {
	name string
	to   Sink

	mu     sync.Mutex // of events, against Close
	events chan *Event
	over   bool
	quit   chan struct{} // the sink has taken too long to end
	done   chan struct{}

	taken, lost atomic.Uint64
	failed      atomic.Pointer[string] // the last error
}

// NewQueue puts a queue with room for a number of events before a sink; name tells it
// from others.
func NewQueue(name string, to Sink, room int) *Queue {
	q := &Queue{name: name, to: to, events: make(chan *Event, room), quit: make(chan struct{}), done: make(chan struct{})}
	go q.follow()
	return q
}

// Event lets an event wait for the sink.
func (q *Queue) Event(e *Event) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.over {
		select {
		case q.events <- e:
			return nil
		default:
		}
	}
	q.lose(ErrFull)
	return ErrFull
}

func (q *Queue) lose(err error) {
	q.lost.Add(1)
	text := err.Error()
	q.failed.Store(&text)
}

// follow hands over what waits, until the end.
func (q *Queue) follow() {
	defer close(q.done)
	for e := range q.events {
		select {
		case <-q.quit:
			q.lose(ErrFull)
			continue
		default:
		}
		if err := q.to.Event(e); err != nil {
			q.lose(err)
			continue
		}
		q.taken.Add(1)
	}
}

// Close ends the queue, after what waits was handed over, and the sink. What a sink
// does not take in time is lost.
func (q *Queue) Close() error {
	q.mu.Lock()
	if q.over {
		q.mu.Unlock()
		return nil
	}
	q.over = true
	close(q.events)
	q.mu.Unlock()
	select {
	case <-q.done:
	case <-time.After(closeLimit):
		close(q.quit)
		err := q.to.Close() // it may be what it waits for
		select {
		case <-q.done:
		case <-time.After(closeLimit): // it is stuck for good: the process ends without it
		}
		return err
	}
	return q.to.Close()
}

// Counts are what became of the events of a sink.
type Counts struct {
	Name        string
	Taken, Lost uint64
	Error       string // the last one
}

// Counts returns what became of the events so far.
func (q *Queue) Counts() Counts {
	c := Counts{Name: q.name, Taken: q.taken.Load(), Lost: q.lost.Load()}
	if text := q.failed.Load(); text != nil {
		c.Error = *text
	}
	return c
}
