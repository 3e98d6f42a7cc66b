package sink

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Who wrote before was cut off within a line: what comes is not a part of it.
func TestLineThatAnotherWriterTore(t *testing.T) {
	for text, want := range map[string]string{"": "", "whole\n": "whole\n", "torn": "torn\n"} {
		name := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := OpenFile(name, Format{JSON: true})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := f.Event(sample()); err != nil {
				t.Fatal(err)
			}
		}
		f.Close()
		got, _ := os.ReadFile(name)
		rest, ok := strings.CutPrefix(string(got), want)
		if !ok || !strings.HasPrefix(rest, "{") || strings.Count(rest, "\n") != 2 {
			t.Errorf("after %q: %q", text, got)
		}
	}
}

// A log whose reader stands still keeps who writes waiting once, and never again until it
// takes something.
func TestLogThatIsStuckHoldsNobodyUp(t *testing.T) {
	name := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	f, err := OpenLog(name, Format{JSON: true})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	taken, lost := 0, 0
	for range 400 {
		switch err := f.Event(sample()); {
		case err == nil:
			taken++
		case errors.Is(err, os.ErrDeadlineExceeded):
			lost++
		default:
			t.Fatal(err)
		}
	}
	if taken == 0 || lost == 0 {
		t.Fatalf("%d taken, %d lost: the fifo was not full", taken, lost)
	}
	var got []byte
	buf := make([]byte, 1<<16)
	read := func() {
		_ = reader.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		for {
			n, err := reader.Read(buf)
			got = append(got, buf[:n]...)
			if err != nil {
				return
			}
		}
	}
	read()
	for range 3 {
		if err := f.Event(sample()); err != nil {
			t.Fatalf("its reader goes on: %v", err)
		}
		taken++
	}
	read()
	whole := 0
	for line := range strings.Lines(string(got)) {
		if strings.HasPrefix(line, "{") && strings.HasSuffix(line, "}\n") {
			whole++
		}
	}
	if whole != taken {
		t.Errorf("%d whole lines came of %d that were taken", whole, taken)
	}
}
