package probes

import (
	"errors"
	"io"
	"maps"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

func init() { maps.Copy(table, network) }

// network are sockets of other families than unix's.
var network = map[string]probe{
	// socket FAMILY TYPE PROTOCOL
	"socket": func(a args) error {
		_, err := unix.Socket(a.num(0), a.num(1)|unix.SOCK_CLOEXEC, a.num(2))
		return err
	},
	// refusal ERRNO PROBE...: that the probe ends so
	"refusal": func(a args) error {
		if err := run(a.rest(1)); err != syscall.Errno(a.num(0)) {
			cannot("it ends with %v", err)
		}
		return nil
	},
	// socketpair FAMILY TYPE PROTOCOL
	"socketpair": func(a args) error {
		_, err := unix.Socketpair(a.num(0), a.num(1)|unix.SOCK_CLOEXEC, a.num(2))
		return err
	},
	// message PROTOCOL GROUPS PORT: a netlink message from a new socket
	"message": func(a args) error {
		fd := must1(unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, a.num(0)))
		return unix.Sendto(fd, forged, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: uint32(a.num(1)), Pid: uint32(a.num(2))})
	},
	// messagefd FD: where it is connected to
	"messagefd": func(a args) error {
		_, err := unix.Write(a.num(0), forged)
		return err
	},
	// uevents: waits for one, after the gate
	"uevents": func(args) error {
		fd := must1(unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT))
		must(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}))
		if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
			return err
		}
		pass()
		_, _, err := unix.Recvfrom(fd, make([]byte, 4096), 0)
		return err
	},
	// interfaces: and their addresses, by netlink
	"interfaces": func(args) error {
		list, err := net.Interfaces()
		for i := range list {
			if _, err := list[i].Addrs(); err != nil {
				return unwrap(err)
			}
		}
		if err == nil && len(list) == 0 {
			cannot("no interface")
		}
		return unwrap(err)
	},
	// stream HOST, datagram HOST: to oneself, without Go's package net
	"stream":   func(a args) error { return toSelf(net.ParseIP(a.str(0)), unix.SOCK_STREAM) },
	"datagram": func(a args) error { return toSelf(net.ParseIP(a.str(0)), unix.SOCK_DGRAM) },
	// golisten HOST: the same by Go's package net, which tries MPTCP first
	"golisten": func(a args) error {
		l, err := net.Listen("tcp", net.JoinHostPort(a.str(0), "0"))
		if err != nil {
			return unwrap(err)
		}
		out, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return unwrap(err)
		}
		must1(out.Write([]byte("x")))
		_, err = io.ReadFull(must1(l.Accept()), make([]byte, 1))
		return err
	},
	// ulp NAME: another protocol on top of TCP
	"ulp": func(a args) error {
		fd := must1(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
		return unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_ULP, a.str(0))
	},
	// encapsulate: another protocol on top of UDP
	"encapsulate": func(args) error {
		const udpEncap, espInUDP = 100, 2
		fd := must1(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))
		return unix.SetsockoptInt(fd, unix.IPPROTO_UDP, udpEncap, espInUDP)
	},
}

// forged looks like an event of the kernel's; for other protocols it has no
// meaning.
var forged = []byte("change@/devices/virtual/forged\x00ACTION=change\x00SUBSYSTEM=forged\x00DEVPATH=/devices/virtual/forged\x00SEQNUM=1\x00")

func unwrap(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// toSelf sends a byte to a socket of its own.
func toSelf(host net.IP, kind int) error {
	family, to := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: [16]byte(host.To16())})
	if four := host.To4(); four != nil {
		family, to = unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte(four)}
	}
	in, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	must(unix.SetNonblock(in, false))
	must(unix.Bind(in, to))
	if kind == unix.SOCK_STREAM {
		must(unix.Listen(in, 1))
	}
	out := must1(unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0))
	if err := unix.Connect(out, must1(unix.Getsockname(in))); err != nil {
		return err
	}
	must1(unix.Write(out, []byte("x")))
	if kind == unix.SOCK_STREAM {
		in, _, err = unix.Accept(in)
		must(err)
	}
	_, err = unix.Read(in, make([]byte, 1))
	return err
}
