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
	inVM(t)
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

// TestKindsOfSocketsAreGranted asks for packets, with and without the grant.
func TestKindsOfSocketsAreGranted(t *testing.T) {
	inVM(t)
	const packets = `import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)`
	const denied = "a socket of kind packet by /usr/bin/python3"
	python(t, packets).want(t, 1, denied)
	python(t, packets, "--socket-kind", "raw").want(t, 1, denied)
	python(t, packets, "--socket-kind", "packet").want(t, 0)
	if r := python(t, packets, "--socket-kind", "pocket"); r.code != 125 {
		t.Errorf("a kind that there is not: exit %d:\n%s", r.code, r.stderr)
	}
}
