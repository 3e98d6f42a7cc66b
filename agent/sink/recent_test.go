package sink

import "testing"

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
