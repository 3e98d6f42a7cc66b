package fanotify

import (
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Every open near a marked file passes the loop of a reader: it must cost the
// reader no memory.
func TestTheLoopAllocatesNothing(t *testing.T) {
	g := open(t)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mark(t, g, path, Open, false)
	const n = 200
	at := unix.AT_FDCWD
	name, err := unix.BytePtrFromString(path) // once: allocations are counted wherever they are
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	go func() {
		for range n + 1 {
			fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(at), uintptr(unsafe.Pointer(name)), unix.O_RDONLY, 0, 0, 0)
			if errno != 0 {
				opened <- errno
				return
			}
			unix.Close(int(fd))
		}
		opened <- nil
	}()
	take := func(Event) bool { return false }
	allocs := testing.AllocsPerRun(n, func() {
		if err := g.Read(take); err != nil {
			t.Fatal(err)
		}
	})
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if allocs >= 1 {
		t.Errorf("%.1f allocations an event", allocs)
	}
}

// BenchmarkOpen compares opens: of a file that nobody marked, and of one beside
// a file that is asked about, where a reader lets it go on at once.
func BenchmarkOpen(b *testing.B) {
	run := func(b *testing.B, path string) {
		for b.Loop() {
			fd, err := unix.Open(path, unix.O_RDONLY, 0)
			if err != nil {
				b.Fatal(err)
			}
			unix.Close(fd)
		}
	}
	path := filepath.Join(b.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		b.Fatal(err)
	}
	b.Run("plain", func(b *testing.B) { run(b, path) })
	b.Run("marked", func(b *testing.B) {
		g, err := New()
		if err != nil {
			b.Skip(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for g.Read(func(Event) bool { return false }) == nil {
			}
		}()
		fd, err := unix.Open(filepath.Dir(path), unix.O_PATH, 0)
		if err == nil {
			err = g.Mark(fd, Open|Children)
		}
		if err != nil {
			b.Fatal(err)
		}
		unix.Close(fd)
		run(b, path)
		g.Close()
		<-done
	})
}
