package hold

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/fanotify"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// Whatever keeps up the evaluators of one workload, another one's operations are
// settled. What expires before its turn is over, with its file.
func TestNobodyWaitsForAnotherWorkload(t *testing.T) {
	const stuck, free, many = 1, 2, 3 * evaluators
	block := make(chan struct{})
	var running, most atomic.Int32
	find := func(e *abi.Event) *Judge {
		if e.Workload == stuck {
			most.Store(max(most.Load(), running.Add(1)))
			<-block
			running.Add(-1)
		}
		return nil
	}
	h := New(nil, false, t.TempDir(), find, func(_, text string) { t.Error(text) })
	h.limit.Store(int64(time.Hour))
	h.started.Go(h.expire)
	var files []int
	ask := func(workload uint32) {
		t.Helper()
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, fd)
		e := &abi.Event{Hold: uint64(len(files)), Workload: workload}
		if o, full := h.waits.asks(e, time.Now()); o != nil || full {
			t.Fatal(o, full)
		}
		o := h.waits.all[e.Hold]
		o.event, o.taken = fanotify.Event{File: fd}, true
		h.enqueue(o)
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal(what)
			}
		}
	}
	settled := func(workload uint32, how outcome) uint64 { return h.count(workload).settled[how].Load() }
	for range many {
		ask(stuck)
	}
	until("not all evaluators of a workload are kept up", func() bool { return running.Load() == evaluators })
	ask(free)
	until("another workload waits", func() bool { return settled(free, isUnanswered) == 1 })
	if settled(stuck, isUnanswered) != 0 || most.Load() != evaluators {
		t.Errorf("%d settled, %d at once", settled(stuck, isUnanswered), most.Load())
	}
	h.limit.Store(int64(time.Millisecond))
	until("what waits too long is not over", func() bool { return settled(stuck, isLate) == many })
	h.limit.Store(int64(time.Hour))
	until("files of what is over stay open", func() bool {
		open := 0
		for _, fd := range files {
			if to, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); to == "/dev/null" {
				open++
			}
		}
		return open == evaluators
	})
	h.turns.forget(stuck) // another workload gets its number
	ask(free)
	until("another workload waits", func() bool { return settled(free, isUnanswered) == 2 })
	ask(stuck)
	until("a new workload has no evaluators", func() bool { return running.Load() == evaluators+1 })
	close(block)
	until("they do not end", func() bool { return running.Load() == 0 && settled(stuck, isUnanswered) == 1 })
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}
