package probes

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// opens are the ways to open a file.
var opens = map[string]probe{
	// open FLAGS PATH: FLAGS are letters and words joined by "|"
	"open": func(a args) error { return open(unix.AT_FDCWD, a.str(1), flags(a.str(0))) },
	// openat FD FLAGS PATH
	"openat": func(a args) error { return open(a.num(0), a.str(2), flags(a.str(1))) },
	// openat2 FLAGS PATH
	"openat2": func(a args) error {
		fd, err := unix.Openat2(unix.AT_FDCWD, a.str(1), &unix.OpenHow{Flags: uint64(flags(a.str(0)))})
		if err == nil {
			unix.Close(fd)
		}
		return err
	},
	// reopen FLAGS PATH: first with O_PATH, then through /proc/self/fd
	"reopen": func(a args) error {
		fd := must1(unix.Open(a.str(1), unix.O_PATH|unix.O_CLOEXEC, 0))
		return open(unix.AT_FDCWD, procFD(fd), flags(a.str(0)))
	},
	// reopenfd FD FLAGS: an inherited descriptor, through /proc/self/fd
	"reopenfd": func(a args) error { return open(unix.AT_FDCWD, procFD(a.num(0)), flags(a.str(1))) },
	// pipe FLAGS: an anonymous pipe's end, through /proc/self/fd
	"pipe": func(a args) error {
		var ends [2]int
		must(unix.Pipe2(ends[:], unix.O_CLOEXEC))
		return open(unix.AT_FDCWD, procFD(ends[0]), flags(a.str(0)))
	},
	// deleted FLAGS PATH: the file is open while its name goes, then reopened
	"deleted": func(a args) error {
		fd := must1(unix.Open(a.str(1), unix.O_RDONLY|unix.O_CLOEXEC, 0))
		must(unix.Unlink(a.str(1)))
		return open(unix.AT_FDCWD, procFD(fd), flags(a.str(0)))
	},
	// handle FLAGS PATH: by file handle
	"handle": func(a args) error { return openHandle(a.str(1), flags(a.str(0))) },
	// in DIR PROBE...: with DIR as working directory
	"in": func(a args) error {
		must(os.Chdir(a.str(0)))
		return run(a.rest(1))
	},
	// down DIR N NAME PROBE...: N times the directory NAME below DIR
	"down": func(a args) error {
		must(os.Chdir(a.str(0)))
		for range a.num(1) {
			must(os.Chdir(a.str(2)))
		}
		return run(a.rest(3))
	},
	// hold SECONDS: does nothing
	"hold": func(a args) error {
		return unix.Nanosleep(&unix.Timespec{Sec: int64(a.num(0))}, nil)
	},
	// mapfiles PATH FLAGS: maps the file, then opens its link in map_files
	"mapfiles": func(a args) error {
		fd := must1(unix.Open(a.str(0), unix.O_RDONLY|unix.O_CLOEXEC, 0))
		mem := must1(unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE))
		unix.Close(fd)
		at := uintptr(unsafe.Pointer(&mem[0]))
		return open(unix.AT_FDCWD, fmt.Sprintf("/proc/self/map_files/%x-%x", at, at+4096), flags(a.str(1)))
	},
}

var flagBits = map[string]int{
	"r": unix.O_RDONLY, "w": unix.O_WRONLY, "rw": unix.O_RDWR, "trunc": unix.O_TRUNC,
	"creat": unix.O_CREAT, "excl": unix.O_EXCL, "path": unix.O_PATH, "dir": unix.O_DIRECTORY,
	"tmpfile": unix.O_TMPFILE, "nofollow": unix.O_NOFOLLOW, "append": unix.O_APPEND,
}

func flags(list string) int {
	bits := unix.O_CLOEXEC
	for word := range strings.SplitSeq(list, "|") {
		b, ok := flagBits[word]
		if !ok {
			cannot("no flag %q", word)
		}
		bits |= b
	}
	return bits
}

func procFD(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// open tries one open and closes what it got.
func open(dir int, path string, flags int) error {
	fd, err := unix.Openat(dir, path, flags, 0o644)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// openHandle asks for a file's handle, which reaches no hook, and opens it.
func openHandle(path string, flags int) error {
	const maxHandle = 128 // MAX_HANDLE_SZ
	buf := make([]byte, 8+maxHandle)
	binary.NativeEndian.PutUint32(buf, maxHandle)
	var mount int32
	name := must1(syscall.BytePtrFromString(path))
	cwd := unix.AT_FDCWD
	_, _, errno := unix.Syscall6(unix.SYS_NAME_TO_HANDLE_AT, uintptr(cwd), uintptr(unsafe.Pointer(name)),
		uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&mount)), 0, 0)
	if errno != 0 {
		must(errno)
	}
	must(os.Chdir(path[:strings.LastIndexByte(path, '/')])) // names the file system
	fd, _, errno := unix.Syscall(unix.SYS_OPEN_BY_HANDLE_AT, uintptr(cwd), uintptr(unsafe.Pointer(&buf[0])), uintptr(flags))
	if errno != 0 {
		return errno
	}
	unix.Close(int(fd))
	return nil
}
