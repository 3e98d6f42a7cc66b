package probes

import (
	"strings"

	"golang.org/x/sys/unix"
)

// descriptors come from other processes.
var descriptors = map[string]probe{
	// receive FD PROBE...: one descriptor, by SCM_RIGHTS on a socket; then the
	// probe with it in place of "%". The kernel hides why none came: EBADF
	// stands for that.
	"receive": func(a args) error {
		fd, err := receive(a.num(0))
		if err != nil {
			return err
		}
		return with(fd, a.rest(1))
	},
	// fstatfd FD: uses the descriptor
	"fstatfd": func(a args) error {
		var st unix.Stat_t
		return unix.Fstat(a.num(0), &st)
	},
	// writefd FD
	"writefd": func(a args) error {
		_, err := unix.Write(a.num(0), []byte("x"))
		return err
	},
}

func receive(socket int) (int, error) {
	control := make([]byte, unix.CmsgSpace(4))
	_, n, flags, _, err := unix.Recvmsg(socket, make([]byte, 1), control, unix.MSG_CMSG_CLOEXEC)
	must(err)
	messages := must1(unix.ParseSocketControlMessage(control[:n]))
	if len(messages) == 0 {
		if flags&unix.MSG_CTRUNC == 0 {
			cannot("a message without a descriptor")
		}
		return -1, unix.EBADF
	}
	fds := must1(unix.ParseUnixRights(&messages[0]))
	if len(fds) == 0 {
		return -1, unix.EBADF
	}
	return fds[0], nil
}

// sockets are unix sockets. KIND is stream, seqpacket or dgram; ADDRESS is a
// path, or "abstract:" and a name.
var sockets = map[string]probe{
	// connect KIND ADDRESS
	"connect": func(a args) error { return unix.Connect(socket(a.str(0)), address(a.str(1))) },
	// sendto ADDRESS: from a new socket
	"sendto": func(a args) error { return unix.Sendto(socket("dgram"), []byte("x"), 0, address(a.str(0))) },
	// sendmsg ADDRESS: with its address in the message
	"sendmsg": func(a args) error { return unix.Sendmsg(socket("dgram"), []byte("x"), nil, address(a.str(0)), 0) },
	// serve KIND ADDRESS PROBE...: with a socket that listens
	"serve": func(a args) error {
		fd := socket(a.str(0))
		must(unix.Bind(fd, address(a.str(1))))
		if a.str(0) != "dgram" {
			must(unix.Listen(fd, 16))
		}
		return run(a.rest(2))
	},
	// pair KIND: sends to itself
	"pair": func(a args) error {
		fds := must1(unix.Socketpair(unix.AF_UNIX, kinds[a.str(0)]|unix.SOCK_CLOEXEC, 0))
		_, err := unix.Write(fds[0], []byte("x"))
		return err
	},
}

var kinds = map[string]int{"stream": unix.SOCK_STREAM, "seqpacket": unix.SOCK_SEQPACKET, "dgram": unix.SOCK_DGRAM}

func socket(kind string) int {
	return must1(unix.Socket(unix.AF_UNIX, kinds[kind]|unix.SOCK_CLOEXEC, 0))
}

// rawAddress is that of a path, as the kernel takes it.
func rawAddress(path string) *unix.RawSockaddrUnix {
	a := &unix.RawSockaddrUnix{Family: unix.AF_UNIX}
	for i := range len(path) {
		a.Path[i] = int8(path[i])
	}
	return a
}

func address(s string) unix.Sockaddr {
	if name, abstract := strings.CutPrefix(s, "abstract:"); abstract {
		return &unix.SockaddrUnix{Name: "@" + name}
	}
	return &unix.SockaddrUnix{Name: s}
}
