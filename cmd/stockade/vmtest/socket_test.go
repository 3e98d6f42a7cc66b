package vmtest

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// all permits what a policy can permit.
const all = "/policy/all.cedar"

// python runs a script of Python under it.
func python(t *testing.T, script string, options ...string) result {
	t.Helper()
	must(os.WriteFile(all, []byte("permit (principal, action, resource);"), 0o644))
	return stockade(t, append(append([]string{"run", "--policy", all}, options...), "--", "python3", "-c", script)...)
}

// TestSocketsOfPythonWork uses TCP, UDP, pairs, names and interfaces.
func TestSocketsOfPythonWork(t *testing.T) {
	byAgent(t)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(err)
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	must(err)
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	must(unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req))
	python(t, `
import asyncio, socket
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
client.sendall(b"x")
assert server.accept()[0].recv(1) == b"x"
one, two = socket.socketpair()
one.send(b"x")
assert two.recv(1) == b"x"
assert socket.getaddrinfo("localhost", 80)
assert ("lo" in [name for _, name in socket.if_nameindex()])
asyncio.run(asyncio.sleep(0))
events = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15)
events.bind((0, 2))
`).want(t, 0)
}

// TestKindsOfSocketsAreGranted asks for packets and for a raw socket, without and
// with a grant of one of them.
func TestKindsOfSocketsAreGranted(t *testing.T) {
	byAgent(t)
	const script = `
import socket
for kind in (socket.AF_PACKET, socket.SOCK_RAW, 0), (socket.AF_INET, socket.SOCK_RAW, 1):
    try:
        print("made", socket.socket(*kind).family)
    except PermissionError as e:
        print("refused", e.errno)
`
	const packet, raw = "denied a socket of kind packet by /usr/bin/python3", "denied a socket of kind raw by /usr/bin/python3"
	python(t, script).want(t, 0, packet, raw)
	python(t, script, "--cap", "NET_RAW", "--socket-kind", "packet").want(t, 0, raw)
	if r := python(t, script, "--socket-kind", "pocket"); r.code != 125 {
		t.Errorf("a kind that there is not: exit %d:\n%s", r.code, r.stderr)
	}
}
