package sink

import (
	"errors"
	"sync"
)

// Fan hands each event to several sinks. What becomes of it at the first counts as its
// delivery; the others count for themselves.
type Fan struct {
	First  Sink
	Others []*Queue
}

// Event hands one event to all.
func (f *Fan) Event(e *Event) error {
	for _, q := range f.Others {
		_ = q.Event(e) // counted
	}
	return f.First.Event(e)
}

// Counts returns what became of the events at the others.
func (f *Fan) Counts() []Counts {
	var list []Counts
	for _, q := range f.Others {
		list = append(list, q.Counts())
	}
	return list
}

// Continue adds to the counts of the others those of the same sinks of an earlier fan,
// which is closed.
func (f *Fan) Continue(before *Fan) {
	for _, q := range f.Others {
		for _, c := range before.Counts() {
			if c.Name == q.name {
				q.Continue(c)
			}
		}
	}
}

// Close closes all, side by side.
func (f *Fan) Close() error {
	errs := make([]error, len(f.Others)+1)
	var all sync.WaitGroup
	all.Go(func() { errs[0] = f.First.Close() })
	for i, q := range f.Others {
		all.Go(func() { errs[i+1] = q.Close() })
	}
	all.Wait()
	return errors.Join(errs...)
}
