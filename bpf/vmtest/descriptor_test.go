package vmtest

import (
	"fmt"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/thread"
)

// TestBoundaryReceived takes descriptors that an outsider opened and sends. Why
// none arrives, the kernel does not tell: EBADF stands for that.
//
//	@
//	├── ws/file       everything but execute
//	├── look/file     open and read
//	└── secret/       nothing
//	    └── key
func TestBoundaryReceived(t *testing.T) {
	b := newBorder(t, permit(anyUse, "@/ws/"), permit(look, "@/look/"))
	b.tree("ws/file", "look/file", "secret/key")
	get := words("receive", "3", "fstatfd", "%")
	refused := func(name, path string, flags int, want denial) crossing {
		return crossing{name: name, present: b.opened("@/ws/file", flags&^unix.O_DIRECTORY), inside: get, gift: b.opened(path, flags), free: get, probe: get,
			errno: unix.EBADF, want: want}
	}
	b.cross(
		refused("secret file is not received", "@/secret/key", os.O_RDONLY, on("open,read", "@/secret/key")),
		refused("secret file for writing is not received", "@/secret/key", os.O_WRONLY, on("open,write", "@/secret/key")),
		refused("secret file for both is not received", "@/secret/key", os.O_RDWR, on("open,read,write", "@/secret/key")),
		refused("readable file for writing is not received", "@/look/file", os.O_RDWR, on("write", "@/look/file")),
		refused("secret directory is not received", "@/secret", os.O_RDONLY|unix.O_DIRECTORY, onDir("open,read", "@/secret")),
		crossing{name: "readable file is received", gift: b.opened("@/look/file", os.O_RDONLY), probe: get},
		crossing{name: "place of a secret is received", gift: b.opened("@/secret/key", unix.O_PATH), probe: get},
		crossing{name: "place of a secret is not reopened", present: b.opened("@/look/file", unix.O_PATH), inside: words("receive", "3", "reopenfd", "%", "r"),
			gift: b.opened("@/secret/key", unix.O_PATH), probe: words("receive", "3", "reopenfd", "%", "r"), errno: eacces, want: on("open,read", "@/secret/key")},
		crossing{name: "secret below a received place of a directory is denied", gift: b.opened("@/secret", unix.O_PATH),
			probe: words("receive", "3", "openat", "%", "r", "key"), errno: eacces, want: on("open,read", "@/secret/key")},
		crossing{name: "pipe is received", gift: b.pipe, probe: words("receive", "3", "writefd", "%")},
		crossing{name: "socket is received", gift: b.socket, probe: words("receive", "3", "writefd", "%")},
		crossing{name: "memory file is received", gift: b.memory, probe: words("receive", "3", "writefd", "%")},
		crossing{name: "event counter is received", gift: b.counter, probe: get},
		crossing{name: "timer is received", gift: made(t, unix.SYS_TIMERFD_CREATE, unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC), probe: get},
		crossing{name: "epoll is received", gift: made(t, unix.SYS_EPOLL_CREATE1, unix.EPOLL_CLOEXEC), probe: get},
		crossing{name: "signal descriptor is received", gift: made(t, unix.SYS_SIGNALFD4, ^uintptr(0), uintptr(unsafe.Pointer(&noSignals)), 8, unix.SFD_CLOEXEC), probe: get},
		crossing{name: "pidfd is received", gift: made(t, unix.SYS_PIDFD_OPEN, uintptr(os.Getpid())), probe: get},
		crossing{name: "deleted file that was secret is not received", gift: b.removed("@/secret/gone"), probe: get, errno: unix.EBADF, want: on("open,read,write", "@/secret/gone")},
	)
}

// removed makes a gift of a file without a name.
func (b *border) removed(path string) func() *os.File {
	return func() *os.File {
		b.t.Helper()
		f := must1(os.Create(b.at(path)))(b.t)
		must(b.t, os.Remove(b.at(path)))
		return f
	}
}

func (b *border) pipe() *os.File {
	r, w, err := os.Pipe()
	must(b.t, err)
	b.t.Cleanup(func() { r.Close() })
	return w
}

func (b *border) socket() *os.File {
	ends := must1(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))(b.t)
	b.t.Cleanup(func() { unix.Close(ends[1]) })
	return os.NewFile(uintptr(ends[0]), "socket")
}

func (b *border) memory() *os.File {
	return os.NewFile(uintptr(must1(unix.MemfdCreate("memory", unix.MFD_CLOEXEC))(b.t)), "memory")
}

func (b *border) counter() *os.File {
	return os.NewFile(uintptr(must1(unix.Eventfd(0, unix.EFD_CLOEXEC))(b.t)), "counter")
}

// TestBoundaryReceivedPowers takes descriptors that act with their maker's
// rights. Policy permits everything.
func TestBoundaryReceivedPowers(t *testing.T) {
	b := newBorder(t, everything)
	table := newMap(t)
	get := words("receive", "3", "fstatfd", "%")
	power := func(name string, boundary abi.Boundary, gift func() *os.File) crossing {
		c := forbidden(boundary, []crossing{{name: name + " is not received", gift: gift, free: get, probe: get, errno: unix.EBADF}})
		return c[0]
	}
	b.cross(
		power("ring", abi.BoundaryUring, b.ring),
		power("map", abi.BoundaryBPF, func() *os.File {
			return os.NewFile(uintptr(must1(unix.FcntlInt(uintptr(table.FD()), unix.F_DUPFD_CLOEXEC, 0))(b.t)), "map")
		}),
		power("perf event", abi.BoundaryPerf, b.perf),
		power("userfaultfd", abi.BoundaryProcess, made(t, unix.SYS_USERFAULTFD, unix.O_CLOEXEC)),
		power("seccomp listener", abi.BoundaryProcess, b.listener),
		power("inotify", abi.BoundaryWatch, made(t, unix.SYS_INOTIFY_INIT1, unix.IN_CLOEXEC)),
		power("fanotify", abi.BoundaryWatch, made(t, unix.SYS_FANOTIFY_INIT, unix.FAN_CLOEXEC)),
		power("context of a file system", abi.BoundaryControl, func() *os.File {
			return os.NewFile(uintptr(must1(unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC))(b.t)), "context")
		}),
	)
}

// TestBoundaryReceivedControls takes files of filesystems that the kernel mounts for
// itself, too, besides the place where they show: they have a path.
//
//	@             open, read, write
//	/sys/kernel/  open and write, not read
func TestBoundaryReceivedControls(t *testing.T) {
	b := newBorder(t, permit("open read write", "@/"), permit("open write", "/sys/"), forbid("read", "/sys/kernel/"))
	b.tree("file")
	get := words("receive", "3", "fstatfd", "%")
	var list, control []crossing
	for _, path := range []string{"/sys/kernel/tracing/README", "/sys/kernel/debug/sleep_time", "/sys/kernel/security/lsm"} {
		if _, err := os.Stat(path); err != nil {
			t.Logf("not here: %v", err)
			continue
		}
		list = append(list, crossing{name: path + " is not received", present: b.opened("@/file", os.O_RDONLY), inside: get, gift: b.opened(path, os.O_RDONLY), free: get, probe: get,
			errno: unix.EBADF, want: on("read", path)})
	}
	b.cross(list...)
	for _, path := range []string{"/sys/kernel/tracing/tracing_on", "/sys/kernel/debug/clear_warn_once"} {
		control = append(control, crossing{name: path + " for writing is not received", gift: b.opened(path, os.O_WRONLY), free: get, probe: get, errno: unix.EBADF, want: on("open,write", path)})
	}
	b.cross(forbidden(abi.BoundaryControl, control)...)
}

func (b *border) ring() *os.File {
	const params = 120 // size of struct io_uring_params
	memory := make([]byte, params)
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, addressOf(memory), 0)
	if errno != 0 {
		b.skip("no io_uring here: " + errno.Error())
	}
	return os.NewFile(fd, "ring")
}

var noSignals [8]byte

// made makes a gift of what a system call returns.
func made(t *testing.T, trap uintptr, a ...uintptr) func() *os.File {
	return func() *os.File {
		var four [4]uintptr
		copy(four[:], a)
		fd, _, errno := unix.Syscall6(trap, four[0], four[1], four[2], four[3], 0, 0)
		if errno != 0 {
			t.Fatal(errno)
		}
		return os.NewFile(fd, "made")
	}
}

// listener makes a gift of a seccomp filter, of a thread that ends.
func (b *border) listener() *os.File {
	var fd uintptr
	must(b.t, thread.Do(func() error {
		allow := [1]unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0x7fff0000}}
		prog := unix.SockFprog{Len: 1, Filter: &allow[0]}
		var errno unix.Errno
		if fd, _, errno = unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&prog))); errno != 0 {
			return errno
		}
		return nil
	}))
	return os.NewFile(fd, "listener")
}

func (b *border) perf() *os.File {
	attr := &unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK, Size: unix.PERF_ATTR_SIZE_VER5}
	return os.NewFile(uintptr(must1(unix.PerfEventOpen(attr, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC))(b.t)), "perf")
}

// TestBoundaryFetched takes descriptors out of processes by pidfd_getfd.
//
//	@
//	├── ws/file       everything but execute
//	└── secret/key    nothing
func TestBoundaryFetched(t *testing.T) {
	b := newBorder(t, permit(anyUse, "@/ws/"))
	b.tree("ws/file", "secret/key")
	holder := func(path string, flags int) *attempt {
		f := must1(os.OpenFile(b.at(path), flags, 0))(t)
		defer f.Close()
		return b.insider([]*os.File{f}, "holding", "3")
	}
	get := func(a *attempt) []string { return words("getfd", fmt.Sprint(a.cmd.Process.Pid), "100") }
	own, secret := holder("@/ws/file", os.O_RDWR), holder("@/secret/key", os.O_RDONLY)
	ring := b.insider(nil, "holding", "ring")
	out := b.bystander()
	b.cross(
		crossing{name: "secret file of a task inside is not fetched", inside: get(own), probe: get(secret), errno: eacces, want: on("open,read", "@/secret/key"), again: true},
		crossing{name: "ring of a task inside is not fetched", free: get(ring), probe: get(ring), errno: eperm, want: denial{reason: abi.ReasonBoundary}, boundary: abi.BoundaryUring},
		crossing{name: "descriptor of an outsider is not fetched", free: words("getfd", fmt.Sprint(out.cmd.Process.Pid), "0"), probe: words("getfd", fmt.Sprint(out.cmd.Process.Pid), "0"),
			errno: eperm, want: denial{actions: "trace"}, boundary: abi.BoundaryProcess},
	)
}
