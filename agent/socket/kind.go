package socket

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// kind is what one dump asks for.
type kind struct {
	family   uint8
	protocol string   // "" where each socket says its own
	names    []string // in /proc/net/protocols
	module   string   // of the kernel, which lists them
	request  []byte
	decode   func(msg []byte, s *Socket) error
}

// Protocols of the IP families, as Socket tells them.
const (
	tcp     = "tcp"
	udp     = "udp"
	udplite = "udplite"
)

// States as bits of a request: man 7 sock_diag, include/net/tcp_states.h.
const (
	allStates = ^uint32(0)
	// liveStates leaves out TIME_WAIT, CLOSE and, since Linux 6.8, what is only bound.
	liveStates = allStates &^ (1<<6 | 1<<7 | 1<<13)
)

// kinds is all that is asked for. Other protocols are known by their count alone.
var kinds = allKinds()

func allKinds() []kind {
	var list []kind
	for _, p := range []struct {
		protocol string
		number   int
		states   uint32
		name4    string
		name6    string
		module   string
	}{
		{tcp, unix.IPPROTO_TCP, liveStates, "TCP", "TCPv6", moduleTCP},
		{udp, unix.IPPROTO_UDP, allStates, "UDP", "UDPv6", "udp_diag"},
		{udplite, unix.IPPROTO_UDPLITE, allStates, "UDP-Lite", "UDPLITEv6", "udp_diag"},
		{"raw", unix.IPPROTO_RAW, allStates, "RAW", "RAWv6", "raw_diag"},
		{"sctp", unix.IPPROTO_SCTP, allStates, "SCTP", "SCTPv6", "sctp_diag"},
		{"dccp", unix.IPPROTO_DCCP, liveStates, "DCCP", "DCCPv6", "dccp_diag"},
		{"mptcp", unix.IPPROTO_MPTCP, liveStates, "MPTCP", "MPTCPv6", "mptcp_diag"},
	} {
		list = append(list,
			kind{unix.AF_INET, p.protocol, []string{p.name4}, p.module, inetDump(unix.AF_INET, p.number, p.states), decodeInet},
			kind{unix.AF_INET6, p.protocol, []string{p.name6}, p.module, inetDump(unix.AF_INET6, p.number, p.states), decodeInet})
	}
	return append(list,
		kind{family: unix.AF_UNIX, names: []string{"UNIX", "UNIX-STREAM"}, module: "unix_diag", decode: decodeUnix,
			request: localDump(unix.AF_UNIX, 0, allStates, 0, showUnix)},
		kind{family: unix.AF_PACKET, names: []string{"PACKET"}, module: "af_packet_diag", decode: decodePacket,
			request: localDump(unix.AF_PACKET, 0, 0, showInfo)},
		kind{family: unix.AF_NETLINK, names: []string{"NETLINK"}, module: "netlink_diag", decode: decodeNetlink,
			request: localDump(unix.AF_NETLINK, everyNetlink, 0, 0)},
		kind{family: unix.AF_VSOCK, names: []string{"AF_VSOCK"}, module: "vsock_diag", decode: decodeVsock,
			request: localDump(unix.AF_VSOCK, 0, allStates, 0, 0)},
		kind{family: unix.AF_XDP, names: []string{"XDP"}, module: "xsk_diag", decode: decodeXDP,
			request: localDump(unix.AF_XDP, 0, 0, showInfo)},
	)
}

// moduleTCP is the one without which no connection can be cut.
const moduleTCP = "tcp_diag"

// moduleOf is that which lists the sockets of a protocol; "" if none is known.
func moduleOf(protocol string) string {
	i := slices.IndexFunc(kinds, func(k kind) bool { return slices.Contains(k.names, protocol) })
	if i < 0 {
		return ""
	}
	return kinds[i].module
}

// localDump encodes a request of the families beside IP: family, protocol, the numbers
// that the family wants, and a cookie that no dump looks at.
func localDump(family, protocol uint8, numbers ...uint32) []byte {
	b := []byte{family, protocol, 0, 0}
	for _, n := range append(numbers, 0, 0) {
		b = binary.NativeEndian.AppendUint32(b, n)
	}
	return b
}

var families = map[uint8]string{
	unix.AF_INET: "ipv4", unix.AF_INET6: "ipv6", unix.AF_UNIX: "unix", unix.AF_PACKET: "packet",
	unix.AF_NETLINK: "netlink", unix.AF_VSOCK: "vsock", unix.AF_XDP: "xdp",
}

// States that code looks at.
const (
	stateSynRecv     = "SYN_RECV"
	stateFinWait2    = "FIN_WAIT2"
	stateListen      = "LISTEN"
	stateUnconnected = "UNCONNECTED"
)

// states are those of TCP, by the kernel's number, which other protocols borrow.
var states = []string{
	1: "ESTABLISHED", 2: "SYN_SENT", 3: stateSynRecv, 4: "FIN_WAIT1", 5: stateFinWait2,
	6: "TIME_WAIT", 7: stateUnconnected, 8: "CLOSE_WAIT", 9: "LAST_ACK", 10: stateListen, 11: "CLOSING",
}

func state(number uint8) string {
	if int(number) < len(states) {
		return states[number]
	}
	return ""
}
