//go:build linux

// Package inotify reads what the kernel tells of directories that change.
package inotify

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Event is one change. Dir is the number of the watched directory that it
// happened in, Name the entry that it is about, if any.
type Event struct {
	Dir  int
	Mask uint32 // IN_…, as in inotify(7)
	Name string
}

// Missed reports that the kernel left events out.
func (e *Event) Missed() bool { return e.Mask&unix.IN_Q_OVERFLOW != 0 }

// Reader watches directories. Its methods may be called at the same time.
type Reader struct{ file *os.File }

// New returns a reader that watches nothing yet.
func New() (*Reader, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w: nothing is watched; raise fs.inotify.max_user_instances", err)
	}
	return &Reader{os.NewFile(uintptr(fd), "inotify")}, nil
}

// Watch tells of the changes in mask that happen in a directory from now on, and
// returns its number. The error is an fs.ErrNotExist if it is gone.
func (r *Reader) Watch(dir string, mask uint32) (n int, err error) {
	if failed := r.control(func(fd int) { n, err = unix.InotifyAddWatch(fd, dir, mask|unix.IN_ONLYDIR) }); failed != nil {
		return 0, failed
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, fmt.Errorf("%s: %w: it is not watched", dir, err)
	case err != nil:
		return 0, fmt.Errorf("%s: inotify: %w: changes in it are seen late, or not; raise fs.inotify.max_user_watches", dir, err)
	}
	return n, nil
}

// Forget ends the watch of a directory, which may be gone.
func (r *Reader) Forget(n int) {
	_ = r.control(func(fd int) { _, _ = unix.InotifyRmWatch(fd, uint32(n)) })
}

// control leaves the descriptor as it is, as os.File.Fd does not: with that, Close
// would not end a Next that waits.
func (r *Reader) control(do func(fd int)) error {
	conn, err := r.file.SyscallConn()
	if err == nil {
		err = conn.Control(func(fd uintptr) { do(int(fd)) })
	}
	if err != nil {
		return fmt.Errorf("inotify: %w: nothing more is watched", err)
	}
	return nil
}

// Next waits for changes. The error is os.ErrClosed after Close.
func (r *Reader) Next() ([]Event, error) {
	buf := make([]byte, 64<<10)
	n, err := r.file.Read(buf)
	if err != nil {
		return nil, err
	}
	var list []Event
	for at := 0; at+unix.SizeofInotifyEvent <= n; {
		e := (*unix.InotifyEvent)(unsafe.Pointer(&buf[at]))
		at += unix.SizeofInotifyEvent
		name := strings.TrimRight(string(buf[at:at+int(e.Len)]), "\x00")
		at += int(e.Len)
		list = append(list, Event{Dir: int(e.Wd), Mask: e.Mask, Name: name})
	}
	return list, nil
}

// Close ends all watches.
func (r *Reader) Close() error { return r.file.Close() }
