package vmtest

import (
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
)

var socketKinds = map[string]int{"stream": unix.SOCK_STREAM, "seqpacket": unix.SOCK_SEQPACKET, "dgram": unix.SOCK_DGRAM}

// listen makes a socket of an outsider: this test.
func (b *border) listen(kind, name string) int {
	b.t.Helper()
	fd := must1(unix.Socket(unix.AF_UNIX, socketKinds[kind]|unix.SOCK_CLOEXEC, 0))(b.t)
	b.t.Cleanup(func() { unix.Close(fd) })
	must(b.t, unix.Bind(fd, &unix.SockaddrUnix{Name: b.at(name)}))
	if kind != "dgram" {
		must(b.t, unix.Listen(fd, 128))
	}
	if name[0] == '@' {
		must(b.t, os.Chmod(b.at(name), 0o777))
	}
	return fd
}

// allButConnect are the actions of which none gives connect_unix.
var allButConnect = strings.ReplaceAll((abi.EnforcedActions &^ abi.MaskOf(abi.ConnectUnix)).String(), ",", " ")

// TestBoundarySockets connects and sends to unix sockets of outsiders: by the
// policy on the path that the socket was bound to, and by connect_unix alone.
//
//	@
//	├── ws/          everything but connect_unix
//	│   ├── stream, seqpacket, dgram     sockets of an outsider
//	│   └── mine                         a socket of the workload
//	├── bus/         connect_unix, nothing else
//	│   ├── stream, seqpacket, dgram
//	│   ├── link → ws/stream, hard (a link of ws/stream)
//	│   └── bound/                       bind of ws
//	└── secret/      nothing
//	    └── stream, seqpacket, dgram
func TestBoundarySockets(t *testing.T) {
	b := newBorder(t, permit(allButConnect, "@/ws/"), permit("connect_unix", "@/bus/"))
	b.tree("ws/", "bus/bound/", "secret/")
	for _, dir := range []string{"ws", "bus", "secret"} {
		for kind := range socketKinds {
			b.listen(kind, "@/"+dir+"/"+kind)
		}
	}
	must(t, os.Symlink(b.at("@/ws/stream"), b.at("@/bus/link")))
	must(t, os.Link(b.at("@/ws/stream"), b.at("@/bus/hard")))
	must(t, unix.Mount(b.at("@/ws"), b.at("@/bus/bound"), "", unix.MS_BIND, ""))
	t.Cleanup(func() { unix.Unmount(b.at("@/bus/bound"), unix.MNT_DETACH) })
	b.insider(nil, "serve", "stream", "@/ws/mine")
	must(t, os.Chmod(b.at("@/ws/mine"), 0o777))

	place := func(path string) denial { return on("connect_unix", path) }
	var cases []crossing
	reach := func(name, kind string, argv ...string) {
		at := func(dir string) []string { return append(slices.Clone(argv), "@/"+dir+"/"+kind) }
		cases = append(cases, crossing{name: name + " where all else is permitted is denied", inside: at("bus"), again: true, free: at("ws"), probe: at("ws"), errno: eacces, want: place("@/ws/" + kind)})
	}
	for _, kind := range []string{"stream", "seqpacket", "dgram"} {
		reach(kind, kind, "connect", kind)
		secret := "@/secret/" + kind
		cases = append(cases, crossing{name: kind + " in a secret place is denied", probe: words("connect", kind, secret), errno: eacces, want: place(secret)})
	}
	for _, mode := range []string{"inline", "async", "sqpoll"} {
		reach("stream by io_uring "+mode, "stream", "uring", mode, "connect", "stream")
	}
	reach("datagram", "dgram", "sendto")
	reach("datagram by sendmsg", "dgram", "sendmsg")
	reach("stream as a user", "stream", "asuser", "connect", "stream")
	reach("stream by io_uring as a user", "stream", "asuser", "uring", "inline", "connect", "stream")
	reach("datagram as a user", "dgram", "asuser", "sendto")
	for name, argv := range map[string][]string{"": nil, " as a user": words("asuser")} {
		cases = append(cases, crossing{name: "stream of the workload" + name + " is allowed", probe: append(argv, words("connect", "stream", "@/ws/mine")...), again: true},
			crossing{name: "stream of the workload by io_uring" + name + " is allowed", probe: append(argv, words("uring", "inline", "connect", "stream", "@/ws/mine")...), again: true})
	}
	for name, path := range map[string]string{"symbolic link": "link", "hard link": "hard", "bind mount": "bound/stream"} {
		want := place("@/ws/stream")
		cases = append(cases, crossing{name: "socket by a " + name + " is denied", probe: words("connect", "stream", "@/bus/"+path), errno: eacces, want: want})
	}
	for _, kind := range []string{"stream", "seqpacket", "dgram"} {
		get := words("receive", "3", "writefd", "%")
		gift := func(place string) func() *os.File {
			return func() *os.File { return b.connected(kind, b.at("@/"+place+"/"+kind)) }
		}
		cases = append(cases,
			crossing{name: kind + " that an outsider connected is not received", free: get, gift: gift("ws"), probe: get, errno: unix.EBADF, want: place("@/ws/" + kind)},
			crossing{name: kind + " that may be connected is received", gift: gift("bus"), probe: get, again: true})
	}
	b.cross(append(cases, crossing{name: "inherited datagram socket to an outsider is judged by each send", files: []*os.File{b.connected("dgram", b.at("@/ws/dgram"))},
		free: words("writefd", "3"), probe: words("writefd", "3"), errno: eacces, want: place("@/ws/dgram")})...)
}

// TestBoundaryNamelessSockets uses abstract sockets and pairs. Policy permits
// everything.
func TestBoundaryNamelessSockets(t *testing.T) {
	b := newBorder(t, everything)
	var cases []crossing
	for _, kind := range []string{"stream", "seqpacket", "dgram"} {
		outside, inside := "stockade-out-"+kind+b.dir, "stockade-in-"+kind+b.dir
		b.listen(kind, "\x00"+outside)
		b.insider(nil, "serve", kind, "abstract:"+inside)
		try := func(name string) []string { return words("connect", kind, "abstract:"+name) }
		cases = append(cases, crossing{name: "abstract " + kind + " of an outsider is denied", inside: try(inside), again: true, free: try(outside), probe: try(outside)})
		if kind == "dgram" {
			send := func(name string) []string { return words("sendto", "abstract:"+name) }
			cases = append(cases, crossing{name: "datagram to an abstract socket of an outsider is denied", inside: send(inside), again: true, free: send(outside), probe: send(outside)})
		}
	}
	b.listen("dgram", "\x00stockade-held"+b.dir)
	// A socket belongs to the cgroup where it was made.
	stray := b.start("", nil, 0, "gate", "serve", "stream", "abstract:stockade-stray"+b.dir, "gate", "hold", "0")
	stray.ready()
	move(t, stray.cmd.Process.Pid, cgroups)
	stray.pass()
	stray.ready()
	t.Cleanup(func() { stray.pass(); stray.wait() })
	b.cross(forbidden(abi.BoundarySocket, append(cases,
		crossing{name: "abstract socket of a task that was moved is taken for an outsider's", probe: words("connect", "stream", "abstract:stockade-stray"+b.dir)},
		crossing{name: "inherited datagram socket to an abstract socket of an outsider is judged by each send", files: []*os.File{b.connected("dgram", "\x00stockade-held"+b.dir)},
			free: words("writefd", "3"), probe: words("writefd", "3")}))...)

	b.listen("stream", "\x00stockade-stream"+b.dir)
	pair := must1(unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))(t)
	end := os.NewFile(uintptr(pair[0]), "pair")
	t.Cleanup(func() { end.Close(); unix.Close(pair[1]) })
	b.cross(
		crossing{name: "pair of streams is allowed", probe: words("pair", "stream"), again: true},
		crossing{name: "pair of datagram sockets is allowed", probe: words("pair", "dgram"), again: true},
		crossing{name: "inherited stream keeps working", files: []*os.File{b.connected("stream", "\x00stockade-stream"+b.dir)}, probe: words("writefd", "3"), again: true},
		crossing{name: "inherited end of a pair keeps working", files: []*os.File{end}, probe: words("writefd", "3"), again: true},
	)
}

// connected returns a socket that an outsider connected.
func (b *border) connected(kind, name string) *os.File {
	b.t.Helper()
	fd := must1(unix.Socket(unix.AF_UNIX, socketKinds[kind]|unix.SOCK_CLOEXEC, 0))(b.t)
	must(b.t, unix.Connect(fd, &unix.SockaddrUnix{Name: name}))
	f := os.NewFile(uintptr(fd), "socket")
	b.t.Cleanup(func() { f.Close() })
	return f
}

// TestBoundaryOwnSockets connects to sockets of the workload itself, wherever
// they are bound.
//
//	@
//	├── ws/        create, where the sockets are; nothing else
//	└── secret/    nothing
func TestBoundaryOwnSockets(t *testing.T) {
	b := newBorder(t, permit("create", "@/ws/"))
	b.tree("ws/", "secret/")
	for _, kind := range []string{"stream", "seqpacket", "dgram"} {
		b.insider(nil, "serve", kind, "@/ws/"+kind)
		b.cross(crossing{name: kind + " of the workload is allowed", probe: words("connect", kind, "@/ws/"+kind), again: true})
	}
	b.cross(crossing{name: "datagram to the workload is allowed", probe: words("sendto", "@/ws/dgram"), again: true})
}
