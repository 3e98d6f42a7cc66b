// Package delivery is the one way of denials: they are read, explained, and handed to
// sinks.
package delivery

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// Source is where denials come from: the ring of the kernel side, or an agent that
// reads it.
type Source interface {
	// Read returns the next; io.EOF after Flush, os.ErrClosed after Close.
	Read() (abi.Event, error)
	// Flush makes Read return io.EOF once everything pending was read.
	Flush() error
	Close() error
}

// maxReadErrors bounds how often in a row reading may fail.
const maxReadErrors = 100

// ErrBroken is an error about a source that cannot be read any more.
var ErrBroken = errors.New("events: reading failed too often")

// Path is the way of denials from a source on.
type Path struct {
	// Explain says what is known of one, as far as anybody wants to know.
	Explain func(*abi.Event) *sink.Event
	// Deliver takes it. What it does with it is the end of the way: the next one is
	// read after that.
	Deliver func(*sink.Event)
	// Failed is told of what could not be read.
	Failed func(error)
}

// Follow takes denials along the path until the source ends.
func (p *Path) Follow(from Source) error {
	for failures := 0; failures < maxReadErrors; {
		e, err := from.Read()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, os.ErrClosed):
			return nil
		case err != nil:
			failures++
			p.Failed(err)
			continue
		}
		failures = 0
		p.Deliver(p.Explain(&e))
	}
	return ErrBroken
}

// Event is what is known of a denial without its plan.
func Event(e *abi.Event, workload string) *sink.Event {
	return &sink.Event{Event: *e, Wall: wallTime(e.Time), Workload: workload}
}

// wallTime turns CLOCK_MONOTONIC, in nanoseconds, into the time of day. Reading both
// clocks each time follows a clock that was set.
func wallTime(monotonic uint64) time.Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return time.Now()
	}
	return time.Now().Add(time.Duration(int64(monotonic) - ts.Nano()))
}
