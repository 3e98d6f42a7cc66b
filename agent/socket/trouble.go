package socket

import (
	"errors"
	"fmt"
)

// told is how many errors of one call are told word for word.
const told = 16

// trouble gathers errors: there may be one for each of thousands of processes.
type trouble struct {
	errs []error
	more int
}

func (t *trouble) add(err error) {
	switch {
	case err == nil:
	case len(t.errs) < told:
		t.errs = append(t.errs, err)
	default:
		t.more++
	}
}

// join adds those of another.
func (t *trouble) join(other trouble) {
	for _, err := range other.errs {
		t.add(err)
	}
	t.more += other.more
}

func (t *trouble) err() error {
	if t.more > 0 {
		return errors.Join(append(t.errs, fmt.Errorf("%d more errors of this kind", t.more))...)
	}
	return errors.Join(t.errs...)
}
