// Package fanotify holds operations of the kernel until somebody has looked at
// them: permission events on opens and executions.
package fanotify

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What is reported: opens, opens in order to execute. Of a directory, Children
// marks what lies directly in it, now or later.
const (
	Open     = unix.FAN_OPEN_PERM
	OpenExec = unix.FAN_OPEN_EXEC_PERM
	Children = unix.FAN_EVENT_ON_CHILD
	Dirs     = unix.FAN_ONDIR
)

// Event is an operation that waits. It goes on when it is released. File is
// open for reading, and has to be closed after the release.
type Event struct {
	TID  int // in the process namespace of who opened the group
	Exec bool
	File int
}

// Group is a listener. Marks say what it hears of.
type Group struct {
	file   *os.File
	buf    [64 * metadata]byte
	answer [8]byte // of the reader
}

const metadata = int(unsafe.Sizeof(unix.FanotifyEventMetadata{}))

// New opens a group.
func New() (*Group, error) {
	// O_NONBLOCK: the kernel opens the file for the reader of an event, and must
	// not wait for what is at the other end of a FIFO.
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK|unix.FAN_REPORT_TID|unix.FAN_UNLIMITED_QUEUE,
		unix.O_RDONLY|unix.O_LARGEFILE|unix.O_CLOEXEC|unix.O_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("fanotify: %w: nothing can be held; run as root on a kernel with CONFIG_FANOTIFY_ACCESS_PERMISSIONS", err)
	}
	return &Group{file: os.NewFile(uintptr(fd), "fanotify")}, nil
}

// Mark adds a mark on an inode, given as an open file, O_PATH will do.
func (g *Group) Mark(fd int, mask uint64) error { return g.mark(fd, 0, mask) }

// MarkFilesystem adds a mark on the filesystem that a file is on.
func (g *Group) MarkFilesystem(fd int, mask uint64) error {
	return g.mark(fd, unix.FAN_MARK_FILESYSTEM, mask)
}

func (g *Group) mark(fd int, flags uint, mask uint64) error {
	var failed error
	err := g.control(func(group int) {
		failed = unix.FanotifyMark(group, unix.FAN_MARK_ADD|flags, mask, unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(fd))
	})
	return errors.Join(err, failed)
}

func (g *Group) control(f func(fd int)) error {
	conn, err := g.file.SyscallConn()
	if err != nil {
		return err
	}
	return conn.Control(func(fd uintptr) { f(int(fd)) })
}

// Read waits for events and hands each to take. What it does not keep goes on at
// once. It allocates nothing. After Close the error is os.ErrClosed.
func (g *Group) Read(take func(Event) (keep bool)) error {
	n, err := g.file.Read(g.buf[:])
	if errors.Is(err, fs.ErrClosed) {
		return os.ErrClosed
	}
	if err != nil {
		return fmt.Errorf("fanotify: %w: an event is lost, and what waited is refused", err)
	}
	for rest := g.buf[:n]; len(rest) >= metadata; {
		m := (*unix.FanotifyEventMetadata)(unsafe.Pointer(&rest[0]))
		if m.Vers != unix.FANOTIFY_METADATA_VERSION || int(m.Event_len) < metadata || int(m.Event_len) > len(rest) {
			return errors.New("fanotify: an event of an unknown form: it is not answered; kernel and agent do not fit")
		}
		if m.Fd >= 0 && m.Mask&(Open|OpenExec) != 0 {
			e := Event{TID: int(m.Pid), Exec: m.Mask&OpenExec != 0, File: int(m.Fd)}
			if !take(e) {
				_ = g.release(e, g.answer[:]) // a task that was killed waits no more
				_ = unix.Close(e.File)
			}
		}
		rest = rest[m.Event_len:]
	}
	return nil
}

// Release lets an operation go on that was kept, once.
func (g *Group) Release(e Event) error { return g.release(e, make([]byte, 8)) }

func (g *Group) release(e Event, answer []byte) error {
	binary.NativeEndian.PutUint32(answer, uint32(e.File))
	binary.NativeEndian.PutUint32(answer[4:], unix.FAN_ALLOW)
	_, err := g.file.Write(answer)
	return err
}

// Close ends the group: its marks go, and what waits goes on.
func (g *Group) Close() error { return g.file.Close() }
