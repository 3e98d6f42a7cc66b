package sink

import (
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
)

func TestTheLastDenialsAreKept(t *testing.T) {
	var r Recent
	if n := len(r.Last()); n != 0 {
		t.Errorf("%d of none", n)
	}
	for i := range 3*maxRecent + 7 {
		e := &Event{}
		e.Seq = uint64(i)
		r.Event(e)
		last := r.Last()
		if want := min(i+1, maxRecent); len(last) != want || last[len(last)-1].Seq != uint64(i) || last[0].Seq != uint64(i+1-want) {
			t.Fatalf("after %d: %d, from %d to %d", i+1, len(last), last[0].Seq, last[len(last)-1].Seq)
		}
	}
}

// What led to a lockdown is not pushed out by what it denies.
func TestALockdownLeavesWhatLedToIt(t *testing.T) {
	var r Recent
	seq := uint64(0)
	add := func(mode abi.Mode, n int) {
		for range n {
			e := &Event{}
			e.Seq, e.Mode = seq, mode
			r.Event(e)
			seq++
		}
	}
	add(abi.Enforce, 3)
	add(abi.Lockdown, 10*maxRecent)
	last := r.Last()
	if len(last) != 3+maxRecentLocked || last[0].Seq != 0 || last[2].Mode != abi.Enforce || last[3].Mode != abi.Lockdown || last[len(last)-1].Seq != seq-1 {
		t.Errorf("%d are kept", len(last))
	}
}
