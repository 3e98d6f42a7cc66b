package socket

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/cgroup"
	"github.com/stockade-dev/stockade/thread"
)

// What tests are made of: a network namespace of their own, in which lies
//
//	cgroup A: a child, the workload       the test: its peers
//	cgroup B: a child, somebody else
//
// A child opens the sockets that it is told, and says what became of them when it is asked.

const order = "STOCKADE_TEST_SOCKETS"

func TestMain(m *testing.M) {
	if text := os.Getenv(order); text != "" {
		time.AfterFunc(time.Minute, func() { os.Exit(3) }) // whatever happens to the test
		child(text)
		return
	}
	os.Exit(m.Run())
}

// spec says which sockets to open.
type spec struct {
	Family, Type, Protocol int
	Local, Peer            string // ADDRESS:PORT
	Listen, Reuse, Defer   bool
	Bind                   bool // a netlink socket
	Device                 string
	Count                  int
	Fill                   bool // write until nothing more is taken
}

// opened says what was opened, and what became of it.
type opened struct {
	Locals  []string
	Inodes  []uint32
	Written int
	Errors  []int // SO_ERROR of each
	Failed  string
}

func child(text string) {
	var specs []spec
	var o opened
	var fds []int
	err := json.Unmarshal([]byte(text), &specs)
	for _, s := range specs {
		list, failed := s.open()
		fds, err = append(fds, list...), errors.Join(err, failed)
	}
	for _, fd := range fds {
		o.Locals, o.Inodes = append(o.Locals, local(fd)), append(o.Inodes, inode(fd))
	}
	if err == nil && len(specs) == 1 && specs[0].Fill {
		o.Written, err = fill(fds[0])
	}
	if err != nil {
		o.Failed = err.Error()
	}
	for in := bufio.NewScanner(os.Stdin); ; {
		_ = json.NewEncoder(os.Stdout).Encode(o)
		if !in.Scan() {
			return
		}
		o.Errors = nil
		for _, fd := range fds {
			code, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
			o.Errors = append(o.Errors, code)
		}
	}
}

func sockaddr(text string) unix.Sockaddr {
	a := netip.MustParseAddrPort(text)
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

func local(fd int) string {
	name, _ := unix.Getsockname(fd)
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)).String()
	}
	return ""
}

func inode(fd int) uint32 {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return 0
	}
	return uint32(st.Ino)
}

// open opens the sockets; with Reuse, all at the address of the first.
func (s spec) open() (fds []int, err error) {
	for range max(s.Count, 1) {
		fd, err := unix.Socket(s.Family, s.Type|unix.SOCK_CLOEXEC, s.Protocol)
		if err != nil {
			return fds, fmt.Errorf("socket %+v: %w", s, err)
		}
		fds = append(fds, fd)
		if s.Reuse {
			err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
		}
		if s.Defer {
			err = errors.Join(err, unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 30))
		}
		if s.Device != "" {
			err = errors.Join(err, unix.BindToDevice(fd, s.Device))
		}
		if s.Bind {
			err = errors.Join(err, unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
		}
		if s.Local != "" {
			err = errors.Join(err, unix.Bind(fd, sockaddr(s.Local)))
		}
		if s.Reuse {
			s.Local = local(fd)
		}
		if s.Peer != "" {
			err = errors.Join(err, unix.Connect(fd, sockaddr(s.Peer)))
		}
		if s.Listen {
			err = errors.Join(err, unix.Listen(fd, 16))
		}
		if err != nil {
			return fds, fmt.Errorf("socket %+v: %w", s, err)
		}
	}
	return fds, nil
}

// fill writes to a peer that does not read, until nothing is taken for a while.
func fill(fd int) (written int, err error) {
	limit := unix.NsecToTimeval((100 * time.Millisecond).Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
		return 0, err
	}
	for data := make([]byte, 1<<16); ; {
		n, err := unix.Write(fd, data)
		if errors.Is(err, unix.EINTR) { // a signal of Go's runtime: with a time limit no write begins anew
			continue
		}
		if errors.Is(err, unix.EAGAIN) {
			return written, nil
		}
		if err != nil {
			return written, err
		}
		written += n
	}
}

// world is a network namespace of a test, and what the test holds.
type world struct {
	t    *testing.T
	held *Namespaces
	ns   *namespace
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, held: fresh(t)}
	w.ns = w.held.all[0]
	return w
}

// fresh makes a network namespace with a loopback that no process is in.
func fresh(t *testing.T) *Namespaces {
	t.Helper()
	held := &Namespaces{known: map[identity]bool{}, links: map[string]bool{}}
	if err := elsewhere(func() error {
		return errors.Join(loopback(), held.follow("/proc/thread-self/ns/net"))
	}); err != nil {
		t.Fatalf("a network namespace cannot be made: %v; run as root", err)
	}
	t.Cleanup(func() { held.Close() })
	return held
}

// elsewhere does something in a namespace that is new.
func elsewhere(do func() error) error {
	return thread.Do(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		return do()
	})
}

func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err == nil {
		request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		err = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
	}
	return err
}

// group makes a cgroup, and returns it with its ids.
func group(t *testing.T) (*cgroup.Group, map[uint64]bool) {
	t.Helper()
	g, err := cgroup.Create(fmt.Sprintf("test-socket-%d-%d", os.Getpid(), time.Now().UnixNano()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := g.Kill(5 * time.Second)
		if err := errors.Join(err, g.Remove()); err != nil {
			t.Error(err)
		}
	})
	ids, err := cgroup.IDs([]string{cgroup.Parent + "/" + g.Name()})
	if err != nil || len(ids) == 0 {
		t.Fatal(ids, err)
	}
	return g, ids
}

// process is a child with sockets.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  *os.File
	out *json.Decoder
	opened
}

// start has a child in a cgroup open sockets.
func (w *world) start(g *cgroup.Group, specs ...spec) *process {
	w.t.Helper()
	text, err := json.Marshal(specs)
	if err != nil {
		w.t.Fatal(err)
	}
	dir, err := g.Dir()
	if err != nil {
		w.t.Fatal(err)
	}
	defer dir.Close()
	inR, inW, err := os.Pipe()
	if err != nil {
		w.t.Fatal(err)
	}
	defer inR.Close()
	p := &process{t: w.t, in: inW, cmd: exec.Command("/proc/self/exe")}
	p.cmd.Env = append(os.Environ(), order+"="+string(text))
	p.cmd.Stdin, p.cmd.Stderr = inR, os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = w.ns.inside(p.cmd.Start)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(p.kill)
	p.out = json.NewDecoder(out)
	p.read()
	return p
}

func (p *process) read() {
	p.t.Helper()
	if err := p.out.Decode(&p.opened); err != nil || p.Failed != "" {
		p.t.Fatalf("child: %v %s", err, p.Failed)
	}
}

// ask has the child look at its sockets.
func (p *process) ask() []int {
	p.t.Helper()
	if _, err := p.in.WriteString("\n"); err != nil {
		p.t.Fatal(err)
	}
	p.read()
	return p.Errors
}

func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.in.Close()
	}
}

// open opens sockets of the test itself in the namespace.
func (w *world) open(s spec) []int {
	w.t.Helper()
	var fds []int
	err := w.ns.inside(func() (err error) {
		fds, err = s.open()
		return err
	})
	w.t.Cleanup(func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return fds
}

// list lists what matches, and allows no error but one of Unasked.
func (w *world) list(m Match) []Socket {
	w.t.Helper()
	list, err := List(w.held, m)
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

func (w *world) cgroups(ids map[uint64]bool) []Socket {
	w.t.Helper()
	return w.list(Match{Cgroups: ids})
}

func (w *world) destroy(list []Socket) {
	w.t.Helper()
	if err := Destroy(w.held, list); err != nil {
		w.t.Fatal(err)
	}
}
