package socket

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// answerLimit is how long the kernel may take for one answer.
const answerLimit = 10 * time.Second

// dumpTries is how often a dump is asked for that a change interrupts.
const dumpTries = 5

// errUnknown says that the kernel lists no sockets of a kind: it does not know the
// protocol, or it does and has nothing that lists it.
var errUnknown error = unix.ENOENT

// link speaks sock_diag in one namespace.
type link struct {
	namespace uint64
	handle    *nl.SocketHandle
}

func (n *namespace) dial() (*link, error) {
	socket, err := nl.GetNetlinkSocketAt(netns.NsHandle(n.file.Fd()), netns.None(), unix.NETLINK_SOCK_DIAG)
	if err == nil {
		limit := unix.NsecToTimeval(answerLimit.Nanoseconds())
		_ = socket.SetSendTimeout(&limit) // they only note it
		_ = socket.SetReceiveTimeout(&limit)
		return &link{n.inode, &nl.SocketHandle{Socket: socket}}, nil
	}
	return nil, fmt.Errorf("network namespace %d: %w: its sockets cannot be asked for; run as root", n.inode, err)
}

func (l *link) close() { l.handle.Close() }

// ask sends one request, and gives each answer to take.
func (l *link) ask(number, flags int, request []byte, take func([]byte)) error {
	r := nl.NewNetlinkRequest(number, flags)
	r.AddRawData(request)
	r.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_SOCK_DIAG: l.handle}
	return r.ExecuteIter(unix.NETLINK_SOCK_DIAG, nl.SOCK_DIAG_BY_FAMILY, func(msg []byte) bool {
		take(msg)
		return true
	})
}

// dump returns the wanted sockets of a kind.
func (l *link) dump(k kind, wanted func(*Socket) bool) (list []Socket, err error) {
	err = whole(func() error {
		list = nil
		var failed error
		err := l.ask(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP, k.request, func(msg []byte) {
			s := Socket{Namespace: l.namespace, Family: families[k.family], Protocol: k.protocol}
			if err := k.decode(msg, &s); err != nil {
				failed = err
			} else if !s.spent() && wanted(&s) {
				list = append(list, s)
			}
		})
		return errors.Join(err, failed)
	})
	return list, err
}

// whole repeats a dump until no change interrupts it.
func whole(dump func() error) (err error) {
	for range dumpTries {
		if err = dump(); !errors.Is(err, nl.ErrDumpInterrupted) {
			break
		}
	}
	return err
}

// destroy has the kernel end one socket. ENOENT says that at its addresses, as seen from
// that port, is another or none.
func (l *link) destroy(s *Socket, port uint16) error {
	request, err := inetExact(s, port)
	if err != nil {
		return err
	}
	return l.ask(nl.SOCK_DESTROY, unix.NLM_F_ACK, request, func([]byte) {})
}

// find returns the socket that the kernel finds at the addresses of s, as seen from that
// port, whatever its cookie.
func (l *link) find(s *Socket, port uint16) (*Socket, error) {
	at := *s
	at.Cookie = anyCookie
	request, err := inetExact(&at, port)
	if err != nil {
		return nil, err
	}
	err = l.ask(nl.SOCK_DIAG_BY_FAMILY, 0, request, func(msg []byte) {
		err = errors.Join(err, decodeInet(msg, &at))
	})
	return &at, err
}
