package vmtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/thread"
)

// wire is the far end of a veth, in a network namespace of the test's own, and what comes
// in there.
type wire struct {
	listener net.Listener
	capture  int

	mu      sync.Mutex
	payload int64 // bytes of TCP
	resets  int
}

const farAddress = "10.77.0.2"

// newWire lays a veth from here to a namespace.
func newWire(t *testing.T) *wire {
	t.Helper()
	for _, args := range []string{"netns add far", "link add near type veth peer name far netns far", "addr add 10.77.0.1/24 dev near", "link set near up",
		"-n far addr add " + farAddress + "/24 dev far", "-n far link set far up"} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", "far").Run() })
	w := &wire{}
	must(thread.Do(w.enter))
	done := make(chan bool)
	go func() {
		defer close(done)
		w.listen()
	}()
	t.Cleanup(func() {
		w.listener.Close()
		_ = unix.Shutdown(w.capture, unix.SHUT_RD)
		unix.Close(w.capture)
		<-done
	})
	return w
}

// enter makes what listens and what captures, in the namespace.
func (w *wire) enter() error {
	ns, err := os.Open("/run/netns/far")
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	far, err := net.InterfaceByName("far")
	if err != nil {
		return err
	}
	const ip = uint16(unix.ETH_P_IP>>8 | unix.ETH_P_IP&0xff<<8) // in the order of the network
	if w.capture, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(ip)); err != nil {
		return err
	}
	err = errors.Join(unix.SetsockoptInt(w.capture, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20),
		unix.SetsockoptTimeval(w.capture, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}),
		unix.Bind(w.capture, &unix.SockaddrLinklayer{Protocol: ip, Ifindex: far.Index}))
	if err == nil {
		w.listener, err = net.Listen("tcp", farAddress+":0")
	}
	return err
}

// listen counts what comes in, until the socket is closed.
func (w *wire) listen() {
	b := make([]byte, 128)
	for {
		_, _, err := unix.Recvfrom(w.capture, b, 0)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		head := int(b[0]&15) * 4
		if b[9] != unix.IPPROTO_TCP || net.IP(b[16:20]).String() != farAddress {
			continue
		}
		tcp := b[head:]
		w.mu.Lock()
		w.payload += int64(int(binary.BigEndian.Uint16(b[2:])) - head - int(tcp[12]>>4)*4)
		w.resets += int(tcp[13] >> 2 & 1)
		w.mu.Unlock()
	}
}

// seen is what came in until now; what the kernel could not hand over fails the test.
func (w *wire) seen(t *testing.T) (payload int64, resets int) {
	t.Helper()
	time.Sleep(300 * time.Millisecond)
	stats, err := unix.GetsockoptTpacketStats(w.capture, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	must(err)
	if stats.Drops > 0 {
		t.Fatalf("%d packets were not captured: the test proves nothing", stats.Drops)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.payload, w.resets
}

// deaf accepts a connection and reads nothing until it is told to.
func (w *wire) deaf() (port int, read func() (int64, error)) {
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := w.listener.Accept(); err == nil {
			accepted <- c
		}
	}()
	return w.listener.Addr().(*net.TCPAddr).Port, func() (int64, error) {
		c := <-accepted
		defer c.Close()
		must(c.SetReadDeadline(time.Now().Add(30 * time.Second)))
		return io.Copy(io.Discard, c)
	}
}

// sender writes more than any buffer takes, and stays.
func sender(port int) string {
	return fmt.Sprintf("exec 3<>/dev/tcp/"+farAddress+"/%d; while :; do printf %%65536s x >&3; done", port)
}

// queued waits until a sender cannot go on, and returns what waits to be sent.
func queued(t *testing.T, port int) (bytes int64) {
	t.Helper()
	last := int64(-1)
	await(t, "a full queue", func() bool {
		text, err := os.ReadFile("/proc/net/tcp")
		must(err)
		last, bytes = bytes, 0
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) > 4 && strings.HasSuffix(f[2], fmt.Sprintf(":%04X", port)) {
				var now int64
				fmt.Sscanf(f[4], "%x", &now)
				bytes = max(bytes, now)
			}
		}
		time.Sleep(100 * time.Millisecond)
		return bytes > 1<<20 && last == bytes
	})
	return bytes
}

// silenced: of what a killed process had handed to the kernel no byte goes out any more,
// while evidence is taken and after, and its peer gets a reset. What is killed otherwise
// goes on sending: that is the control.
func silenced(t *testing.T) {
	must(os.WriteFile("/proc/sys/net/ipv4/tcp_wmem", []byte("4096 4194304 8388608"), 0)) // so that megabytes wait
	w := newWire(t)
	port, read := w.deaf()
	control := exec.Command("/bin/bash", "-c", sender(port))
	must(control.Start())
	waits := queued(t, port)
	before, _ := w.seen(t)
	must(control.Process.Kill())
	_ = control.Wait()
	all, err := read()
	after, _ := w.seen(t)
	if err != nil || all < waits || after < before+waits {
		t.Fatalf("the control: %d bytes of which %d were queued, %d on the wire before and %d after: %v", all, waits, before, after, err)
	}
	t.Logf("the control: %d bytes were queued, and %d went over the wire after its end", waits, after-before)
	port, read = w.deaf()
	t.Cleanup(func() { stockade(t, "unlock", "agents") })
	begins(t, agentGroup, sender(port))
	waits = queued(t, port)
	before, _ = w.seen(t)
	r := respond(t, 0, "kill", "agents")
	got, err := read()
	after, resets := w.seen(t)
	t.Logf("%d bytes were queued, and %d went over the wire after the kill began; %d destroyed, %d resets, then read %d: %v", waits, after-before, r.Destroyed, resets, got, err)
	if !errors.Is(err, syscall.ECONNRESET) || after != before || resets == 0 {
		t.Errorf("%d bytes went over the wire, %d resets: %v", after-before, resets, err)
	}
	if r.Destroyed < 1 || len(r.Sockets) > 0 {
		t.Errorf("%+v", r)
	}
	if r.Evidence == nil || !strings.Contains(part(t, r.Evidence.Path, "sockets.json"), fmt.Sprintf(":%d\"", port)) {
		t.Errorf("evidence: %+v", r.Evidence)
	}
}
