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
	// mqunlink NAME
	"mqunlink": func(a args) error { return named(unix.SYS_MQ_UNLINK, a.str(0)) },
}

// named is a system call whose first argument is a name.
func named(trap uintptr, name string, more ...uintptr) error {
	b := must1(unix.ByteSliceFromString(name))
	defer runtime.KeepAlive(b)
	return call(trap, append([]uintptr{uintptr(unsafe.Pointer(&b[0]))}, more...)...)
}
