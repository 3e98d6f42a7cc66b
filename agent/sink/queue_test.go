package sink

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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
	if c := q.Counts(); c.Taken != 0 || c.Lost != 5 || c.Error == "" {
		t.Errorf("when it is closed: %+v", c)
	}
	close(s.next)
	<-q.idle
	if c := q.Counts(); c.Taken+c.Lost != 5 {
		t.Errorf("once it goes on: %+v", c)
	}
}

// held is a sink that does not let itself be closed.
type held struct{ slow }

func (h *held) Close() error { select {} }

func TestSinksThatDoNotCloseDoNotHoldUpEachOther(t *testing.T) {
	f := &Fan{First: NewFile(io.Discard, Format{})}
	for range 3 {
		f.Others = append(f.Others, NewQueue("held", &held{}, 8))
		_ = f.Others[0].Event(sample())
	}
	began := time.Now()
	err := f.Close()
	if took := time.Since(began); took > 3*closeLimit || err == nil || !strings.Contains(err.Error(), "sink held: not closed") {
		t.Errorf("%v, %v", took, err)
	}
}

func TestSecondCloseWaitsForTheFirst(t *testing.T) {
	s := &slow{next: make(chan struct{})}
	q := NewQueue("slow", s, 8)
	_ = q.Event(sample())
	first := make(chan error, 1)
	go func() { first <- q.Close() }()
	for over := false; !over; {
		q.mu.Lock()
		over = q.over
		q.mu.Unlock()
	}
	time.AfterFunc(50*time.Millisecond, func() { close(s.next) })
	if err := q.Close(); err != nil || s.closed != 1 || q.Counts().Taken != 1 {
		t.Errorf("%v, closed %d times, %+v", err, s.closed, q.Counts())
	}
	<-first
}

func TestCountsGoOnInTheNextQueue(t *testing.T) {
	old := &Fan{First: NewFile(io.Discard, Format{}), Others: []*Queue{NewQueue("a", NewFile(io.Discard, Format{JSON: true}), 8)}}
	_ = old.Event(sample())
	_ = old.Close()
	next := &Fan{First: NewFile(io.Discard, Format{}), Others: []*Queue{NewQueue("b", NewFile(io.Discard, Format{JSON: true}), 8), NewQueue("a", NewFile(io.Discard, Format{JSON: true}), 8)}}
	next.Others.Continue(old.Others)
	_ = next.Event(sample())
	_ = next.Close()
	if c := next.Others.Counts(); c[0].Taken != 1 || c[1].Taken != 2 || c[1].Lost != 0 {
		t.Errorf("%+v", c)
	}
}

// fullFile is a file that is full after some bytes, until there is room.
type fullFile struct {
	bytes.Buffer
	room int
}

func (s *fullFile) Write(p []byte) (int, error) {
	n := min(s.room, len(p))
	s.room -= n
	s.Buffer.Write(p[:n])
	if n < len(p) {
		return n, errors.New("no space left")
	}
	return n, nil
}

func TestLineThatWasTornIsEnded(t *testing.T) {
	w := &fullFile{room: 20}
	f := NewFile(w, Format{JSON: true})
	if f.Event(sample()) == nil {
		t.Fatal("a line in 20 bytes")
	}
	w.room = 1 << 20
	if err := f.Event(sample()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(w.String(), "\n")
	if len(lines) != 3 || lines[1] != sample().JSON() {
		t.Errorf("%q", lines)
	}
}

func TestFifoThatNobodyReadsIsAnError(t *testing.T) {
	name := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile(name, Format{JSON: true}); err == nil || !strings.Contains(err.Error(), "no such device") {
		t.Errorf("got %v", err)
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
	if c := f.Others.Counts(); len(c) != 1 || c[0].Name != "good" || c[0].Taken != 1 {
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
