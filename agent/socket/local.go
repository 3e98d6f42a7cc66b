package socket

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// What requests ask for, and the attributes of answers: include/uapi/linux/unix_diag.h,
// packet_diag.h, netlink_diag.h and xdp_diag.h.
const (
	showUnix     = 1 | 4 | 0x10 | 0x40 // name, peer, queues, user
	showInfo     = 1                   // packet and xdp: with it comes the user
	everyNetlink = 255                 // NDIAG_PROTO_ALL

	unixName, unixPeer, unixQueues, unixUID = 0, 2, 4, 7
	packetInfo, packetUID                   = 0, 5
	xdpInfo, xdpUID                         = 1, 2
)

var types = map[uint8]string{
	unix.SOCK_STREAM: "stream", unix.SOCK_DGRAM: "dgram", unix.SOCK_RAW: "raw", unix.SOCK_SEQPACKET: "seqpacket",
}

// attributes returns those behind the first bytes of an answer, by number.
func attributes(b []byte, head int) (map[uint16][]byte, error) {
	list, err := nl.ParseRouteAttr(b[head:])
	all := map[uint16][]byte{}
	for _, a := range list {
		all[a.Attr.Type] = a.Value
	}
	return all, err
}

// optional reads a number that an attribute may lack.
func optional(b []byte, at int) uint32 {
	if len(b) < at+4 {
		return 0
	}
	return number(b, at)
}

func decodeUnix(b []byte, s *Socket) error {
	if len(b) < 16 {
		return short(b, 16)
	}
	s.Protocol, s.State, s.Inode, s.Cookie = types[b[1]], state(b[2]), number(b, 4), cookie(b[8:])
	all, err := attributes(b, 16)
	s.Local = string(all[unixName])
	if name, abstract := strings.CutPrefix(s.Local, "\x00"); abstract {
		s.Local = "@" + name
	} else {
		s.Local = strings.TrimSuffix(s.Local, "\x00")
	}
	if peer := all[unixPeer]; len(peer) >= 4 {
		s.Peer = strconv.FormatUint(uint64(number(peer, 0)), 10)
	}
	if s.State != stateListen {
		s.ReceiveQueue, s.SendQueue = optional(all[unixQueues], 0), optional(all[unixQueues], 4)
	}
	s.UID = optional(all[unixUID], 0)
	return err
}

func decodePacket(b []byte, s *Socket) error { return decodeBound(b, s, packetInfo, packetUID) }

func decodeXDP(b []byte, s *Socket) error { return decodeBound(b, s, xdpInfo, xdpUID) }

// decodeBound reads a struct packet_diag_msg or xdp_diag_msg: of sockets that are bound to an
// interface, which the attribute info begins with.
func decodeBound(b []byte, s *Socket, info, uid uint16) error {
	if len(b) < 16 {
		return short(b, 16)
	}
	s.Protocol, s.Inode, s.Cookie = types[b[1]], number(b, 4), cookie(b[8:])
	all, err := attributes(b, 16)
	s.Interface = optional(all[info], 0)
	s.UID = optional(all[uid], 0)
	return err
}

// decodeNetlink reads a struct netlink_diag_msg. The kernel's own ends have no inode.
func decodeNetlink(b []byte, s *Socket) error {
	if len(b) < 28 {
		return short(b, 28)
	}
	s.Protocol = strconv.Itoa(int(b[2]))
	s.Local, s.Peer = fmt.Sprint(number(b, 4)), fmt.Sprint(number(b, 8))
	s.Inode, s.Cookie = number(b, 16), cookie(b[20:])
	return nil
}

func decodeVsock(b []byte, s *Socket) error {
	if len(b) < 32 {
		return short(b, 32)
	}
	s.Protocol, s.State = types[b[1]], state(b[2])
	s.Local = fmt.Sprintf("%d:%d", number(b, 4), number(b, 8))
	s.Peer = fmt.Sprintf("%d:%d", number(b, 12), number(b, 16))
	s.Inode, s.Cookie = number(b, 20), cookie(b[24:])
	return nil
}
