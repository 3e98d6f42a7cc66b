package daemon

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/hold"
	"github.com/stockade-dev/stockade/agent/host/hosttest"
	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// benchDaemon has one workload, a run's or not.
func benchDaemon(q *runQueue) *Daemon {
	set := newFakeSet()
	set.list = []bpf.Workload{{ID: 1, Name: "one", Generation: 1}}
	w := &workload{name: "one", id: 1, generation: 1, run: q, outlet: outlet{fan: &sink.Fan{First: sink.NewFile(io.Discard, sink.Format{JSON: true})}},
		installations: map[uint32]*installation{1: newInstallation("one", hosttest.EmptyPlan())}}
	d := newDaemon(machine{}, "", io.Discard)
	d.kernel = set
	d.all.add(w)
	d.out = &deliverer{all: d.all, kernel: set, held: (*hold.Answerer)(nil), tickets: d.tickets, figures: d.figures, book: d.book, wires: &d.wires}
	return d
}

var benchEvent = abi.Event{Workload: 1, Generation: 1, Missing: abi.MaskOf(abi.Open, abi.Read), Action: abi.Open, Comm: "cat",
	Path: "/home/agent/.ssh/id_rsa", PathStatus: abi.PathOK, Exe: "/usr/bin/cat", ExeStatus: abi.PathOK}

// BenchmarkDeliver is what the agent does for one denial, but for reading the
// ring and writing to the disk.
func BenchmarkDeliver(b *testing.B) {
	d := benchDaemon(nil)
	for b.Loop() {
		d.out.deliver(d.out.known(&benchEvent))
	}
}

// BenchmarkDeliverToRun is the same for one of a run, as far as its socket.
func BenchmarkDeliverToRun(b *testing.B) {
	d := benchDaemon(newRunQueue(true))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.FollowRun(ctx, "one", func(lines []api.RunLine) error {
			for i := range lines {
				if err := api.WriteRunLine(io.Discard, &lines[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}()
	q := d.all.byName["one"].run
	for b.Loop() {
		for waiting := true; waiting; { // as fast as they are taken
			q.mu.Lock()
			waiting = q.bytes > maxQueue/2
			q.mu.Unlock()
			if waiting {
				time.Sleep(10 * time.Microsecond)
			}
		}
		d.out.deliver(d.out.known(&benchEvent))
	}
	if q.finish(abi.Counters{}); q.missed > 0 {
		b.Errorf("missed %d", q.missed)
	}
	<-done
}
