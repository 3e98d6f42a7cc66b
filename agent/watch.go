package agent

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/explain"
	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// eventReader is where denials come from: bpf.Events.
type eventReader interface {
	Read() (abi.Event, error)
	Flush() error
	Close() error
}

// answerReader is one that knows of the agent's answers.
type answerReader interface {
	// restsOn names the policies that the denial that was read last rests on, if
	// the agent's answer denied it.
	restsOn() []string
}

// maxReadErrors bounds how often in a row reading may fail.
const maxReadErrors = 100

// watch reads the denials of one run, explains them and counts them.
type watch struct {
	name    string
	explain *explain.Explainer
	sink    sink.Sink
	events  eventReader
	tally   sink.Tally
	broken  uint64 // records that could not be decoded
	done    chan struct{}
}

func startWatch(name string, plan *compiler.Plan, to sink.Sink, events eventReader) *watch {
	w := &watch{name: name, explain: explain.New(plan), sink: to, events: events, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.loop()
	}()
	return w
}

func (w *watch) loop() {
	for failures := 0; failures < maxReadErrors; {
		e, err := w.events.Read()
		switch {
		case errors.Is(err, bpf.ErrFlushed), errors.Is(err, os.ErrClosed):
			return
		case err != nil:
			failures++
			w.broken++
			w.sink.Note(w.name, "error: "+err.Error())
			continue
		}
		failures = 0
		d := &sink.Denial{Event: e, Wall: wallTime(e.Time), Workload: w.name, Digest: w.explain.Plan().Digest, Policies: w.policies(&e)}
		w.tally.Add(d)
		w.sink.Denial(d)
	}
}

// drain reads what is pending and ends the loop. The workload must be dead.
func (w *watch) drain() error {
	err := w.events.Flush()
	if err == nil {
		<-w.done
	}
	if err := errors.Join(err, w.events.Close()); err != nil {
		return fmt.Errorf("events: %w: the last denials may be missing; see the counters", err)
	}
	<-w.done
	return nil
}

// received counts the records that were read.
func (w *watch) received() uint64 { return w.tally.Total() + w.broken }

// wallTime turns CLOCK_MONOTONIC into the time of day. Reading both clocks
// each time follows a clock that was set.
func wallTime(monotonic uint64) time.Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return time.Now()
	}
	return time.Now().Add(time.Duration(int64(monotonic) - ts.Nano()))
}

// policies returns what a denial rests on.
func (w *watch) policies(e *abi.Event) []sink.Policy {
	if r, ok := w.events.(answerReader); ok && e.Reason == abi.ReasonAnswered {
		return explain.Named(w.explain.Plan(), r.restsOn())
	}
	return w.explain.Policies(e)
}
