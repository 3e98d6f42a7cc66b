package probes

import (
	"encoding/binary"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// chains are requests of io_uring that wait for a pipe in a chain. They go on in the
// thread itself, under the credentials that it had when it submitted them.
var chains = map[string]probe{
	// chainedlink: sets the loopback up, after the credentials were exchanged for
	// equal ones
	"chainedlink": func(args) error {
		fd := must1(unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE))
		message := linkUp()
		iov := unix.Iovec{Base: &message[0], Len: uint64(len(message))}
		to := unix.RawSockaddrNetlink{Family: unix.AF_NETLINK}
		header := unix.Msghdr{Name: (*byte)(unsafe.Pointer(&to)), Namelen: unix.SizeofSockaddrNetlink, Iov: &iov, Iovlen: 1}
		var pinned runtime.Pinner
		defer pinned.Unpin()
		for _, p := range []any{&message[0], &iov, &to, &header} {
			pinned.Pin(p)
		}
		res := chained(sending(fd, &header), renewCredentials)
		if res < 0 {
			return syscall.Errno(-res)
		}
		answer := make([]byte, 256)
		must1(unix.Read(fd, answer))
		if e := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); e != 0 {
			return syscall.Errno(-e)
		}
		return nil
	},
	// chainedid PID PATH: a message that claims another's number is sent as this
	// thread's setxattr ends, which wakes the chain
	"chainedid": func(a args) error {
		fds := must1(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
		watch := must1(unix.InotifyInit1(unix.IN_CLOEXEC))
		must1(unix.InotifyAddWatch(watch, a.str(1), unix.IN_ATTRIB))
		claim := unix.UnixCredentials(&unix.Ucred{Pid: int32(a.num(0))})
		text := []byte("x")
		iov := unix.Iovec{Base: &text[0], Len: 1}
		header := unix.Msghdr{Iov: &iov, Iovlen: 1, Control: &claim[0], Controllen: uint64(len(claim))}
		var pinned runtime.Pinner
		defer pinned.Unpin()
		for _, p := range []any{&text[0], &iov, &claim[0], &header} {
			pinned.Pin(p)
		}
		res := chainedOn(watch, sending(fds[0], &header), func() { must(unix.Setxattr(a.str(1), "system.posix_acl_access", acl(), 0)) })
		if res < 0 {
			return syscall.Errno(-res)
		}
		return nil
	},
	// ringed PROBE...: by a thread that has a ring
	"ringed": func(a args) error {
		runtime.LockOSThread()
		var r ring
		r.setup(false)
		must(r.do(request{op: opNop}))
		return run(a)
	},
	// chainedopen PATH: for reading, submitted by root, and by user 1000 by now
	"chainedopen": func(a args) error {
		path := must1(unix.ByteSliceFromString(a.str(0)))
		must(unix.Access(a.str(0), unix.F_OK)) // so that the kernel finds the name without waiting
		var pinned runtime.Pinner
		defer pinned.Unpin()
		pinned.Pin(&path[0])
		cwd := int32(unix.AT_FDCWD)
		res := chained(func(sqe []byte) {
			sqe[0] = opOpenat
			binary.NativeEndian.PutUint32(sqe[4:], uint32(cwd))
			binary.NativeEndian.PutUint64(sqe[16:], uint64(uintptr(unsafe.Pointer(&path[0]))))
		}, func() {
			if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 1000, 1000, 1000); errno != 0 {
				must(errno)
			}
		})
		if res < 0 {
			return syscall.Errno(-res)
		}
		return nil
	},
}

const opNop, opPollAdd, opSendmsg = 0, 6, 9

// sending fills in a request to send a message, which the caller has pinned.
func sending(fd int, header *unix.Msghdr) func(sqe []byte) {
	return func(sqe []byte) {
		sqe[0] = opSendmsg
		binary.NativeEndian.PutUint32(sqe[4:], uint32(fd))
		binary.NativeEndian.PutUint64(sqe[16:], uint64(uintptr(unsafe.Pointer(header))))
		binary.NativeEndian.PutUint32(sqe[24:], 1)
	}
}

// linkUp is the message that sets the loopback up.
func linkUp() []byte {
	const size = unix.SizeofNlMsghdr + unix.SizeofIfInfomsg
	m, ne := make([]byte, size), binary.NativeEndian
	ne.PutUint32(m, size)
	ne.PutUint16(m[4:], unix.RTM_NEWLINK)
	ne.PutUint16(m[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	info := m[unix.SizeofNlMsghdr:]
	ne.PutUint32(info[4:], 1) // the loopback's index
	ne.PutUint32(info[8:], unix.IFF_UP)
	ne.PutUint32(info[12:], unix.IFF_UP)
	return m
}

// renewCredentials takes the same capabilities again: the credentials are others.
func renewCredentials() {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	must(unix.Capget(&header, &data[0]))
	must(unix.Capset(&header, &data[0]))
}

// chained submits a request behind one that waits for a pipe, and that behind one of
// a worker; lets between change the thread; fills the pipe, and returns the result.
func chained(fill func(sqe []byte), between func()) int32 {
	var pipe [2]int
	must(unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	return chainedOn(pipe[0], fill, func() {
		between()
		must1(unix.Write(pipe[1], []byte("x")))
	})
}

// chainedOn is chained for another file to wait for, which wake makes readable.
func chainedOn(fd int, fill func(sqe []byte), wake func()) int32 {
	runtime.LockOSThread() // and never unlock: the thread ends with its credentials
	const link, last = 1 << 2, 3
	var r ring
	r.setup(false)
	ne := binary.NativeEndian
	for i := range uint32(last) {
		sqe := r.sqes[i*64:][:64]
		clear(sqe)
		switch i {
		case 0:
			sqe[0], sqe[1] = opNop, link|sqeAsync
		case 1:
			sqe[0], sqe[1] = opPollAdd, link
			ne.PutUint32(sqe[4:], uint32(fd))
			ne.PutUint32(sqe[28:], unix.POLLIN)
		default:
			fill(sqe)
		}
		ne.PutUint64(sqe[32:], uint64(i+1))
		*r.word(r.p.sq.array + i*4) = i
	}
	atomic.AddUint32(r.word(r.p.sq.tail), last)
	if n, _, errno := unix.Syscall6(sysEnter, uintptr(r.fd), last, 0, 0, 0, 0); errno != 0 || n != last {
		cannot("submitted %d of %d: %v", n, last, errno)
	}
	r.result(1)
	time.Sleep(100 * time.Millisecond)
	for range 10 { // the next one is begun as a call of this thread ends
		unix.Getppid()
		time.Sleep(10 * time.Millisecond)
	}
	wake()
	return r.result(last)
}

// result waits for the end of a request, which calls of this thread bring about.
func (r *ring) result(number uint64) int32 {
	for range 500 {
		for i := range min(atomic.LoadUint32(r.word(r.p.cq.tail)), ringSize) {
			cqe := r.mem[r.p.cq.cqes+i*16:][:16]
			if binary.NativeEndian.Uint64(cqe) == number {
				return int32(binary.NativeEndian.Uint32(cqe[8:]))
			}
		}
		ts := unix.NsecToTimespec(int64(10 * time.Millisecond))
		unix.Nanosleep(&ts, nil)
	}
	cannot("request %d does not end", number)
	return 0
}
