package probes

import (
	"encoding/binary"
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rings are operations by io_uring.
var rings = map[string]probe{
	// uring MODE OP ARG...: MODE is inline, async (a worker thread), sqpoll (a
	// kernel thread) or fixed (into a table instead of a descriptor); OP is
	// open FLAGS PATH, openat2 FLAGS PATH, rename, link, symlink, setxattr NAME PATH,
	// unlink, mkdir, socket FAMILY TYPE PROTOCOL, connect KIND PATH
	"uring": func(a args) error {
		var r ring
		r.setup(a.str(0) == "sqpoll")
		if a.str(0) == "fixed" {
			r.sparse()
		}
		return r.do(operation(a.str(0), a.str(1), a.rest(2)))
	},
	// agedring UID PATH OP ARG...: by a worker thread that is older than this
	// process's credentials; PATH is what it opens before
	"agedring": func(a args) error {
		runtime.LockOSThread()
		var before, r ring
		before.setup(false)
		must(before.do(operation("async", "open", args{"r", a.str(1)})))
		must(syscall.Setgroups([]int{7}))
		if uid := a.num(0); uid != 0 {
			must(syscall.Setresuid(uid, uid, uid))
		}
		r.setup(false)
		return r.do(operation("async", a.str(2), a.rest(3)))
	},
}

const (
	sysSetup, sysEnter, sysRegister = 425, 426, 427

	opConnect                                                                                 = 16
	opOpenat, opOpenat2, opRename, opUnlink, opMkdir, opSymlink, opLink, opSetxattr, opSocket = 18, 28, 35, 36, 37, 38, 39, 42, 45

	setupSQPoll   = 1 << 1
	enterGet      = 1 << 0
	enterWake     = 1 << 1
	offSQ, offSQE = 0, 0x10000000
	sqeAsync      = 1 << 4
	registerFiles = 2
	ringSize      = 4
)

// params is struct io_uring_params.
type params struct {
	sqEntries, cqEntries, flags, cpu, idle, features, wq uint32
	_                                                    [3]uint32
	sq                                                   struct {
		head, tail, mask, entries, flags, dropped, array, _ uint32
		_                                                   uint64
	}
	cq struct {
		head, tail, mask, entries, overflow, cqes, flags, _ uint32
		_                                                   uint64
	}
}

type ring struct {
	fd        int
	p         params
	mem, sqes []byte
	names     [][]byte // kept until the operation is over
}

func (r *ring) setup(poll bool) {
	if poll {
		r.p.flags, r.p.idle = setupSQPoll, 1000
	}
	fd, _, errno := unix.Syscall(sysSetup, ringSize, uintptr(unsafe.Pointer(&r.p)), 0)
	if errno != 0 {
		must(errno)
	}
	r.fd = int(fd)
	size := max(r.p.sq.array+r.p.sqEntries*4, r.p.cq.cqes+r.p.cqEntries*16)
	r.mem = must1(unix.Mmap(r.fd, offSQ, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE))
	r.sqes = must1(unix.Mmap(r.fd, offSQE, int(r.p.sqEntries)*64, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE))
}

// sparse registers a table with one empty place.
func (r *ring) sparse() {
	empty := int32(-1)
	_, _, errno := unix.Syscall6(sysRegister, uintptr(r.fd), registerFiles, uintptr(unsafe.Pointer(&empty)), 1, 0, 0)
	if errno != 0 {
		must(errno)
	}
}

func (r *ring) word(at uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.mem[at])) }

// request is one entry of the submission queue.
type request struct {
	op, flags        byte
	length, extra    uint32
	addr, addr2      string
	how              *unix.OpenHow
	fixed, twoFolder bool
	file             int     // a command's
	socket           *[3]int // its family, type and protocol
	connect          *unix.RawSockaddrUnix
	attribute        string // then addr is its name, and the path is at its own place
}

func operation(mode, op string, a args) request {
	q := request{fixed: mode == "fixed"}
	if mode == "async" {
		q.flags = sqeAsync
	}
	switch op {
	case "open":
		q.op, q.addr, q.length, q.extra = opOpenat, a.str(1), 0o644, uint32(flags(a.str(0)))
		if q.fixed {
			q.extra &^= unix.O_CLOEXEC
		}
	case "openat2":
		q.op, q.addr, q.how = opOpenat2, a.str(1), &unix.OpenHow{Flags: uint64(flags(a.str(0)))}
	case "rename", "link":
		q.op, q.addr, q.addr2, q.twoFolder = map[string]byte{"rename": opRename, "link": opLink}[op], a.str(0), a.str(1), true
	case "symlink":
		q.op, q.addr, q.addr2 = opSymlink, a.str(0), a.str(1)
	case "setxattr":
		q.op, q.attribute, q.addr, q.addr2, q.length = opSetxattr, a.str(0), a.str(1), "1", 1
	case "socket":
		q.op, q.socket = opSocket, &[3]int{a.num(0), a.num(1), a.num(2)}
	case "connect":
		q.op, q.file, q.connect = opConnect, socket(a.str(0)), rawAddress(a.str(1))
	case "unlink":
		q.op, q.addr = opUnlink, a.str(0)
	case "mkdir":
		q.op, q.addr, q.length = opMkdir, a.str(0), 0o755
	default:
		cannot("no operation %q", op)
	}
	return q
}

// name keeps a path and returns its address.
func (r *ring) name(path string) uint64 {
	b := must1(unix.ByteSliceFromString(path))
	r.names = append(r.names, b)
	return uint64(uintptr(unsafe.Pointer(&b[0])))
}

// do submits one request and waits for its end.
func (r *ring) do(q request) error {
	res, errno := r.submit(q)
	if errno != 0 {
		must(errno)
	}
	if res < 0 {
		return syscall.Errno(-res)
	}
	return nil
}

// submit is do, but for what becomes of the result. A ring may be used again.
func (r *ring) submit(q request) (int32, syscall.Errno) {
	ne := binary.NativeEndian
	cwd := int32(unix.AT_FDCWD)
	sqe := r.sqes[:64]
	clear(sqe)
	sqe[0], sqe[1] = q.op, q.flags
	ne.PutUint32(sqe[4:], uint32(cwd))
	ne.PutUint64(sqe[16:], r.name(q.addr))
	ne.PutUint32(sqe[24:], q.length)
	ne.PutUint32(sqe[28:], q.extra)
	ne.PutUint64(sqe[32:], 1)
	if q.addr2 != "" {
		ne.PutUint64(sqe[8:], r.name(q.addr2))
	}
	if q.twoFolder {
		ne.PutUint32(sqe[24:], uint32(cwd))
	}
	if q.how != nil {
		ne.PutUint64(sqe[8:], uint64(uintptr(unsafe.Pointer(q.how))))
		ne.PutUint32(sqe[24:], uint32(unsafe.Sizeof(*q.how)))
	}
	if q.attribute != "" {
		ne.PutUint64(sqe[48:], r.name(q.addr))
		ne.PutUint64(sqe[16:], r.name(q.attribute))
		ne.PutUint64(sqe[32:], 0)
	}
	if q.socket != nil {
		ne.PutUint32(sqe[4:], uint32(q.socket[0]))
		ne.PutUint64(sqe[8:], uint64(q.socket[1]))
		ne.PutUint64(sqe[16:], 0)
		ne.PutUint32(sqe[24:], uint32(q.socket[2]))
	}
	if q.fixed {
		ne.PutUint32(sqe[44:], 1)
	}
	if q.file > 0 {
		clear(sqe[8:])
		ne.PutUint32(sqe[4:], uint32(q.file))
	}
	if q.connect != nil {
		ne.PutUint64(sqe[8:], uint64(unsafe.Sizeof(*q.connect)))
		ne.PutUint64(sqe[16:], uint64(uintptr(unsafe.Pointer(q.connect))))
	}
	tail, done := atomic.LoadUint32(r.word(r.p.sq.tail)), atomic.LoadUint32(r.word(r.p.cq.tail))
	*r.word(r.p.sq.array + tail%r.p.sqEntries*4) = 0
	atomic.StoreUint32(r.word(r.p.sq.tail), tail+1)
	for atomic.LoadUint32(r.word(r.p.cq.tail)) == done {
		if _, _, errno := unix.Syscall6(sysEnter, uintptr(r.fd), 1, 1, enterGet|enterWake, 0, 0); errno != 0 && errno != unix.EINTR {
			return 0, errno
		}
	}
	res := int32(ne.Uint32(r.mem[r.p.cq.cqes+done%r.p.cqEntries*16+8:]))
	atomic.StoreUint32(r.word(r.p.cq.head), done+1)
	r.names = r.names[:0]
	runtime.KeepAlive(q)
	runtime.KeepAlive(r)
	return res, 0
}
