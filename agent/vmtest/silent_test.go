package vmtest

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// silent is a file system that never answers what it is asked, but for its first
// question: who asks waits in the kernel, and cannot be killed.
type silent struct {
	t     *testing.T
	dir   string
	fd    int
	asked atomic.Uint64 // the number of the last question
}

// mountSilent mounts one.
func mountSilent(t *testing.T, dir string) *silent {
	t.Helper()
	must(os.MkdirAll(dir, 0o755))
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	must(err)
	must(unix.Mount("silent", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd)))
	s := &silent{t: t, dir: dir, fd: fd}
	go s.listen()
	return s
}

// listen answers FUSE_INIT, and nothing else.
func (s *silent) listen() {
	const initCode, interruptCode = 26, 36
	buf := make([]byte, 1<<17)
	for {
		n, err := unix.Read(s.fd, buf)
		if err != nil || n < 40 {
			return
		}
		switch binary.NativeEndian.Uint32(buf[4:]) {
		case initCode:
		case interruptCode: // who asked has been killed
			continue
		default:
			s.asked.Store(binary.NativeEndian.Uint64(buf[8:]))
			continue
		}
		answer := make([]byte, 16+64)
		binary.NativeEndian.PutUint32(answer, uint32(len(answer)))
		copy(answer[8:16], buf[8:16]) // which question
		binary.NativeEndian.PutUint32(answer[16:], 7)
		binary.NativeEndian.PutUint32(answer[20:], 31)
		binary.NativeEndian.PutUint32(answer[36:], 4096) // max_write
		if _, err := unix.Write(s.fd, answer); err != nil {
			return
		}
	}
}

// end lets go of who waits: its question fails.
func (s *silent) end() {
	s.t.Helper()
	answer := make([]byte, 16)
	binary.NativeEndian.PutUint32(answer, uint32(len(answer)))
	failed := -int32(unix.EIO)
	binary.NativeEndian.PutUint32(answer[4:], uint32(failed))
	binary.NativeEndian.PutUint64(answer[8:], s.asked.Load())
	_, err := unix.Write(s.fd, answer)
	must(err)
	must(unix.Unmount(s.dir, unix.MNT_DETACH))
	must(unix.Close(s.fd))
}
