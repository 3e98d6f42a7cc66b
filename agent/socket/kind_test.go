package socket

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// unasked returns those of a protocol among the errors of List.
func unasked(err error, protocol string) (list []*Unasked) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			list = append(list, unasked(e, protocol)...)
		}
		return list
	}
	var u *Unasked
	if errors.As(err, &u) && u.Protocol == protocol {
		list = append(list, u)
	}
	return list
}

func TestSocketsOfEveryFamilyAreListedByInode(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name string
		spec spec
		want Socket
	}{
		{"tcp", spec{Family: unix.AF_INET, Type: unix.SOCK_STREAM, Local: "127.0.0.1:0", Listen: true}, Socket{Family: "ipv4", Protocol: "tcp", State: "LISTEN"}},
		{"udp", spec{Family: unix.AF_INET6, Type: unix.SOCK_DGRAM, Local: "[::1]:0"}, Socket{Family: "ipv6", Protocol: "udp", State: "UNCONNECTED"}},
		{"mptcp", spec{Family: unix.AF_INET, Type: unix.SOCK_STREAM, Protocol: unix.IPPROTO_MPTCP, Local: "127.0.0.1:0", Listen: true}, Socket{Family: "ipv4", Protocol: "mptcp", State: "LISTEN"}},
		{"unix", spec{Family: unix.AF_UNIX, Type: unix.SOCK_SEQPACKET}, Socket{Family: "unix", Protocol: "seqpacket", State: "UNCONNECTED"}},
		{"packet", spec{Family: unix.AF_PACKET, Type: unix.SOCK_RAW, Protocol: 0x0300}, Socket{Family: "packet", Protocol: "raw"}},
		{"netlink", spec{Family: unix.AF_NETLINK, Type: unix.SOCK_RAW, Bind: true}, Socket{Family: "netlink", Protocol: "0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			number := inode(w.open(c.spec)[0])
			list := w.list(Match{Inodes: map[uint32]bool{number: true}})
			// That of mptcp is listed behind the tcp that it speaks by.
			if len(list) == 0 || (len(list) == 2) != (c.name == "mptcp") || list[0].Inode != number || list[0].Cookie == 0 {
				t.Fatalf("listed %+v; want the one of inode %d", list, number)
			}
			got := list[len(list)-1]
			if got.Family != c.want.Family || got.Protocol != c.want.Protocol || got.State != c.want.State || got.Namespace != w.ns.inode {
				t.Errorf("listed %+v; want %+v", got, c.want)
			}
			var kept *Kept
			if err := Destroy(w.held, list); c.want.Protocol != tcp && c.want.Protocol != udp && (!errors.As(err, &kept) || len(kept.Sockets) != 1) {
				t.Errorf("Destroy: %v; want it kept", err)
			}
		})
	}
}

func TestUnixSocketsTellNamePeerUserAndQueue(t *testing.T) {
	w := newWorld(t)
	var pair [2]int
	if err := w.ns.inside(func() (err error) {
		pair, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	if err := unix.Bind(pair[0], &unix.SockaddrUnix{Name: "@stockade-test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(pair[1], make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	list := w.list(Match{Inodes: map[uint32]bool{inode(pair[0]): true}})
	if len(list) != 1 || list[0].Local != "@stockade-test" || list[0].UID != uint32(os.Getuid()) || list[0].ReceiveQueue == 0 {
		t.Errorf("listed %+v; want a name, and a queue", list)
	}
}

// listsRaw reports whether this kernel can list raw sockets, by what else is known of it.
func listsRaw(t *testing.T) bool {
	has, _ := configured(t, "raw_diag", "CONFIG_INET_RAW_DIAG")
	return has
}

func TestRawSocketsAreListedAndKeptOrToldToBeUnasked(t *testing.T) {
	for _, way := range ways[:2] {
		t.Run(way.name, func(t *testing.T) {
			w := newWorld(t)
			g, ids := group(t)
			p := w.start(g, spec{Family: way.family, Type: unix.SOCK_RAW, Protocol: 253})
			list, err := List(w.held, Match{Cgroups: ids})
			name := map[int]string{unix.AF_INET: "RAW", unix.AF_INET6: "RAWv6"}[way.family]
			if !listsRaw(t) {
				if u := unasked(err, name); len(list) != 0 || len(u) != 1 || u[0].Sockets != 1 || u[0].Namespace != w.ns.inode {
					t.Fatalf("listed %+v, %v; want to be told of one %s socket", list, err, name)
				}
				return
			}
			if err != nil || len(list) != 1 || list[0].Protocol != "raw" || list[0].Inode != p.Inodes[0] || !strings.HasSuffix(list[0].Local, ":253") {
				t.Fatalf("listed %+v, %v; want that of %+v", list, err, p.opened)
			}
			var kept *Kept
			if err := Destroy(w.held, list); !errors.As(err, &kept) || len(kept.Sockets) != 1 {
				t.Errorf("Destroy: %v; want it kept", err)
			}
			if got := p.ask(); got[0] != 0 {
				t.Errorf("the process got error %d; want it let be", got[0])
			}
		})
	}
}

func TestProtocolsThatNoKernelListsAreTold(t *testing.T) {
	w := newWorld(t)
	if _, err := List(w.held, Match{}); err != nil {
		t.Fatalf("without sockets: %v", err)
	}
	if err := w.ns.inside(func() error { // as root, whose group this lets
		return os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0o600)
	}); err != nil {
		t.Fatal(err)
	}
	w.open(spec{Family: unix.AF_INET, Type: unix.SOCK_DGRAM, Protocol: unix.IPPROTO_ICMP, Local: "127.0.0.1:0"})
	_, err := List(w.held, Match{})
	if u := unasked(err, "PING"); len(u) != 1 || u[0].Sockets != 1 {
		t.Errorf("error %v; want to be told of one PING socket", err)
	}
}

func TestProtocolsAreReadByTheirCount(t *testing.T) {
	got := protocols(`protocol  size sockets  memory press maxhdr  slab module     cl
PACKET    1600      3      -1   NI       0   no   kernel      n
Two Words 1152     -1      -1   NI       0   yes  kernel      y
`)
	if len(got) != 2 || got["PACKET"] != 3 || got["Two Words"] != -1 {
		t.Errorf("read %v", got)
	}
}

func TestAnswersCutShortAreErrors(t *testing.T) {
	for _, k := range kinds {
		for n := range 16 {
			if err := k.decode(make([]byte, n), &Socket{}); err == nil {
				t.Errorf("%v: %d bytes were taken for a socket", k.names, n)
			}
		}
	}
}
