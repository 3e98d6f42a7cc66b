package probes

import (
	"maps"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

func init() { maps.Copy(table, queues) }

// queues are POSIX message queues, by names without a slash.
var queues = map[string]probe{
	// mqopen FLAGS NAME: r, w, rw, with |creat
	"mqopen": func(a args) error {
		return named(unix.SYS_MQ_OPEN, a.str(1), uintptr(flags(a.str(0))), 0o666, 0)
	},
	// mqflock FLAGS NAME HOW: of a queue's descriptor
	"mqflock": func(a args) error {
		name := must1(unix.ByteSliceFromString(a.str(1)))
		fd, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(&name[0])), uintptr(flags(a.str(0))), 0, 0, 0, 0)
		if errno != 0 {
			must(errno)
		}
		return unix.Flock(int(fd), a.num(2)|unix.LOCK_NB)
	},
	// mqunlink NAME
	"mqunlink": func(a args) error { return named(unix.SYS_MQ_UNLINK, a.str(0)) },
}

// named is a system call whose first argument is a name.
func named(trap uintptr, name string, more ...uintptr) error {
	b := must1(unix.ByteSliceFromString(name))
	defer runtime.KeepAlive(b)
	return call(trap, append([]uintptr{uintptr(unsafe.Pointer(&b[0]))}, more...)...)
}
