package sink

import (
	"errors"
	"fmt"
	"sync"
)

// Queues are sinks that take their time. What becomes of an event at one is counted
// there.
type Queues []*Queue

// Event hands one event to all.
func (all Queues) Event(e *Event) {
	for _, q := range all {
		_ = q.Event(e) // counted
	}
}

// Check refuses a sink that writes to the file of the log, or of another.
func (all Queues) Check(log Sink) error {
	for i, q := range all {
		same := isSame(q.to, log)
		for _, other := range all[:i] {
			same = same || isSame(q.to, other.to)
		}
		if same {
			return fmt.Errorf("sink %s: writes to the file of the log or of another sink: nothing is changed; name another file", q.name)
		}
	}
	return nil
}

// Counts returns what became of the events so far.
func (all Queues) Counts() []Counts {
	var list []Counts
	for _, q := range all {
		list = append(list, q.Counts())
	}
	return list
}

// Continue adds to the counts those of the same sinks before, which are closed.
func (all Queues) Continue(before Queues) {
	for _, q := range all {
		for _, c := range before.Counts() {
			if c.Name == q.name {
				q.Continue(c)
			}
		}
	}
}

// Discard ends sinks that nothing was handed to.
func (all Queues) Discard() {
	for _, q := range all {
		q.Discard()
	}
}

// Close closes all, side by side.
func (all Queues) Close() error {
	errs := make([]error, len(all))
	var closing sync.WaitGroup
	for i, q := range all {
		closing.Go(func() { errs[i] = q.Close() })
	}
	closing.Wait()
	return errors.Join(errs...)
}

// Fan hands each event to several sinks. What becomes of it at the first counts as its
// delivery; the others count for themselves.
type Fan struct {
	First  Sink
	Others Queues
}

// Event hands one event to all.
func (f *Fan) Event(e *Event) error {
	f.Others.Event(e)
	return f.First.Event(e)
}

// Discard closes all, before anything was handed over: files that were made for it are
// removed.
func (f *Fan) Discard() {
	if log, ok := f.First.(onFile); ok {
		log.Discard()
	}
	f.Others.Discard()
}

// Close closes all.
func (f *Fan) Close() error { return errors.Join(f.First.Close(), f.Others.Close()) }
