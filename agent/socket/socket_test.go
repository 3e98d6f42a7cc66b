package socket

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/cgroup"
)

// ways are the three in which two sockets of IP meet.
var ways = []struct {
	name         string
	family, peer int
	any, to      string // the peer listens at any, the workload connects to an address
}{
	{"v4", unix.AF_INET, unix.AF_INET, "127.0.0.1:0", "127.0.0.1"},
	{"v6", unix.AF_INET6, unix.AF_INET6, "[::1]:0", "[::1]"},
	{"mapped", unix.AF_INET6, unix.AF_INET, "127.0.0.1:0", "[::ffff:127.0.0.1]"},
}

func port(local string) string { return local[strings.LastIndexByte(local, ':'):] }

// accept takes a connection of a listener of the test, for a reader.
func accept(t *testing.T, listener int) *os.File {
	t.Helper()
	fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "peer")
	t.Cleanup(func() { f.Close() })
	return f
}

// orphan has a workload write to a peer that does not read, and kills it.
func orphan(t *testing.T, w *world, family, peerFamily int, any, to string) (peer *os.File, ids map[uint64]bool, written int) {
	t.Helper()
	g, ids := group(t)
	listener := w.open(spec{Family: peerFamily, Type: unix.SOCK_STREAM, Local: any, Listen: true})[0]
	p := w.start(g, spec{Family: family, Type: unix.SOCK_STREAM, Peer: to + port(local(listener)), Fill: true})
	peer = accept(t, listener)
	p.kill()
	return peer, ids, p.Written
}

func TestOrphanIsListedByItsCgroupAndSendsNothingOnceDestroyed(t *testing.T) {
	for _, way := range ways {
		for _, destroyed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/destroyed=%v", way.name, destroyed), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				peer, ids, written := orphan(t, w, way.family, way.peer, way.any, way.to)
				list := w.cgroups(ids)
				if len(list) != 1 || list[0].State != "FIN_WAIT1" || list[0].SendQueue == 0 || list[0].Inode != 0 || !ids[list[0].Cgroup] {
					t.Fatalf("listed %+v; want one orphan with a send queue", list)
				}
				if !strings.HasPrefix(list[0].Peer, way.to+":") || list[0].Namespace != w.ns.inode {
					t.Errorf("listed %+v; want its peer at %s", list[0], way.to)
				}
				if destroyed {
					w.destroy(list)
					if left := w.cgroups(ids); len(left) != 0 {
						t.Errorf("after Destroy: %+v", left)
					}
				}
				n, err := io.Copy(io.Discard, peer)
				if !destroyed && (err != nil || n != int64(written)) {
					t.Errorf("not destroyed: the peer got %d of %d bytes, %v; want all", n, written, err)
				}
				if destroyed && (!errors.Is(err, syscall.ECONNRESET) || n >= int64(written)) {
					t.Errorf("destroyed: the peer got %d of %d bytes, %v; want fewer, and a reset", n, written, err)
				}
			})
		}
	}
}

func TestDestroyResetsTheConnectionOfAProcessThatLives(t *testing.T) {
	for _, frozen := range []bool{false, true} {
		t.Run(fmt.Sprintf("frozen=%v", frozen), func(t *testing.T) {
			w := newWorld(t)
			g, ids := group(t)
			listener := w.open(spec{Family: unix.AF_INET, Type: unix.SOCK_STREAM, Local: "127.0.0.1:0", Listen: true})[0]
			p := w.start(g, spec{Family: unix.AF_INET, Type: unix.SOCK_STREAM, Peer: local(listener), Fill: true})
			peer := accept(t, listener)
			if frozen {
				if err := g.Freeze(5 * time.Second); err != nil {
					t.Fatal(err)
				}
			}
			list := w.cgroups(ids)
			if len(list) != 1 || list[0].State != "ESTABLISHED" || list[0].Inode != p.Inodes[0] || list[0].Local != p.Locals[0] {
				t.Fatalf("listed %+v; want that of %+v", list, p.opened)
			}
			w.destroy(list)
			if left := w.cgroups(ids); len(left) != 0 {
				t.Errorf("after Destroy: %+v", left)
			}
			if n, err := io.Copy(io.Discard, peer); !errors.Is(err, syscall.ECONNRESET) || n >= int64(p.Written) {
				t.Errorf("the peer got %d of %d bytes, %v; want fewer, and a reset", n, p.Written, err)
			}
			if frozen {
				if err := g.Thaw(5 * time.Second); err != nil {
					t.Fatal(err)
				}
			}
			if got := p.ask(); got[0] != int(syscall.ECONNABORTED) {
				t.Errorf("the process got error %d; want ECONNABORTED", got[0])
			}
			w.destroy(list) // what is gone is no error
		})
	}
}

func TestWhatOnlyWaitsForItsPeerToCloseIsGone(t *testing.T) {
	w := newWorld(t)
	g, ids := group(t)
	listener := w.open(spec{Family: unix.AF_INET, Type: unix.SOCK_STREAM, Local: "127.0.0.1:0", Listen: true})[0]
	p := w.start(g, spec{Family: unix.AF_INET, Type: unix.SOCK_STREAM, Peer: local(listener)})
	accept(t, listener)
	before := w.cgroups(ids)
	p.kill()
	// As soon as the peer has confirmed the FIN, the kernel keeps no more than a remnant.
	for end := time.Now().Add(3 * time.Second); len(w.cgroups(ids)) != 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still listed: %+v", w.cgroups(ids))
		}
	}
	if len(before) != 1 {
		t.Errorf("listed %+v; want one", before)
	}
	w.destroy(before)
}

func TestWhatIsStillThereIsToldByItsReason(t *testing.T) {
	for _, c := range []struct {
		protocol  string
		err, want error
	}{
		{tcp, nil, ErrEmptied},
		{tcp, syscall.ENOENT, errHidden},
		{tcp, syscall.EOPNOTSUPP, syscall.EOPNOTSUPP},
		{udp, nil, nil},
		{udp, syscall.ENOENT, nil},
		{udp, syscall.EPERM, syscall.EPERM},
		{"raw", nil, nil},
	} {
		s := Socket{Protocol: c.protocol}
		if got := s.left(c.err); !errors.Is(got, c.want) {
			t.Errorf("%s after %v: %v; want %v", c.protocol, c.err, got, c.want)
		}
	}
}

func TestNothingIsVerifiedWithoutANamespace(t *testing.T) {
	w := newWorld(t)
	if err := w.held.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := List(w.held, Match{}); !errors.Is(err, errNone) {
		t.Errorf("List: %v; want an error", err)
	}
}

func TestListenersAreDestroyedWithWhatNobodyAccepted(t *testing.T) {
	for _, way := range ways[:2] {
		t.Run(way.name, func(t *testing.T) {
			w := newWorld(t)
			g, ids := group(t)
			p := w.start(g, spec{Family: way.family, Type: unix.SOCK_STREAM, Local: way.any, Listen: true})
			w.open(spec{Family: way.peer, Type: unix.SOCK_STREAM, Peer: p.Locals[0]})
			list := w.cgroups(ids)
			if len(list) != 2 || list[0].State != stateListen || list[1].State != "ESTABLISHED" {
				t.Fatalf("listed %+v; want a listener and what waits for its accept", list)
			}
			w.destroy(list)
			if left := w.cgroups(ids); len(left) != 0 {
				t.Errorf("after Destroy: %+v", left)
			}
		})
	}
}

func TestHalfOpenBelongsToAListenerThatIsMeantAlone(t *testing.T) {
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprintf("shared=%v", shared), func(t *testing.T) {
			w := newWorld(t)
			g, ids := group(t)
			listen := spec{Family: unix.AF_INET, Type: unix.SOCK_STREAM, Local: "127.0.0.1:0", Listen: true, Defer: true, Reuse: true}
			p := w.start(g, listen)
			if shared {
				listen.Local = "0.0.0.0" + port(p.Locals[0])
				w.open(listen)
			}
			w.open(spec{Family: unix.AF_INET, Type: unix.SOCK_STREAM, Peer: p.Locals[0]})
			list := w.cgroups(ids)
			if want := 2; !shared && (len(list) != want || list[1].State != stateSynRecv || !list[1].halfOpen()) {
				t.Fatalf("listed %+v; want the listener and a half-open one", list)
			}
			if shared && len(list) != 1 {
				t.Fatalf("listed %+v; want the listener alone", list)
			}
			w.destroy(list)
			if left := w.cgroups(ids); len(left) != 0 {
				t.Errorf("after Destroy: %+v", left)
			}
		})
	}
}

func TestSocketsOfOtherCgroupsAtTheSameAddressAreNotTouched(t *testing.T) {
	for _, kind := range []struct {
		name string
		spec spec
	}{
		{"tcp", spec{Family: unix.AF_INET, Type: unix.SOCK_STREAM, Local: "127.0.0.1:0", Listen: true}},
		{"tcp6", spec{Family: unix.AF_INET6, Type: unix.SOCK_STREAM, Local: "[::]:0", Listen: true}},
		{"udp", spec{Family: unix.AF_INET, Type: unix.SOCK_DGRAM, Local: "127.0.0.1:0"}},
		{"udp6", spec{Family: unix.AF_INET6, Type: unix.SOCK_DGRAM, Local: "[::]:0"}},
	} {
		t.Run(kind.name, func(t *testing.T) {
			w := newWorld(t)
			mine, ids := group(t)
			others, otherIDs := group(t)
			kind.spec.Reuse, kind.spec.Count = true, 20
			other := w.start(others, kind.spec)
			kind.spec.Local = other.Locals[0]
			w.start(mine, kind.spec)
			list := w.cgroups(ids)
			if len(list) != 20 || len(w.cgroups(otherIDs)) != 20 {
				t.Fatalf("%d and %d listed; want 20 of each", len(list), len(w.cgroups(otherIDs)))
			}
			err := Destroy(w.held, list)
			var kept *Kept
			if errors.As(err, &kept) != (kind.spec.Type == unix.SOCK_DGRAM) || kept == nil && err != nil {
				t.Fatalf("Destroy: %v; want UDP to be kept, and no more", err)
			}
			if left := w.cgroups(ids); kept == nil && len(left) != 0 {
				t.Errorf("after Destroy: %+v", left)
			}
			if kept != nil && len(kept.Sockets) != 20 {
				t.Errorf("%d kept; want 20", len(kept.Sockets))
			}
			for _, code := range other.ask() {
				if code != 0 {
					t.Errorf("the other got error %d; want none", code)
				}
			}
			if n := len(w.cgroups(otherIDs)); n != 20 {
				t.Errorf("%d of 20 of the other are left", n)
			}
		})
	}
}

func TestUDPIsListedAndEndsWithItsProcess(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			w := newWorld(t)
			g, ids := group(t)
			peer := w.open(spec{Family: way.peer, Type: unix.SOCK_DGRAM, Local: way.any})[0]
			p := w.start(g, spec{Family: way.family, Type: unix.SOCK_DGRAM, Peer: way.to + port(local(peer))})
			list := w.cgroups(ids)
			if len(list) != 1 || list[0].Protocol != udp || list[0].Local != p.Locals[0] || list[0].Inode != p.Inodes[0] {
				t.Fatalf("listed %+v; want that of %+v", list, p.opened)
			}
			w.destroy(list)
			if got := p.ask(); got[0] != int(syscall.ECONNABORTED) {
				t.Errorf("the process got error %d; want ECONNABORTED", got[0])
			}
			p.kill()
			if left := w.cgroups(ids); len(left) != 0 {
				t.Errorf("after the kill: %+v", left)
			}
		})
	}
}

func TestAnotherCookieDestroysNothing(t *testing.T) {
	w := newWorld(t)
	g, ids := group(t)
	listener := w.open(spec{Family: unix.AF_INET, Type: unix.SOCK_STREAM, Local: "127.0.0.1:0", Listen: true})[0]
	p := w.start(g, spec{Family: unix.AF_INET, Type: unix.SOCK_STREAM, Peer: local(listener)},
		spec{Family: unix.AF_INET, Type: unix.SOCK_DGRAM, Local: "127.0.0.1:4242"}, // alone in its namespace
		spec{Family: unix.AF_INET6, Type: unix.SOCK_STREAM, Local: "[::1]:0", Listen: true})
	list := w.cgroups(ids)
	if len(list) != 3 {
		t.Fatalf("listed %+v; want 3", list)
	}
	for _, cookie := range []func(uint64) uint64{
		func(c uint64) uint64 { return c + 1<<40 },
		func(uint64) uint64 { return 0 },
		func(uint64) uint64 { return ^uint64(0) }, // which the kernel takes for any
	} {
		var wrong []Socket
		for _, s := range list {
			s.Cookie = cookie(s.Cookie)
			wrong = append(wrong, s)
		}
		_ = Destroy(w.held, wrong) // with no cookie at all, an error; else they are gone
		if got := p.ask(); fmt.Sprint(got) != "[0 0 0]" || len(w.cgroups(ids)) != 3 {
			t.Fatalf("cookie %x: errors %v, %d sockets; want all to be left", wrong[0].Cookie, got, len(w.cgroups(ids)))
		}
	}
	// The control: with the right one, even after a way through JSON, they are ended.
	text, err := json.Marshal(list)
	var read []Socket
	if err := errors.Join(err, json.Unmarshal(text, &read)); err != nil {
		t.Fatal(err)
	}
	var kept *Kept
	if err := Destroy(w.held, read); !errors.As(err, &kept) || len(kept.Sockets) != 1 {
		t.Fatalf("Destroy: %v; want UDP, which is bound, to be kept", err)
	}
	if left := w.cgroups(ids); len(left) != 1 || left[0].Protocol != udp {
		t.Errorf("left: %+v", left)
	}
}

func TestSocketsBoundToAnInterfaceAreDestroyed(t *testing.T) {
	w := newWorld(t)
	g, ids := group(t)
	listener := w.open(spec{Family: unix.AF_INET6, Type: unix.SOCK_STREAM, Local: "[::1]:0", Listen: true})[0]
	w.start(g, spec{Family: unix.AF_INET, Type: unix.SOCK_STREAM, Local: "127.0.0.1:0", Listen: true, Device: "lo"},
		spec{Family: unix.AF_INET6, Type: unix.SOCK_STREAM, Peer: local(listener), Device: "lo"})
	list := w.cgroups(ids)
	if len(list) != 2 || list[0].Interface != 1 || list[1].Interface != 1 {
		t.Fatalf("listed %+v; want two at interface 1", list)
	}
	w.destroy(list)
	if left := w.cgroups(ids); len(left) != 0 {
		t.Errorf("after Destroy: %+v", left)
	}
}

func TestThousandsAreListedAndDestroyed(t *testing.T) {
	w := newWorld(t)
	g, ids := group(t)
	const many = 2000
	w.start(g, spec{Family: unix.AF_INET6, Type: unix.SOCK_STREAM, Local: "[::1]:0", Listen: true, Count: many / 2},
		spec{Family: unix.AF_INET, Type: unix.SOCK_STREAM, Local: "127.0.0.1:0", Listen: true, Count: many / 2})
	list := w.cgroups(ids)
	cookies := map[uint64]bool{}
	for _, s := range list {
		cookies[s.Cookie] = true
	}
	if len(list) != many || len(cookies) != many {
		t.Fatalf("%d listed, %d different; want %d", len(list), len(cookies), many)
	}
	w.destroy(list)
	if left := w.cgroups(ids); len(left) != 0 {
		t.Errorf("%d left", len(left))
	}
}

func TestIdsOfACgroupBeneathServeAfterItIsRemoved(t *testing.T) {
	w := newWorld(t)
	parent, _ := group(t)
	rel := filepath.Join(cgroup.Parent, parent.Name(), "beneath")
	if err := os.Mkdir(filepath.Join(parent.Path(), "beneath"), 0o755); err != nil {
		t.Fatal(err)
	}
	beneath, err := cgroup.OpenAt(rel)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := cgroup.IDs([]string{filepath.Dir(rel), "stockade/is-not-there"})
	if err != nil || len(ids) != 2 {
		t.Fatalf("ids %v, %v; want two, and no error of one that is gone", ids, err)
	}
	listener := w.open(spec{Family: unix.AF_INET, Type: unix.SOCK_STREAM, Local: "127.0.0.1:0", Listen: true})[0]
	p := w.start(beneath, spec{Family: unix.AF_INET, Type: unix.SOCK_STREAM, Peer: local(listener), Fill: true})
	accept(t, listener)
	p.kill()
	if err := beneath.Remove(); err != nil {
		t.Fatal(err)
	}
	if list := w.cgroups(ids); len(list) != 1 {
		t.Errorf("listed %+v; want the orphan of a cgroup that is gone", list)
	}
}

func TestMPTCPEndsWithTheTCPThatItSpeaksBy(t *testing.T) {
	for _, alive := range []bool{false, true} {
		t.Run(fmt.Sprintf("alive=%v", alive), func(t *testing.T) {
			w := newWorld(t)
			g, ids := group(t)
			over := spec{Family: unix.AF_INET, Type: unix.SOCK_STREAM, Protocol: unix.IPPROTO_MPTCP}
			at, from := over, over
			at.Local, at.Listen = "127.0.0.1:0", true
			listener := w.open(at)[0]
			from.Peer, from.Fill = local(listener), true
			p := w.start(g, from)
			peer := accept(t, listener)
			if !alive {
				p.kill()
			}
			list := w.cgroups(ids)
			if len(list) != 2 || list[0].Protocol != tcp || list[1].Protocol != "mptcp" {
				t.Fatalf("listed %+v; want mptcp behind its tcp", list)
			}
			var kept *Kept
			if err := Destroy(w.held, list); err != nil && (!errors.As(err, &kept) || len(kept.Sockets) != 1 || kept.Sockets[0].Protocol != "mptcp") {
				t.Errorf("Destroy: %v; want at most mptcp to be kept", err)
			}
			p.kill()
			for end := time.Now().Add(3 * time.Second); len(w.cgroups(ids)) != 0; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("after the kill: %+v", w.cgroups(ids))
				}
			}
			got, data := 0, make([]byte, 1<<20)
			for { // it learns of no end: other ways to it may open
				n, _, err := unix.Recvfrom(int(peer.Fd()), data, unix.MSG_DONTWAIT)
				if err != nil || n == 0 {
					break
				}
				got += n
			}
			if got >= p.Written {
				t.Errorf("the peer got %d of %d bytes; want fewer", got, p.Written)
			}
		})
	}
}
