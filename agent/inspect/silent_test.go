package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hung starts a process that lets who looks at it wait, with a file system that does not
// answer. kind says for what: opens or reads are those of the file of an executable
// mapping; memory is all that needs its map of memory, which it keeps locked. end, and the
// end of the test, end the file system. It is served here: a process that waits for one
// that it serves itself could not be killed.
func hung(t *testing.T, kind string) (p Process, end func()) {
	t.Helper()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		lacking(t, "no file system can be served", err)
	}
	opens := 1
	if kind != "opens" {
		opens = 1000
	}
	quit, done := make(chan struct{}), make(chan struct{})
	end = sync.OnceFunc(func() { close(quit); <-done })
	go func() {
		defer close(done)
		defer unix.Close(fd)
		serve(fd, opens, quit)
	}()
	cmd := do(t, "hang", t.TempDir(), kind)
	cmd.SysProcAttr = &unix.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	t.Cleanup(end)
	theirs, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	copied := os.NewFile(uintptr(theirs), "fuse")
	defer copied.Close()
	cmd.ExtraFiles = []*os.File{copied}
	p = start(t, cmd)
	t.Cleanup(end) // before its process is waited for
	if kind == "memory" {
		for end := time.Now().Add(time.Minute); !locked(p.PID); time.Sleep(5 * time.Millisecond) { // it locks once it is ready
			if time.Now().After(end) {
				t.Fatalf("nothing holds its map:\n%s", threads(p.PID, "syscall"))
			}
		}
	}
	return p, end
}

// beHung is what hung starts.
func beHung(args []string) {
	dir, kind := args[0], args[1]
	const dev = 3
	must(unix.Mount("silent", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", dev)))
	must(unix.Close(dev)) // so that the test's end ends it
	if kind != "memory" {
		beMapped([]string{"0", "0", dir + "/file"})
		return
	}
	file, err := unix.Open(dir+"/file", unix.O_RDONLY, 0)
	must(err)
	page, err := unix.Mmap(file, 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE)
	must(err)
	fmt.Println("ready") // it may be unable to say so once it is locked
	lock(page)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// lock has one thread read a page that is never there through mem, which waits with the
// map locked to read, and another one wait to write: behind that, all others wait.
func lock(page []byte) {
	mem, err := unix.Open("/proc/self/mem", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(err)
	where, buf := int64(uintptr(unsafe.Pointer(unsafe.SliceData(page)))), make([]byte, 1)
	go func() { _, _ = unix.Pread(mem, buf, where) }()
	go func() {
		for err := error(nil); err == nil; time.Sleep(5 * time.Millisecond) {
			_, err = unix.Mmap(-1, 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON)
		}
	}()
}

// locked: a thread of the process is in that read, and another waits to map.
func locked(pid int) bool {
	reads, maps := false, false
	paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid)) // the pattern is well formed
	for _, path := range paths {
		call, _ := os.ReadFile(path + "/syscall") // it may have ended
		stat, _ := os.ReadFile(path + "/stat")
		reads = reads || strings.HasPrefix(string(call), fmt.Sprintf("%d ", unix.SYS_PREAD64))
		maps = maps || strings.HasPrefix(string(call), fmt.Sprintf("%d ", unix.SYS_MMAP)) && strings.Contains(string(stat), ") D ")
	}
	return reads && maps
}

// serve answers what is asked, of opens some, and reads nothing.
func serve(dev, opens int, quit chan struct{}) {
	const lookup, getattr, open, flush, initCode = 1, 3, 14, 25, 26
	buf := make([]byte, 1<<17)
	for {
		n, err := unix.Read(dev, buf)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EPERM) { // nothing is asked, or it is not yet mounted
			select {
			case <-quit:
				return
			case <-time.After(2 * time.Millisecond):
				continue
			}
		}
		if err != nil || n < 40 {
			return
		}
		var answer []byte
		failed := int32(0)
		put := func(words ...uint32) {
			for _, w := range words {
				answer = binary.NativeEndian.AppendUint32(answer, w)
			}
		}
		const long = 1 << 20 // seconds that an attribute holds
		file := []uint32{2, 0, 4096, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, unix.S_IFREG | 0o755, 1, 0, 0, 0, 4096, 0}
		root := []uint32{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, unix.S_IFDIR | 0o755, 2, 0, 0, 0, 4096, 0}
		switch code := binary.NativeEndian.Uint32(buf[4:]); {
		case code == initCode:
			put(7, 31, 1<<17, 1, 0, 4096) // reads are asked for without waiting
			answer = append(answer, make([]byte, 64-len(answer))...)
		case code == lookup:
			put(2, 0, 0, 0, long, 0, long, 0, 0, 0)
			put(file...)
		case code == getattr:
			put(long, 0, 0, 0)
			if binary.NativeEndian.Uint64(buf[16:]) == 1 {
				put(root...)
			} else {
				put(file...)
			}
		case code == open && opens > 0:
			opens--
			put(0, 0, 0, 0)
		case code == flush:
			failed = -int32(unix.ENOSYS)
		default:
			continue
		}
		head := binary.NativeEndian.AppendUint32(nil, uint32(16+len(answer)))
		head = binary.NativeEndian.AppendUint32(head, uint32(failed))
		head = append(head, buf[8:16]...)
		if _, err := unix.Write(dev, append(head, answer...)); err != nil {
			return
		}
	}
}
