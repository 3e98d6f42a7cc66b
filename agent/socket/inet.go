package socket

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The messages of inet_diag, include/uapi/linux/inet_diag.h: a request is 8 bytes and an
// identity; an answer is 4 bytes, an identity, five numbers, and attributes.
const (
	sizeIdentity = 48
	sizeInet     = 4 + sizeIdentity + 20
)

// Attributes of inet_diag. The kernel sends the cgroup of every full socket since Linux
// 5.7, whatever the request's idiag_ext says.
const (
	requestProtocol = 3  // INET_DIAG_REQ_PROTOCOL
	answerCgroup    = 21 // INET_DIAG_CGROUP_ID
)

// anyCookie is the word for whatever socket has the addresses, INET_DIAG_NOCOOKIE twice.
const anyCookie = ^uint64(0)

// inetDump encodes the request for all sockets of a protocol.
func inetDump(family uint8, protocol int, states uint32) []byte {
	b := []byte{family, byte(protocol), 0, 0}
	b = binary.NativeEndian.AppendUint32(b, states)
	b = append(b, make([]byte, sizeIdentity)...)
	if protocol > 0xff {
		b = append(b, nl.NewRtAttr(requestProtocol, nl.Uint32Attr(uint32(protocol))).Serialize()...)
	}
	return b
}

// inetExact encodes a request for one socket, by its addresses and its cookie. port stands
// in for the peer's port where there is no peer.
func inetExact(s *Socket, port uint16) ([]byte, error) {
	family, protocol := byte(unix.AF_INET), byte(unix.IPPROTO_TCP)
	if s.Family == families[unix.AF_INET6] {
		family = unix.AF_INET6
	}
	switch s.Protocol {
	case udp:
		protocol = unix.IPPROTO_UDP
	case udplite:
		protocol = unix.IPPROTO_UDPLITE
	}
	local, err := netip.ParseAddrPort(s.Local)
	if err != nil {
		return nil, err
	}
	peer, err := netip.ParseAddrPort(s.Peer)
	if err != nil {
		return nil, err
	}
	if peer.Port() == 0 {
		peer = netip.AddrPortFrom(peer.Addr(), port)
	}
	b := binary.NativeEndian.AppendUint32([]byte{family, protocol, 0, 0}, allStates)
	b = binary.BigEndian.AppendUint16(b, local.Port())
	b = binary.BigEndian.AppendUint16(b, peer.Port())
	for _, a := range []netip.Addr{local.Addr(), peer.Addr()} {
		var field [16]byte
		copy(field[:], a.AsSlice())
		b = append(b, field[:]...)
	}
	b = binary.NativeEndian.AppendUint32(b, s.Interface)
	b = binary.NativeEndian.AppendUint32(b, uint32(s.Cookie))
	return binary.NativeEndian.AppendUint32(b, uint32(s.Cookie>>32)), nil
}

// decodeInet reads a struct inet_diag_msg and the cgroup behind it.
func decodeInet(b []byte, s *Socket) error {
	if len(b) < sizeInet {
		return short(b, sizeInet)
	}
	id, rest := b[4:4+sizeIdentity], b[4+sizeIdentity:]
	s.State = state(b[1])
	s.Local = address(b[0], id[4:20], id[0:2])
	s.Peer = address(b[0], id[20:36], id[2:4])
	s.Interface = number(id, 36)
	s.Cookie = cookie(id[40:])
	s.UID, s.Inode = number(rest, 12), number(rest, 16)
	if s.State != stateListen { // where they are lengths of the backlog
		s.ReceiveQueue, s.SendQueue = number(rest, 4), number(rest, 8)
	}
	attributes, err := nl.ParseRouteAttr(b[sizeInet:])
	for _, a := range attributes {
		if a.Attr.Type == answerCgroup && len(a.Value) >= 8 {
			s.Cgroup = binary.NativeEndian.Uint64(a.Value)
		}
	}
	return err
}

func address(family uint8, ip, port []byte) string {
	var a netip.Addr
	if family == unix.AF_INET {
		a = netip.AddrFrom4([4]byte(ip))
	} else {
		a = netip.AddrFrom16([16]byte(ip))
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port)).String()
}

// wildcards lists the addresses at which a listener may have answered at a local one.
func wildcards(local string) []string {
	a, err := netip.ParseAddrPort(local)
	if err != nil {
		return nil
	}
	list := []string{local, netip.AddrPortFrom(netip.IPv6Unspecified(), a.Port()).String()}
	if ip := a.Addr().Unmap(); ip.Is4() {
		for _, ip := range []netip.Addr{ip, netip.IPv4Unspecified()} {
			list = append(list, netip.AddrPortFrom(ip, a.Port()).String(),
				netip.AddrPortFrom(netip.AddrFrom16(ip.As16()), a.Port()).String())
		}
	}
	return list
}

func number(b []byte, at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }

// cookie reads the two halves of one.
func cookie(b []byte) uint64 { return uint64(number(b, 0)) | uint64(number(b, 4))<<32 }

func short(b []byte, want int) error {
	return fmt.Errorf("an answer of %d bytes, less than %d: %w", len(b), want, syscall.EBADMSG)
}
