package daemon

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// While the reader of the ring has others' denials before those of a run that ended, the
// run is not told its counts, and its number is not given back.
func TestRunThatEndsWhileTheReaderIsBehind(t *testing.T) {
	y, d, r := heldByAgent(t)
	id := d.all.byName[r.Name].id
	var read atomic.Uint64
	y.set.Ring = func() (uint64, uint64) { return 1 << 20, read.Add(1) } // it goes on
	y.set.Counts = abi.Counters{Denied: 3}
	var took atomic.Int32
	told := make(chan api.RunEnd, 1)
	go d.FollowRun(context.Background(), r.Name, func(lines []api.RunLine) error {
		for _, l := range lines {
			if l.Denial != nil {
				took.Add(1)
			}
			if l.End != nil {
				told <- *l.End
			}
		}
		return nil
	})
	removeGroup(t, r.Name)
	ended := make(chan error, 1)
	go func() { ended <- d.EndRun(r.Name) }()
	select {
	case err := <-ended:
		t.Fatalf("it ended while its denials were to be read: %v", err)
	case <-time.After(readLimit + 500*time.Millisecond):
	}
	if d.sweep(); y.set.now(id) == nil {
		t.Fatal("its number was given back")
	}
	for range 3 {
		deliver(d, abi.Event{Workload: id, Generation: 1, Missing: abi.MaskOf(abi.Read), Action: abi.Read, Path: "/k", PathStatus: abi.PathOK})
	}
	read.Store(1 << 20)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if end := <-told; took.Load() != 3 || end.Counters.Denied != 3 || end.Missed != 0 {
		t.Errorf("%d of 3 denials, end %+v", took.Load(), end)
	}
	if y.set.now(id) != nil {
		t.Error("its number was not given back")
	}
}

// A reader that stands still is not waited for without end, and what it reads later still
// goes by the run's name.
func TestRunThatEndsWhileTheReaderStandsStill(t *testing.T) {
	y, d, r := heldByAgent(t)
	id := d.all.byName[r.Name].id
	var read atomic.Uint64
	y.set.Ring = func() (uint64, uint64) { return 100, read.Load() }
	y.set.Counts = abi.Counters{Denied: 1}
	told := make(chan api.RunEnd, 1)
	go d.FollowRun(context.Background(), r.Name, func(lines []api.RunLine) error {
		told <- *lines[0].End
		return nil
	})
	removeGroup(t, r.Name)
	if err := d.EndRun(r.Name); err != nil {
		t.Fatal(err)
	}
	if end := <-told; end.Missed != 1 {
		t.Errorf("the run was told %+v", end)
	}
	if d.sweep(); y.set.now(id) == nil {
		t.Fatal("its number was given back before its denial was read")
	}
	deliver(d, abi.Event{Workload: id, Generation: 1, Missing: abi.MaskOf(abi.Read), Action: abi.Read, Path: "/k", PathStatus: abi.PathOK, Reason: abi.ReasonPolicy})
	read.Store(100)
	if n := y.logged(r.Name, "/k"); n != 1 {
		t.Errorf("%d of 1 denial in the log", n)
	}
	if d.sweep(); y.set.now(id) != nil {
		t.Error("its number was not given back")
	}
}
