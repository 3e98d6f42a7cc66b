package sink

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// queueRoom is how many events wait for a sink of a configuration.
const queueRoom = 4096

// closeLimit bounds how long a sink may take for what waits for it at the end, and then
// again for its own.
const closeLimit = 2 * time.Second

// ErrFull is an error about an event for which a queue had no room.
var ErrFull = errors.New("no room: the sink is too slow")

// Queue lets a sink take its time: who hands it an event does not wait. What finds no
// room, and what the sink refuses, is lost, and counted. Several goroutines may use it.
type Queue struct {
	name   string
	to     Sink
	events chan *Event
	quit   chan struct{} // the sink has taken too long to end
	idle   chan struct{} // closed when nothing more is handed over
	closed chan struct{} // closed at the end of the first Close

	mu     sync.Mutex
	over   bool   // no more is taken
	left   bool   // what was not taken by now is lost
	given  uint64 // events
	counts Counts
}

// Counts are what became of the events of a sink.
type Counts struct {
	Name        string
	Taken, Lost uint64
	Error       string // the last one
}

// NewQueue puts a queue with room for a number of events before a sink; name tells it
// from others.
func NewQueue(name string, to Sink, room int) *Queue {
	q := &Queue{name: name, to: to, events: make(chan *Event, room), quit: make(chan struct{}), idle: make(chan struct{}), closed: make(chan struct{})}
	go q.follow()
	return q
}

// Event lets an event wait for the sink.
func (q *Queue) Event(e *Event) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.given++
	if !q.over {
		select {
		case q.events <- e:
			return nil
		default:
		}
	}
	q.counts.Lost++
	q.counts.Error = ErrFull.Error()
	return ErrFull
}

// follow hands over what waits, until the end.
func (q *Queue) follow() {
	defer close(q.idle)
	for e := range q.events {
		select {
		case <-q.quit:
			return // what waits is counted as lost
		default:
		}
		q.settle(q.to.Event(e))
	}
}

// settle counts an event that the sink has dealt with, unless that was too late.
func (q *Queue) settle(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.left:
	case err != nil:
		q.counts.Lost++
		q.counts.Error = err.Error()
	default:
		q.counts.Taken++
	}
}

// Close ends the queue, after what waits was handed over, and the sink. What a sink
// does not take in time is lost, and counted.
func (q *Queue) Close() error {
	q.mu.Lock()
	again := q.over
	if !again {
		q.over = true
		close(q.events)
	}
	q.mu.Unlock()
	if again {
		<-q.closed
		return nil
	}
	defer close(q.closed)
	select {
	case <-q.idle:
	case <-time.After(closeLimit):
		close(q.quit)
	}
	err := q.end() // what the sink is stuck in may end by that
	select {
	case <-q.idle:
	case <-time.After(closeLimit / 4): // it is stuck for good: the process ends without it
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if rest := q.given - q.counts.Taken - q.counts.Lost; rest > 0 {
		q.counts.Lost += rest
		q.counts.Error = fmt.Sprintf("not taken %v after the end", closeLimit)
	}
	q.left = true
	return err
}

// end closes the sink, in time.
func (q *Queue) end() error {
	done := make(chan error, 1)
	go func() { done <- q.to.Close() }()
	select {
	case err := <-done:
		return err
	case <-time.After(closeLimit):
		return fmt.Errorf("sink %s: not closed after %v: it is left alone", q.name, closeLimit)
	}
}

// Discard ends a sink that nothing was handed to.
func (q *Queue) Discard() {
	if f, ok := q.to.(onFile); ok {
		f.Discard()
	}
	_ = q.Close()
}

// Continue adds what became of the events of another queue for the same sink, which is
// closed.
func (q *Queue) Continue(before Counts) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.given += before.Taken + before.Lost
	q.counts.Taken += before.Taken
	q.counts.Lost += before.Lost
	if q.counts.Error == "" {
		q.counts.Error = before.Error
	}
}

// Counts returns what became of the events so far.
func (q *Queue) Counts() Counts {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.counts
	c.Name = q.name
	return c
}
