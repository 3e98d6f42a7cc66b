package vmtest

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/vmtest/probes"
)

const (
	eafnosupport    = unix.EAFNOSUPPORT
	eprotonosupport = unix.EPROTONOSUPPORT
)

// kindOfSocket is one that confined tasks lack.
type kindOfSocket struct {
	name  string // what grants it, "" for nothing
	what  string
	call  []string // its family, type and protocol
	errno syscall.Errno
	built bool // in every kernel: root may have it
}

// socketTable has what is refused, a line a kind.
var socketTable = []kindOfSocket{
	{"packet", "packets", words("17", "3", "0"), eperm, true},
	{"packet", "packets as of old", words("2", "10", "0"), eperm, true}, // SOCK_PACKET
	{"raw", "raw IPv4", words("2", "3", "255"), eperm, true},
	{"raw", "raw IPv6", words("10", "3", "58"), eperm, true},
	{"mptcp", "MPTCP", words("2", "1", "262"), eprotonosupport, true},
	{"sctp", "SCTP", words("2", "1", "132"), eprotonosupport, false},
	{"sctp", "SCTP of packets", words("10", "5", "132"), eprotonosupport, false},
	{"dccp", "DCCP", words("2", "6", "33"), eprotonosupport, false},
	{"udplite", "UDP-Lite", words("2", "2", "136"), eprotonosupport, false},
	{"l2tp", "L2TP", words("2", "2", "115"), eprotonosupport, false},
	{"smc", "SMC", words("43", "1", "0"), eafnosupport, false},
	{"smc", "SMC over IPv4", words("2", "1", "256"), eprotonosupport, false},
	{"xdp", "XDP", words("44", "3", "0"), eafnosupport, true},
	{"alg", "AF_ALG", words("38", "5", "0"), eafnosupport, false},
	{"vsock", "AF_VSOCK", words("40", "1", "0"), eafnosupport, false},
	{"key", "AF_KEY", words("15", "3", "2"), eafnosupport, false},
	{"bluetooth", "bluetooth", words("31", "3", "1"), eafnosupport, false},
	{"can", "CAN", words("29", "3", "1"), eafnosupport, false},
	{"tipc", "TIPC", words("30", "2", "0"), eafnosupport, false},
	{"rds", "RDS", words("21", "5", "0"), eafnosupport, false},
	{"ib", "InfiniBand", words("27", "1", "0"), eafnosupport, false},
	{"kcm", "KCM", words("41", "2", "0"), eafnosupport, false},
	{"qipcrtr", "QIPCRTR", words("42", "2", "0"), eafnosupport, false},
	{"netlink-audit", "audit", words("16", "3", "9"), eprotonosupport, true},
	{"netlink-generic", "generic netlink", words("16", "3", "16"), eprotonosupport, true},
	{"netlink-diag", "diagnosis of sockets", words("16", "3", "4"), eprotonosupport, true},
	{"netlink-netfilter", "netfilter", words("16", "3", "12"), eprotonosupport, false},
	{"netlink-xfrm", "xfrm", words("16", "3", "6"), eprotonosupport, false},
	{"netlink-connector", "process events", words("16", "2", "11"), eprotonosupport, false},
	{"netlink-user", "netlink between users", words("16", "3", "2"), eprotonosupport, true},
	{"", "unknown netlink protocol", words("16", "3", "31"), eprotonosupport, false},
	{"", "unknown protocol of IPv4", words("2", "1", "99"), eprotonosupport, false},
	{"", "phonet", words("35", "2", "0"), eafnosupport, false},
	{"", "a family without a meaning", words("28", "2", "0"), eafnosupport, false},
}

// natural tells how the kernel itself answers a task that nothing confines.
func (b *border) natural(argv []string) syscall.Errno {
	b.t.Helper()
	a := b.loose(0, nil, argv)
	if a.code == probes.CannotTry && a.errno != unix.ENOSYS {
		b.t.Errorf("unconfined task: %v", a)
	}
	return a.errno
}

// sockets makes crossings of the table: by a probe's words, as root and as a user.
func (b *border) sockets(list []kindOfSocket, how ...string) []crossing {
	b.t.Helper()
	var cases []crossing
	for _, k := range list {
		argv := append(append(words(), how...), k.call...)
		c := crossing{name: k.what + " by " + strings.Join(how, " ") + " is denied", free: argv, freed: b.natural(argv), probe: argv, errno: k.errno}
		if k.built && how[0] != "as" && how[0] != "socketpair" && c.freed != 0 {
			b.t.Errorf("%s: the kernel has it built in, and answers %v", k.what, c.freed)
		}
		cases = append(cases, c)
	}
	return cases
}

// TestBoundaryKinds makes sockets of every kind that is not permitted: the kernel
// itself answers root for most, and refuses some to users. Policy permits
// everything.
func TestBoundaryKinds(t *testing.T) {
	b := newBorder(t, everything)
	b.cross(forbidden(abi.BoundaryNetwork, b.sockets(socketTable, "socket"))...)
	b.step("denial names the kind", isDenied, func() {
		for _, k := range socketTable {
			kind, ok := abi.ParseSocket(k.name)
			if !ok {
				kind = abi.SocketOther
			}
			a := b.launch(k.errno, nil, append(words("socket"), k.call...))
			b.drain(b.t)
			for _, e := range b.pending[b.id] {
				if k.name != "" && abi.Socket(e.Device) != kind || e.Inode != 0 {
					b.t.Errorf("%s: the event names %s, want %s", k.what, abi.Socket(e.Device), kind)
				}
			}
			b.expectRefused(a, denial{}, abi.BoundaryNetwork)
		}
	})
}

// TestBoundaryKindsElsewhere makes them as an ordinary user, in pairs and by
// io_uring.
func TestBoundaryKindsElsewhere(t *testing.T) {
	b := newBorder(t, everything)
	var cases []crossing
	var some []kindOfSocket
	for _, k := range socketTable {
		if k.built || k.name == "alg" || k.name == "" {
			some = append(some, k)
		}
	}
	cases = append(cases, b.sockets(some, "as", "1000", "1000", "socket")...)
	cases = append(cases, b.sockets(some[:4], "socketpair")...)
	for _, mode := range []string{"inline", "async", "sqpoll"} {
		cases = append(cases, b.sockets(some[:5], "uring", mode, "socket")...)
	}
	b.cross(forbidden(abi.BoundaryNetwork, cases)...)
	b.cross(
		crossing{name: "TCP by io_uring is allowed", probe: words("uring", "inline", "socket", "2", "1", "0"), again: true},
		crossing{name: "family that no kernel has is the kernel's to refuse", free: words("socket", "60", "1", "0"), freed: eafnosupport, probe: words("refusal", "97", "socket", "60", "1", "0")},
	)
}

// TestBoundaryKindsAllowed uses the sockets that everybody has.
func TestBoundaryKindsAllowed(t *testing.T) {
	b := newBorder(t, everything)
	b.loopback()
	var cases []crossing
	for _, who := range [][]string{nil, {"as", "1000", "1000"}} {
		for _, argv := range [][]string{{"stream", "127.0.0.1"}, {"stream", "::1"}, {"datagram", "127.0.0.1"}, {"datagram", "::1"}, {"interfaces"}, {"pair", "stream"}, {"pair", "seqpacket"}, {"pair", "dgram"},
			{"socket", "2", "2", "1"}, {"socket", "10", "2", "58"}, {"socket", "1", "3", "0"}, {"socket", "2", "1", "6"}, {"socket", "10", "2", "17"}, {"socket", "16", "2", "0"}} {
			argv = append(append(words(), who...), argv...)
			cases = append(cases, crossing{name: strings.Join(argv, " ") + " is allowed", free: argv, probe: argv})
		}
	}
	b.cross(cases...)
	b.step("listener of Go falls back to TCP", isDenied, func() {
		b.expectAllowed(b.loose(0, nil, words("golisten", "127.0.0.1")))
		a := b.launch(0, nil, words("golisten", "127.0.0.1"))
		b.expectBoundary(abi.BoundaryNetwork)
		b.expectAudited(a, denial{reason: abi.ReasonBoundary})
	})
}

// loopback brings the interface up, and lets every group have ping sockets.
func (b *border) loopback() {
	b.t.Helper()
	fd := must1(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))(b.t)
	defer unix.Close(fd)
	req := must1(unix.NewIfreq("lo"))(b.t)
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	must(b.t, unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req))
	must(b.t, os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 2147483647"), 0))
}

// TestBoundaryGrantedKinds grants one kind after the other: that kind alone is
// then allowed.
func TestBoundaryGrantedKinds(t *testing.T) {
	b := newBorder(t, everything)
	chosen := []string{"packet", "raw", "mptcp", "netlink-generic", "netlink-audit"}
	raw := must1(abi.ParseCapability("NET_RAW"))(t)
	for _, granted := range chosen {
		kind, _ := abi.ParseSocket(granted)
		must(t, b.Grant(b.id, abi.Grants{Caps: raw, Sockets: kind.Mask()}))
		var allowed []crossing
		var refused []kindOfSocket
		for _, k := range socketTable {
			switch {
			case k.name == granted:
				argv := append(words("socket"), k.call...)
				allowed = append(allowed, crossing{name: fmt.Sprintf("with %s, %s is allowed", granted, k.what), probe: argv, again: true})
			case k.built:
				k.what = "with " + granted + ", " + k.what
				refused = append(refused, k)
			}
		}
		b.cross(append(forbidden(abi.BoundaryNetwork, b.sockets(refused, "socket")), allowed...)...)
	}
	must(t, b.Grant(b.id, abi.Grants{Sockets: ^uint64(0)}))
	other := []kindOfSocket{{"", "with everything, what has no name", words("35", "2", "0"), eafnosupport, false}}
	b.cross(forbidden(abi.BoundaryNetwork, b.sockets(other, "socket"))...)
	must(t, b.Grant(b.id, abi.Grants{}))
	b.cross(forbidden(abi.BoundaryNetwork, b.sockets([]kindOfSocket{socketTable[0]}, "socket"))...)
}

// netlink makes a socket of the test's own: a receiver of groups, or one that is
// connected to a port.
func (b *border) netlink(protocol int, groups, port uint32) *os.File {
	b.t.Helper()
	fd := must1(unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol))(b.t)
	f := os.NewFile(uintptr(fd), "netlink")
	b.t.Cleanup(func() { f.Close() })
	must(b.t, unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}))
	if port != 0 {
		must(b.t, unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: port}))
	}
	return f
}

// heard returns what waits at a socket of netlink.
func (b *border) heard(f *os.File) string {
	b.t.Helper()
	text := make([]byte, 4096)
	n, _, err := unix.Recvfrom(int(f.Fd()), text, unix.MSG_DONTWAIT)
	if err == unix.EAGAIN {
		return ""
	}
	must(b.t, err)
	return string(text[:n])
}

// TestBoundaryNetlink sends messages to other processes: events in the kernel's
// name, and others. Policy permits everything.
func TestBoundaryNetlink(t *testing.T) {
	b := newBorder(t, everything)
	// Without it the kernel refuses to address others, before the hook is asked.
	admin := must1(abi.ParseCapability("NET_ADMIN"))(t)
	must(t, b.Grant(b.id, abi.Grants{Caps: admin}))
	receiver := b.netlink(unix.NETLINK_KOBJECT_UEVENT, 3, 0)
	route := b.netlink(unix.NETLINK_ROUTE, 1, 0)
	port := must1(unix.Getsockname(int(route.Fd())))(t).(*unix.SockaddrNetlink).Pid
	message := func(protocol, groups, port int) []string {
		return words("message", fmt.Sprint(protocol), fmt.Sprint(groups), fmt.Sprint(port))
	}
	one := func(name string, argv []string, files ...*os.File) crossing {
		return crossing{name: name + " is denied", free: argv, probe: argv, files: files}
	}
	const uevent = unix.NETLINK_KOBJECT_UEVENT
	b.cross(forbidden(abi.BoundaryNetwork, []crossing{
		one("event for udev", message(uevent, 2, 0)),
		one("event in the kernel's place", message(uevent, 1, 0)),
		one("event by way of the kernel", message(uevent, 0, 0)),
		one("event of a user by way of the kernel", append(words("as", "1000", "1000"), message(uevent, 0, 0)...)),
		one("message to listeners to routes", message(unix.NETLINK_ROUTE, 1, 0)),
		one("message by a socket connected to a process", words("messagefd", "3"), b.netlink(unix.NETLINK_ROUTE, 0, port)),
		one("message by an inherited socket of another kind", words("messagefd", "3"), b.netlink(unix.NETLINK_GENERIC, 0, 0)),
	})...)
	b.step("forged events reach a listener only from outside", isDenied, func() {
		for b.heard(receiver) != "" {
		}
		b.expectAllowed(b.loose(0, nil, message(uevent, 1, 0)))
		if text := b.heard(receiver); !strings.HasPrefix(text, "change@/devices/virtual/forged") {
			b.t.Errorf("from outside came %q", text)
		}
		b.expectRefused(b.launch(eperm, nil, message(uevent, 1, 0)), denial{}, abi.BoundaryNetwork)
		if text := b.heard(receiver); text != "" {
			b.t.Errorf("from inside came %q", text)
		}
	})
	b.step("events of the kernel are received", isAllowed, func() {
		a := b.start("", nil, 0, "uevents")
		a.ready()
		must(b.t, os.WriteFile("/sys/class/net/lo/uevent", []byte("change"), 0))
		a.pass()
		b.expectAllowed(a.wait())
	})
	must(t, b.Grant(b.id, abi.Grants{Caps: admin, Sockets: (abi.SocketNetlink + uevent).Mask()}))
	b.cross(crossing{name: "granted event for udev is allowed", probe: message(uevent, 2, 0), again: true})
}

// TestBoundaryReceivedKinds takes sockets that an outsider made.
func TestBoundaryReceivedKinds(t *testing.T) {
	b := newBorder(t, everything)
	b.loopback()
	get := words("receive", "3", "fstatfd", "%")
	gift := func(family, kind, protocol int) func() *os.File {
		return func() *os.File {
			b.t.Helper()
			return os.NewFile(uintptr(must1(unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol))(b.t)), "socket")
		}
	}
	refused := func(name string, family, kind, protocol int) crossing {
		return crossing{name: name + " is not received", gift: gift(family, kind, protocol), free: get, probe: get, errno: unix.EBADF}
	}
	b.cross(forbidden(abi.BoundaryNetwork, []crossing{
		refused("packet socket", unix.AF_PACKET, unix.SOCK_RAW, 0),
		refused("raw socket", unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP),
		refused("MPTCP socket", unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP),
		refused("socket of generic netlink", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC),
		refused("socket of XDP", unix.AF_XDP, unix.SOCK_RAW, 0),
	})...)
	b.cross(
		crossing{name: "TCP socket is received", gift: gift(unix.AF_INET, unix.SOCK_STREAM, 0), probe: get, again: true},
		crossing{name: "UDP socket is received", gift: gift(unix.AF_INET6, unix.SOCK_DGRAM, 0), probe: get, again: true},
		crossing{name: "ping socket is received", gift: gift(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP), probe: get, again: true},
		crossing{name: "socket of routes is received", gift: gift(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE), probe: get, again: true},
	)
	must(t, b.Grant(b.id, abi.Grants{Sockets: abi.SocketPacket.Mask()}))
	b.cross(crossing{name: "granted packet socket is received", gift: gift(unix.AF_PACKET, unix.SOCK_RAW, 0), probe: get, again: true})
}

// TestBoundaryUpperProtocols puts other protocols on top of TCP and UDP.
func TestBoundaryUpperProtocols(t *testing.T) {
	b := newBorder(t, everything)
	one := func(name string, argv ...string) crossing {
		return crossing{name: name + " is denied", free: argv, freed: b.natural(argv), probe: argv, errno: eprotonosupport}
	}
	cases := []crossing{one("TLS on top of TCP", "ulp", "tls"), one("SMC on top of TCP", "ulp", "smc"), one("encapsulation in UDP", "encapsulate")}
	if cases[2].freed != 0 {
		t.Errorf("encapsulation: the kernel answers %v", cases[2].freed)
	}
	b.cross(forbidden(abi.BoundaryNetwork, cases)...)
	must(t, b.Grant(b.id, abi.Grants{Sockets: abi.SocketUDPEncap.Mask()}))
	b.cross(crossing{name: "granted encapsulation in UDP is allowed", probe: words("encapsulate"), again: true})
}

// TestBoundaryModulesOfFamilies asks for families that the kernel would load a
// module for: the program that loads them notes what it is asked.
func TestBoundaryModulesOfFamilies(t *testing.T) {
	b := newBorder(t, everything)
	const loader = "/proc/sys/kernel/modprobe"
	old := must1(os.ReadFile(loader))(t)
	t.Cleanup(func() { os.WriteFile(loader, old, 0) })
	must(t, os.WriteFile(b.at("@/modprobe"), []byte("#!/bin/sh\necho \"$@\" >>"+b.at("@/asked")+"\n"), 0o755))
	must(t, os.WriteFile(loader, []byte(b.at("@/modprobe")), 0))
	asked := func() string {
		text, _ := os.ReadFile(b.at("@/asked"))
		os.Remove(b.at("@/asked"))
		return string(text)
	}
	b.step("module of a family is asked for outside only", isDenied, func() {
		argv := words("socket", "35", "2", "0")
		b.natural(argv)
		if text := asked(); !strings.Contains(text, "net-pf-35") {
			b.t.Errorf("for an unconfined task the kernel asked for %q", text)
		}
		b.expectRefused(b.launch(eafnosupport, nil, argv), denial{}, abi.BoundaryNetwork)
		if text := asked(); text != "" {
			b.t.Errorf("for a confined task the kernel asked for %q", text)
		}
	})
}
