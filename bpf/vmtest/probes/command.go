package probes

import (
	"encoding/binary"
	"maps"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func init() { maps.Copy(table, commands) }

// commands are ioctl, fcntl and locks on files that are open.
var commands = map[string]probe{
	// asuser PROBE...: as an ordinary user
	"asuser": func(a args) error {
		must(syscall.Setgroups(nil))
		must(syscall.Setresgid(1000, 1000, 1000))
		must(syscall.Setresuid(1000, 1000, 1000))
		return run(a)
	},
	// command FLAGS PATH COMMAND WORD...: an ioctl with the words in memory
	"command": func(a args) error { return ioctl(opened(a.str(1), a.str(0)), a.rest(2)) },
	// commandfd FD COMMAND WORD...: on an inherited descriptor
	"commandfd": func(a args) error { return ioctl(a.num(0), a.rest(1)) },
	// commandof KIND COMMAND WORD...: on an object of its own
	"commandof": func(a args) error { return ioctl(object(a.str(0)), a.rest(1)) },
	// clonerange FROM TO: FICLONE
	"clonerange": func(a args) error {
		return call(unix.SYS_IOCTL, uintptr(opened(a.str(1), "rw")), fiClone, uintptr(opened(a.str(0), "r")))
	},
	// uringcommand PATH: a command by io_uring
	"uringcommand": func(a args) error {
		const opUringCmd = 46
		var r ring
		r.setup(false)
		return r.do(request{op: opUringCmd, file: opened(a.str(0), "rw")})
	},
	// fcntl FLAGS PATH COMMAND ARGUMENT; fcntlfd FD COMMAND ARGUMENT; fcntlof KIND COMMAND ARGUMENT
	"fcntl":   func(a args) error { return fcntl(opened(a.str(1), a.str(0)), a.num(2), a.num(3)) },
	"fcntlfd": func(a args) error { return fcntl(a.num(0), a.num(1), a.num(2)) },
	"fcntlof": func(a args) error { return fcntl(object(a.str(0)), a.num(1), a.num(2)) },
	// fcntlwords FLAGS PATH COMMAND WORD...: with the words in memory
	"fcntlwords": func(a args) error {
		return call(unix.SYS_FCNTL, uintptr(opened(a.str(1), a.str(0))), uintptr(a.num(2)), words(a.rest(3)))
	},
	// flock FLAGS PATH HOW
	"flock": func(a args) error { return unix.Flock(opened(a.str(1), a.str(0)), a.num(2)|unix.LOCK_NB) },
	// whiteout FROM TO
	"whiteout": func(a args) error {
		return unix.Renameat2(unix.AT_FDCWD, a.str(0), unix.AT_FDCWD, a.str(1), unix.RENAME_WHITEOUT)
	},
}

func opened(path, how string) int { return must1(unix.Open(path, flags(how), 0)) }

// argument is memory that does not move, with room for what any command takes.
var argument [4096]byte

func words(a args) uintptr {
	clear(argument[:])
	for i := range a {
		binary.NativeEndian.PutUint64(argument[8*i:], uint64(a.num(i)))
	}
	return uintptr(unsafe.Pointer(&argument))
}

func ioctl(fd int, a args) error {
	return call(unix.SYS_IOCTL, uintptr(fd), uintptr(a.num(0)), words(a.rest(1)))
}

// object makes what has no path.
func object(kind string) int {
	switch kind {
	case "socket":
		return must1(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	case "udp":
		return must1(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))
	case "pipe":
		var ends [2]int
		must(unix.Pipe2(ends[:], unix.O_CLOEXEC))
		return ends[0]
	case "memory":
		return must1(unix.MemfdCreate("memory", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING))
	case "timer":
		return must1(unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC))
	case "inotify":
		return must1(unix.InotifyInit1(unix.IN_CLOEXEC))
	case "userfaultfd":
		fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|1, 0, 0) // UFFD_USER_MODE_ONLY
		if errno != 0 {
			must(errno)
		}
		return int(fd)
	case "pidfd":
		return must1(unix.PidfdOpen(os.Getpid(), 0))
	}
	cannot("no object %q", kind)
	return -1
}
