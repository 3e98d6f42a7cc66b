package fanotify

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// open returns a group, or skips where the kernel or the user cannot have one;
// STOCKADE_STRICT=1 turns the skip into a failure.
func open(t *testing.T) *Group {
	t.Helper()
	g, err := New()
	if err != nil && os.Getenv("STOCKADE_STRICT") == "" && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL)) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// follow reads a group until it is closed.
func follow(t *testing.T, g *Group) <-chan Event {
	events := make(chan Event, 100)
	go func() {
		defer close(events)
		for {
			err := g.Read(func(e Event) bool { events <- e; return true })
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	}()
	return events
}

func mark(t *testing.T, g *Group, path string, mask uint64, whole bool) {
	t.Helper()
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	add := g.Mark
	if whole {
		add = g.MarkFilesystem
	}
	if err := add(fd, mask); err != nil {
		t.Fatal(err)
	}
}

// launcher returns a function that runs a program and tells when it has ended.
// The process that forks is there before the group: a child would hold a copy of
// the group until its exec is over, which waits for the group.
func launcher(t *testing.T) func(path string) <-chan error {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", `while read -r x; do "$x" && echo well || echo badly; done`)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	return func(path string) <-chan error {
		done := make(chan error, 1)
		go func() {
			_, err := io.WriteString(in, path+"\n")
			if lines.Scan(); err == nil && lines.Text() != "well" {
				err = errors.New(lines.Text())
			}
			done <- err
		}()
		return done
	}
}

func next(t *testing.T, events <-chan Event) Event {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("no event")
		return Event{}
	}
}

func released(t *testing.T, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it still waits")
	}
}

func tool(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "tool")
	text, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAnExecWaitsUntilItIsReleased(t *testing.T) {
	start := launcher(t)
	g := open(t)
	dir := t.TempDir()
	path := tool(t, dir)
	mark(t, g, path, OpenExec, false)
	events := follow(t, g)
	if _, err := os.ReadFile(path); err != nil { // another sort of open
		t.Fatal(err)
	}
	done := start(path)
	e := next(t, events)
	var here, there unix.Stat_t
	if err := errors.Join(unix.Fstat(e.File, &there), unix.Stat(path, &here)); err != nil || here.Ino != there.Ino || !e.Exec {
		t.Errorf("%+v, %v: not the file that was executed", e, err)
	}
	if e.TID == os.Getpid() || e.TID == 0 {
		t.Errorf("thread %d", e.TID)
	}
	select {
	case <-done:
		t.Fatal("it did not wait")
	case <-time.After(200 * time.Millisecond):
	}
	if err := g.Release(e); err != nil {
		t.Fatal(err)
	}
	unix.Close(e.File)
	released(t, done)

	done = start(path) // and nobody answers
	last := next(t, events)
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	released(t, done)
	unix.Close(last.File)
	if _, open := <-events; open {
		t.Error("an event after the end")
	}
}

func TestAMarkOnADirectoryCoversWhatIsPutThere(t *testing.T) {
	g := open(t)
	dir := t.TempDir()
	mark(t, g, dir, Open|OpenExec|Children, false)
	events := follow(t, g)
	defer g.Close()
	path := filepath.Join(dir, "later")
	done := make(chan error, 1)
	go func() {
		_, err := os.Create(path)
		if err == nil {
			_, err = os.ReadFile(path)
		}
		done <- err
	}()
	for range 2 {
		e := next(t, events)
		if e.Exec {
			t.Errorf("%+v: no execution", e)
		}
		if err := g.Release(e); err != nil {
			t.Fatal(err)
		}
		unix.Close(e.File)
	}
	released(t, done)
	if err := os.Mkdir(filepath.Join(dir, "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "deep", "x"), nil, 0o600); err != nil { // it does not wait
		t.Fatal(err)
	}
}

func TestAMarkOnAFilesystemCoversAllOfIt(t *testing.T) {
	start := launcher(t)
	g := open(t)
	dir := t.TempDir()
	if err := unix.Mount("fanotify-test", dir, "tmpfs", 0, ""); err != nil {
		if os.Getenv("STOCKADE_STRICT") == "" {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	deep := filepath.Join(dir, "a", "b")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	path := tool(t, deep)
	mark(t, g, dir, OpenExec, true)
	events := follow(t, g)
	defer g.Close()
	done := start(path)
	e := next(t, events)
	if err := g.Release(e); err != nil {
		t.Fatal(err)
	}
	unix.Close(e.File)
	released(t, done)
}
