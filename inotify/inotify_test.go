//go:build linux

package inotify

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func open(t *testing.T) *Reader {
	t.Helper()
	r, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func TestChangesAreTold(t *testing.T) {
	r, a, b := open(t), t.TempDir(), t.TempDir()
	first, err := r.Watch(a, unix.IN_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	second, err := r.Watch(b, unix.IN_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{filepath.Join(b, "dir"), filepath.Join(a, "a name of sixteen")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	list, err := r.Next()
	want := []Event{{second, unix.IN_CREATE | unix.IN_ISDIR, "dir"}, {first, unix.IN_CREATE | unix.IN_ISDIR, "a name of sixteen"}}
	if err != nil || len(list) != 2 || list[0] != want[0] || list[1] != want[1] {
		t.Errorf("%+v, %v; want %+v", list, err, want)
	}
	r.Forget(first)
	if list, err := r.Next(); err != nil || len(list) != 1 || list[0].Mask != unix.IN_IGNORED || list[0].Dir != first || list[0].Missed() {
		t.Errorf("forgotten: %+v, %v", list, err)
	}
}

func TestOnlyDirectoriesAreWatched(t *testing.T) {
	r, dir := open(t), t.TempDir()
	if _, err := r.Watch(filepath.Join(dir, "none"), unix.IN_CREATE); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Watch(file, unix.IN_CREATE); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file: %v", err)
	}
}

func TestCloseEndsNext(t *testing.T) {
	r := open(t)
	if _, err := r.Watch(t.TempDir(), unix.IN_CREATE); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := r.Next()
		ended <- err
	}()
	time.Sleep(20 * time.Millisecond)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%v, want os.ErrClosed", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Next waits for a reader that was closed")
	}
	if _, err := r.Watch(t.TempDir(), unix.IN_CREATE); err == nil {
		t.Error("a reader that was closed watches")
	}
}
