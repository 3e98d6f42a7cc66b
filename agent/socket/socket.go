// Package socket finds the sockets of a workload in every network namespace, and has the
// kernel end them: a TCP socket goes on sending what is queued after the process that
// wrote it has been killed. It asks by sock_diag (man 7 sock_diag), and never a process.
package socket

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Socket is one, as the kernel tells of it.
type Socket struct {
	// Namespace is the inode of the network namespace that it is in.
	Namespace uint64 `json:"namespace"`
	// Family is ipv4, ipv6, unix, packet, netlink, vsock or xdp. An IPv6 socket that
	// speaks IPv4 is ipv6, with addresses such as ::ffff:127.0.0.1.
	Family string `json:"family"`
	// Protocol is tcp, udp, udplite, raw, sctp, dccp or mptcp; of the other families,
	// stream, dgram, seqpacket or raw, or a number.
	Protocol string `json:"protocol"`
	// State is that of TCP, in capitals, as LISTEN or FIN_WAIT1; UNCONNECTED for what has
	// no peer; empty for the families that tell none.
	State string `json:"state,omitempty"`
	// Local and Peer are ADDRESS:PORT of the IP families (the port of a raw socket is the
	// number of its protocol), a path, or @NAME, and the inode of the peer of unix, CID:PORT
	// of vsock. A workload chooses the names of unix: quote them where they are shown.
	Local string `json:"local,omitempty"`
	Peer  string `json:"peer,omitempty"`
	// Interface is the index of the interface that it is bound to; 0 for none.
	Interface uint32 `json:"interface,omitempty"`
	// Inode is as in the link /proc/PID/fd/N, socket:[INODE]; 0 once no descriptor refers
	// to it, and as long as nobody has accepted it.
	Inode uint32 `json:"inode"`
	// Cookie tells it from every other of this boot.
	Cookie uint64 `json:"cookie"`
	// Cgroup is the id of the cgroup whose process made it, wherever that process went and
	// whether the cgroup is still there or not; 0 where the kernel does not say: half-open
	// TCP, and all families but the two of IP.
	Cgroup uint64 `json:"cgroup,omitempty"`
	UID    uint32 `json:"uid"`
	// SendQueue and ReceiveQueue are in bytes: what the peer has not confirmed, of TCP;
	// with the kernel's own overhead, of UDP and raw.
	SendQueue    uint32 `json:"send_queue"`
	ReceiveQueue uint32 `json:"receive_queue"`
}

// Match says which sockets are meant: those that either map knows.
type Match struct {
	// Cgroups are the ids of the workload's cgroups and of all beneath, see cgroup.IDs.
	Cgroups map[uint64]bool
	// Inodes are those of descriptors, see Inodes: of processes that left the cgroups, and
	// of sockets that were made outside and passed in.
	Inodes map[uint32]bool
	// Cookies are those of sockets that were listed before.
	Cookies map[uint64]bool
	// Living has, unless it is nil, the ids of all cgroups that there are: then TCP that no
	// descriptor refers to, of a cgroup that is gone, is meant, too: whose it was is not
	// known any more.
	Living map[uint64]bool
}

// has reports whether the socket is meant by what it says of itself.
func (m Match) has(s *Socket) bool {
	return s.Cgroup != 0 && m.Cgroups[s.Cgroup] || s.Inode != 0 && m.Inodes[s.Inode] || m.Cookies[s.Cookie] ||
		m.Living != nil && s.Protocol == tcp && s.Inode == 0 && s.Cgroup != 0 && !m.Living[s.Cgroup]
}

// Unasked is an error of List: a protocol whose sockets the kernel counts in a namespace
// and does not list.
type Unasked struct {
	Namespace uint64 // inode
	Protocol  string // as in /proc/net/protocols
	Sockets   int    // of all processes in the namespace
}

func (u *Unasked) Error() string {
	mend := "compare the descriptors of processes"
	if module := u.Module(); module != "" {
		mend = fmt.Sprintf("load the module that lists them (modprobe %s), or %s", module, mend)
	}
	what := "sockets"
	if u.Sockets == 1 {
		what = "socket"
	}
	return fmt.Sprintf("protocol %s in network namespace %d: %d %s that this kernel does not list: whether any is the workload's is not known; %s",
		u.Protocol, u.Namespace, u.Sockets, what, mend)
}

// Module is that which lists the sockets of the protocol; "" if none is known.
func (u *Unasked) Module() string { return moduleOf(u.Protocol) }

// Outlives reports whether sockets of the protocol go on when no process has them any more:
// what was handed to the kernel is still sent. All others are gone with their last descriptor.
func (u *Unasked) Outlives() bool {
	switch strings.TrimSuffix(u.Protocol, "v6") {
	case "TCP", "MPTCP", "SCTP", "DCCP":
		return true
	}
	return false
}

var errNone = errors.New("network namespaces: none is held: no socket was looked for; open them anew")

// List returns the matching sockets in the namespaces, by namespace, then as the kernel
// lists them; the error is about what could not be asked, *Unasked among it, and stands
// beside what could.
//
// Half-open TCP bears no cgroup: it is counted where every listener that may have answered
// is meant; the others end with the listener. TIME_WAIT is not counted: it sends no data
// and bears no cgroup. Nor is TCP that neither listens nor has a peer: it is no more than a
// descriptor. A listing is no snapshot: what is made, or changes its state, meanwhile may
// be missed, so list again once nothing of the workload runs.
func List(namespaces *Namespaces, match Match) ([]Socket, error) {
	if len(namespaces.all) == 0 {
		return nil, errNone
	}
	var all []Socket
	var failed trouble
	for _, ns := range namespaces.all {
		list, listed, err := ns.list(kinds, func(s *Socket) bool {
			return match.has(s) || s.halfOpen() || s.listens()
		})
		failed.add(err)
		failed.add(ns.unlisted(listed))
		all = append(all, match.among(list)...)
	}
	return all, failed.err()
}

// among returns those of one namespace that are meant.
func (m Match) among(list []Socket) []Socket {
	listeners := map[string]bool{} // by address: whether all are meant
	for i := range list {
		if s := &list[i]; s.listens() {
			all, known := listeners[s.Local]
			listeners[s.Local] = m.has(s) && (all || !known)
		}
	}
	return slices.DeleteFunc(list, func(s Socket) bool {
		return !m.has(&s) && !(s.halfOpen() && answered(s.Local, listeners))
	})
}

func (s *Socket) listens() bool { return s.Protocol == tcp && s.State == stateListen }

// Connected reports whether it is TCP that has a peer.
func (s *Socket) Connected() bool { return s.Protocol == tcp && s.State != stateListen }

// bare reports whether the kernel says of TCP neither who made it nor who has it: it is no
// whole socket.
func (s *Socket) bare() bool { return s.Protocol == tcp && s.Inode == 0 && s.Cgroup == 0 }

// halfOpen reports whether a SYN was answered for it, and no more.
func (s *Socket) halfOpen() bool { return s.bare() && s.State == stateSynRecv }

// spent reports whether it waits for a FIN and has nothing to send: a form of TIME_WAIT.
func (s *Socket) spent() bool { return s.bare() && s.State == stateFinWait2 }

// answered reports whether only listeners that are meant can have answered at an address.
func answered(local string, listeners map[string]bool) bool {
	found := false
	for _, address := range wildcards(local) {
		all, known := listeners[address]
		if known && !all {
			return false
		}
		found = found || known
	}
	return found
}

// list asks for kinds of sockets in one namespace, and keeps those that are wanted. listed
// says of each protocol, by its name in /proc/net/protocols, whether the kernel could be
// asked.
func (n *namespace) list(kinds []kind, wanted func(*Socket) bool) (all []Socket, listed map[string]bool, err error) {
	link, err := n.dial()
	if err != nil {
		return nil, nil, err
	}
	defer link.close()
	var failed trouble
	listed = map[string]bool{}
	for _, k := range kinds {
		list, err := link.dump(k, wanted)
		unknown := errors.Is(err, errUnknown)
		for _, name := range k.names {
			listed[name] = !unknown
		}
		if err != nil && !unknown {
			failed.add(fmt.Errorf("%s sockets in network namespace %d: %w: they are not all listed; try again", k.names[0], n.inode, err))
		}
		all = append(all, list...)
	}
	return all, listed, failed.err()
}
