package sink

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// slow is a sink that takes an event when it is told to.
type slow struct {
	next   chan struct{}
	events []*Event
	err    error
	closed int
}

func (s *slow) Event(e *Event) error {
	<-s.next
	s.events = append(s.events, e)
	return s.err
}

func (s *slow) Close() error {
	s.closed++
	return nil
}

func TestQueueLosesNothingUncounted(t *testing.T) {
	s := &slow{next: make(chan struct{})}
	q := NewQueue("slow", s, 3)
	var refused int
	for range 20 { // 3 wait, and perhaps one is with the sink
		if err := q.Event(sample()); errors.Is(err, ErrFull) {
			refused++
		}
	}
	close(s.next)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	c := q.Counts()
	if refused < 16 || c.Lost != uint64(refused) || c.Taken != uint64(20-refused) || len(s.events) != 20-refused || c.Error != ErrFull.Error() {
		t.Errorf("%d refused, %d taken, counts %+v", refused, len(s.events), c)
	}
	if err := q.Event(sample()); !errors.Is(err, ErrFull) || q.Counts().Lost != c.Lost+1 || q.Close() != nil || s.closed != 1 {
		t.Errorf("after the end: %v, %+v, closed %d times", err, q.Counts(), s.closed)
	}
}

func TestQueueCountsWhatTheSinkRefuses(t *testing.T) {
	s := &slow{next: make(chan struct{}), err: errors.New("no space left")}
	close(s.next)
	q := NewQueue("bad", s, 8)
	for range 5 {
		if err := q.Event(sample()); err != nil {
			t.Error(err)
		}
	}
	_ = q.Close()
	if c := q.Counts(); c.Taken != 0 || c.Lost != 5 || c.Error != "no space left" {
		t.Errorf("%+v", c)
	}
}

func TestSinkThatIsStuckDoesNotHoldUpTheEnd(t *testing.T) {
	s := &slow{next: make(chan struct{})}
	q := NewQueue("stuck", s, 8)
	for range 5 {
		_ = q.Event(sample())
	}
	began := time.Now()
	_ = q.Close()
	if took := time.Since(began); took > 3*closeLimit {
		t.Errorf("the end took %v", took)
	}
	close(s.next)
	<-q.done
	if c := q.Counts(); c.Taken+c.Lost != 5 || c.Lost < 4 {
		t.Errorf("%+v", c)
	}
}

func TestFanCountsTheFirst(t *testing.T) {
	bad := &slow{next: make(chan struct{}), err: errors.New("full")}
	good := &slow{next: make(chan struct{})}
	close(bad.next)
	close(good.next)
	f := &Fan{First: bad, Others: []*Queue{NewQueue("good", good, 8)}}
	if err := f.Event(sample()); err != bad.err {
		t.Errorf("got %v", err)
	}
	if err := f.Close(); err != nil || bad.closed != 1 || good.closed != 1 {
		t.Errorf("%v, closed %d and %d times", err, bad.closed, good.closed)
	}
	if c := f.Counts(); len(c) != 1 || c[0].Name != "good" || c[0].Taken != 1 {
		t.Errorf("%+v", c)
	}
}

func TestKindsOpenWhatTheySay(t *testing.T) {
	dir := t.TempDir()
	for kind, want := range map[string]string{"json": `{"type":"denial",`, "text": "stockade: "} {
		q, err := Open(kind, "x."+kind, dir)
		if err != nil {
			t.Fatal(err)
		}
		_ = q.Event(sample())
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, "x."+kind))
		if err != nil || !strings.HasPrefix(string(text), want) || strings.Count(string(text), "\n") != 1 {
			t.Errorf("%s: %q, %v", kind, text, err)
		}
	}
	for kind, want := range map[string]string{"nosuch": "use one of json, text", "json": "no such file"} {
		if _, err := Open(kind, "nosuch/x", dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
