package vmtest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// TestFullRing lets two workloads flood a small ring, which nobody reads: no verdict
// changes, what was not delivered was counted, and a third one loses nothing.
func TestFullRing(t *testing.T) {
	l := openSmall(t)
	const ring, flood, few = smallRing, 6000, 185
	var crowd []*stage
	for range 3 {
		s := stageOn(t, l, permit(look, "@/ws/"))
		s.tree("ws/key", "secret/key")
		crowd = append(crowd, s)
	}
	first, second, third := crowd[0], crowd[1], crowd[2]
	begin := func(s *stage, n int) *attempt { return s.start("", nil, 0, "flood", fmt.Sprint(n), "@/secret/key") }
	denied := func(t *testing.T, a *attempt) {
		t.Helper()
		if a.wait(); a.code != 0 {
			t.Errorf("%v", a)
		}
	}
	// received asserts how much of what n denials put on the ring was delivered.
	received := func(t *testing.T, s *stage, n int, least, most int) {
		t.Helper()
		got, c := s.take(t, s.id), must1(s.Counters(s.id))(t)
		denied, dropped := c.Denied-s.denied, c.Dropped-s.dropped
		t.Logf("workload %d: %d denied, %d received, %d dropped", s.id, denied, len(got), dropped)
		if denied != uint64(n) || uint64(len(got))+dropped != denied || dropped == 0 {
			t.Errorf("after %d attempts", n)
		}
		for i, e := range got {
			if e.Seq != s.seq+uint64(i)+1 {
				t.Fatalf("event %d is number %d: there was room yet", s.seq+uint64(i)+1, e.Seq)
			}
		}
		// Each took more than its header, and less than twice that.
		if n := len(got) * abi.EventHeader; n > most || 2*n < least {
			t.Errorf("%d events of more than %d bytes each: not from %d to %d bytes of %d", len(got), abi.EventHeader, least, most, ring)
		}
		s.seq, s.denied, s.dropped = c.Denied, c.Denied, c.Dropped
	}
	third.step("denials are all delivered while two others flood", isDenied, func() {
		t := third.t
		if flood*abi.EventHeader < ring {
			t.Fatal("one flood would not fill the ring")
		}
		denied(t, begin(first, flood))
		denied(t, begin(second, flood))
		still := begin(first, flood)
		denied(t, begin(third, few))
		denied(t, still)
		if third.balance(len(third.collect())); third.denied != few {
			t.Errorf("%d denied, not %d", third.denied, few)
		}
		received(t, first, 2*flood, ring/2, ring/2)
		received(t, second, flood, ring/4, ring/4)
	})
	first.step("flood is denied to the last, and what was read is free again", isDenied, func() {
		denied(first.t, begin(first, flood))
		received(first.t, first, flood, ring/2-ring/8, ring/2)
	})
	first.step("next denial is delivered", isDenied, func() {
		if a := first.start("", nil, eacces, "open", "r", "@/secret/key").wait(); a.code != 1 {
			first.t.Errorf("%v", a)
		}
		first.balance(len(first.collect()))
	})
}

// TestFullAsks lets one workload ask more than the ring of asks holds while no agent
// reads it: those of another one are all there.
func TestFullAsks(t *testing.T) {
	const flood, few = 3000, 100
	first, second := newStage(t, asks("execute", "@/ask/")), newStage(t, asks("execute", "@/ask/"))
	for _, s := range []*stage{first, second} {
		s.program("ask/tool")
		must(t, s.SetHold(s.id, bpf.HoldExec))
	}
	read := func(t *testing.T) map[uint32]int {
		t.Helper()
		asked, quiet := map[uint32]int{}, make(chan abi.Event)
		holds := must1(first.Holds())(t)
		go func() {
			for e, err := holds.Read(); err == nil; e, err = holds.Read() {
				quiet <- e
			}
			close(quiet)
		}()
		for {
			select {
			case e := <-quiet:
				asked[e.Workload]++
			case <-time.After(time.Second):
				must(t, holds.Close())
				return asked
			}
		}
	}
	read(t) // what others left
	deny := func(s *stage, n int) {
		a := s.start("", nil, 0, "floodexec", fmt.Sprint(n), "@/ask/tool").wait()
		if s.balance(len(s.collect())); a.code != 0 || s.denied != uint64(n) {
			s.t.Errorf("%v, %d denied, not %d", a, s.denied, n)
		}
	}
	second.step("asks are all told while another workload floods", isDenied, func() {
		deny(first, flood)
		deny(second, few)
		asked := read(second.t)
		second.t.Logf("%d asks of %d, and %d of %d", asked[first.id], flood, asked[second.id], few)
		if asked[second.id] != few || asked[first.id] >= flood || asked[first.id] < few {
			second.t.Error("asks were lost that had their share")
		}
	})
}
