package abi

import (
	"maps"
	"slices"
	"strings"
)

// Socket is a kind of sockets that confined tasks lack, unless it is granted to
// their workload: bit N of Grants.Sockets is kind N.
type Socket uint8

// Twin: enum socket_kind in bpf/kern/abi.h. The first two are never granted.
const (
	SocketFree Socket = iota
	SocketOther
	SocketPacket
	SocketRaw
	SocketMPTCP
	SocketSCTP
	SocketDCCP
	SocketUDPLite
	SocketL2TP
	SocketSMC
	SocketKey
	SocketRDS
	SocketIB
	SocketCAN
	SocketTIPC
	SocketBluetooth
	SocketALG
	SocketVSOCK
	SocketKCM
	SocketQIPCRTR
	SocketXDP
	SocketTCPULP
	SocketUDPEncap
	SocketNetlink Socket = 32 // and the number of its protocol
)

var socketNames = map[string]Socket{
	"packet":            SocketPacket,
	"raw":               SocketRaw,
	"mptcp":             SocketMPTCP,
	"sctp":              SocketSCTP,
	"dccp":              SocketDCCP,
	"udplite":           SocketUDPLite,
	"l2tp":              SocketL2TP,
	"smc":               SocketSMC,
	"key":               SocketKey,
	"rds":               SocketRDS,
	"ib":                SocketIB,
	"can":               SocketCAN,
	"tipc":              SocketTIPC,
	"bluetooth":         SocketBluetooth,
	"alg":               SocketALG,
	"vsock":             SocketVSOCK,
	"kcm":               SocketKCM,
	"qipcrtr":           SocketQIPCRTR,
	"xdp":               SocketXDP,
	"tcp-ulp":           SocketTCPULP,
	"udp-encap":         SocketUDPEncap,
	"netlink-user":      SocketNetlink + 2, // NETLINK_USERSOCK
	"netlink-diag":      SocketNetlink + 4, // NETLINK_SOCK_DIAG
	"netlink-xfrm":      SocketNetlink + 6,
	"netlink-selinux":   SocketNetlink + 7,
	"netlink-iscsi":     SocketNetlink + 8,
	"netlink-audit":     SocketNetlink + 9,
	"netlink-fib":       SocketNetlink + 10, // NETLINK_FIB_LOOKUP
	"netlink-connector": SocketNetlink + 11,
	"netlink-netfilter": SocketNetlink + 12,
	"netlink-uevent":    SocketNetlink + 15, // sending: everybody may receive
	"netlink-generic":   SocketNetlink + 16,
	"netlink-scsi":      SocketNetlink + 18, // NETLINK_SCSITRANSPORT
	"netlink-rdma":      SocketNetlink + 20,
	"netlink-crypto":    SocketNetlink + 21,
	"netlink-smc":       SocketNetlink + 22,
}

// SocketNames lists the kinds that can be granted.
func SocketNames() []string { return slices.Sorted(maps.Keys(socketNames)) }

// ParseSocket returns the kind of a name, which may have capital letters.
func ParseSocket(name string) (Socket, bool) {
	s, ok := socketNames[strings.ToLower(name)]
	return s, ok
}

// Grantable reports whether a workload can be granted the kind.
func (s Socket) Grantable() bool {
	_, ok := s.name()
	return ok
}

// name returns the name by which the kind is granted.
func (s Socket) name() (string, bool) {
	for name, of := range socketNames {
		if of == s {
			return name, true
		}
	}
	return "", false
}

// Mask is the kind's bit in Grants.Sockets.
func (s Socket) Mask() uint64 { return 1 << s }

// String returns the kind's name.
func (s Socket) String() string {
	if name, ok := s.name(); ok {
		return name
	}
	switch s {
	case SocketFree:
		return "free"
	case SocketNetlink:
		return "netlink-route to other processes"
	}
	return "other"
}
