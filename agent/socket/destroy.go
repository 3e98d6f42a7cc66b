package socket

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
)

// Kept is an error of Destroy: sockets that are still there since the kernel destroys none
// of their kind. Each ends with its last descriptor, so kill who has one; sctp, dccp and
// mptcp may outlive it, until the peer has what they hold, or is given up.
type Kept struct{ Sockets []Socket }

func (k *Kept) Error() string {
	count := map[string]int{}
	for _, s := range k.Sockets {
		count[s.Family+" "+s.Protocol]++
	}
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(count)) {
		kinds = append(kinds, fmt.Sprintf("%d of %s", count[kind], kind))
	}
	return fmt.Sprintf("sockets: %s: the kernel destroys none of these kinds: they end with their last descriptor; kill who has it, then list again", strings.Join(kinds, ", "))
}

// Left is an error of Destroy: a socket that is still there against expectation. Err says
// why: EOPNOTSUPP of a kernel without CONFIG_INET_DIAG_DESTROY, ErrEmptied, or another.
type Left struct {
	Socket Socket
	Err    error
}

func (l *Left) Error() string {
	return fmt.Sprintf("socket %s %s to %s in network namespace %d: %v: it was NOT destroyed; cut it off by a firewall",
		l.Socket.Protocol, l.Socket.Local, l.Socket.Peer, l.Socket.Namespace, l.Err)
}

func (l *Left) Unwrap() error { return l.Err }

// ErrEmptied says that the kernel took the order, and the socket is there all the same:
// Linux before 6.11 empties the queue of TCP that no descriptor refers to, so that it sends
// nothing more, and forgets it where it is.
var ErrEmptied = errors.New("the kernel destroyed what it had to send, not itself")

var (
	errNoCookie = errors.New("it has no cookie that tells it from others")
	errHidden   = errors.New("the kernel finds others at its addresses")
)

// destroyable reports whether the kernel destroys sockets of a kind, and none but the one
// that the cookie says: of raw sockets it looks at no cookie, and would take any with the
// same protocol, which may be another workload's.
func (s *Socket) destroyable() bool {
	return s.Protocol == tcp || s.Protocol == udp || s.Protocol == udplite
}

// Destroy has the kernel end sockets, and looks whether they did. TCP in any state is
// reset: its peer gets no more than what it has, and a reset; its process gets
// ECONNABORTED. Do it while the workload is frozen, before the kill: then it works on every
// kernel, see ErrEmptied. TIME_WAIT is let be, it sends no data.
//
// UDP loses its peer, and its process gets an error, but the kernel lets a socket stay that
// is bound to a port that the process chose, and does not find one that shares its address:
// it is Kept, as are all other kinds. None of them sends anything once its process has
// ended, except those that Kept names.
//
// What is gone already is no error. Only the socket of that cookie is destroyed, whatever
// has its addresses by now. The error holds *Kept, *Left, and what could not be asked, each
// by errors.As.
func Destroy(namespaces *Namespaces, sockets []Socket) error {
	by := map[uint64][]Socket{}
	for _, s := range sockets {
		by[s.Namespace] = append(by[s.Namespace], s)
	}
	var failed trouble
	var kept Kept
	for _, inode := range slices.Sorted(maps.Keys(by)) {
		ns := namespaces.at(inode)
		if ns == nil {
			failed.add(fmt.Errorf("network namespace %d: it is not held: %d sockets in it were NOT destroyed; list them anew", inode, len(by[inode])))
			continue
		}
		list, err := ns.destroy(by[inode])
		kept.Sockets = append(kept.Sockets, list...)
		failed.add(err)
	}
	if len(kept.Sockets) > 0 {
		return errors.Join(failed.err(), &kept)
	}
	return failed.err()
}

// destroy is Destroy in one namespace.
func (n *namespace) destroy(sockets []Socket) (kept []Socket, err error) {
	link, err := n.dial()
	if err != nil {
		return nil, err
	}
	defer link.close()
	result := map[uint64]error{} // by cookie
	for i := range sockets {
		if s := &sockets[i]; s.destroyable() {
			result[s.Cookie] = link.end(s, 0)
		}
	}
	left, err := n.again(sockets)
	if err != nil {
		return nil, err
	}
	if hidden := listeners(left); len(hidden) > 0 {
		link.uncover(hidden, result)
		if left, err = n.again(left); err != nil {
			return nil, err
		}
	}
	var failed trouble
	for _, s := range left {
		if why := s.left(result[s.Cookie]); why != nil {
			failed.add(&Left{s, why})
		} else {
			kept = append(kept, s)
		}
	}
	return kept, failed.err()
}

// left says why a socket is still there, by what the kernel said when it was to destroy it;
// nil if no more was to be expected.
func (s *Socket) left(err error) error {
	switch {
	case s.Protocol == tcp && err == nil:
		return ErrEmptied
	case s.Protocol == tcp && errors.Is(err, syscall.ENOENT):
		return errHidden
	case errors.Is(err, syscall.ENOENT):
		return nil
	}
	return err
}

// end destroys one socket.
func (l *link) end(s *Socket, port uint16) error {
	if s.Cookie == 0 || s.Cookie == anyCookie {
		return errNoCookie
	}
	return l.destroy(s, port)
}

// listeners returns the listening ones, by what the kernel looks for them by.
func listeners(sockets []Socket) map[string][]Socket {
	by := map[string][]Socket{}
	for _, s := range sockets {
		if s.listens() {
			key := fmt.Sprint(s.Family, s.Local, s.Interface)
			by[key] = append(by[key], s)
		}
	}
	return by
}

// portTries is as how many clients the listeners at one address are looked for, and
// allTries those of one namespace: some seconds at most.
const (
	portTries = 1 << 15
	allTries  = 1 << 19
)

// uncover destroys listeners that share their address (SO_REUSEPORT): the kernel chooses
// one of them by the port of the client, so that others are asked for until each of those
// that are meant was the one.
func (l *link) uncover(hidden map[string][]Socket, result map[uint64]error) {
	tries := allTries
	for _, list := range hidden {
		left := map[uint64]bool{}
		for _, s := range list {
			left[s.Cookie] = true
		}
		for port := 1; port < portTries && len(left) > 0 && tries > 0; port++ {
			tries--
			found, err := l.find(&list[0], uint16(port))
			if err == nil && left[found.Cookie] {
				result[found.Cookie] = l.end(found, uint16(port))
				delete(left, found.Cookie)
			}
		}
	}
}

// again returns those of the sockets that are there, as they are now.
func (n *namespace) again(sockets []Socket) ([]Socket, error) {
	if len(sockets) == 0 {
		return nil, nil
	}
	cookies := map[uint64]bool{}
	for _, s := range sockets {
		cookies[s.Cookie] = true
	}
	asked := slices.DeleteFunc(slices.Clone(kinds), func(k kind) bool {
		return !slices.ContainsFunc(sockets, func(s Socket) bool {
			return families[k.family] == s.Family && (k.protocol == "" || k.protocol == s.Protocol)
		})
	})
	list, _, err := n.list(asked, func(s *Socket) bool { return cookies[s.Cookie] })
	return list, err
}
