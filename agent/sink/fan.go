package sink

import "errors"

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

// Close closes all.
func (f *Fan) Close() error {
	errs := []error{f.First.Close()}
	for _, q := range f.Others {
		errs = append(errs, q.Close())
	}
	return errors.Join(errs...)
}
