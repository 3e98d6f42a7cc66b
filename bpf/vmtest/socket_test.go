package vmtest

import (
	"os"
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
		must(b.t, unix.Listen(fd, 64))
	}
	return fd
}

// TestBoundarySockets connects to unix sockets of outsiders: by the policy on
// the path that the socket was bound to.
//
//	@
//	├── ws/          everything but execute
//	│   ├── stream, seqpacket, dgram     sockets of an outsider
//	│   ├── link → secret/stream, hard (a link of secret/stream)
//	│   ├── gone                         no socket listens there any more
//	│   └── bound/                       bind of secret
//	├── look/        open and read
//	├── write/       write, not open
//	└── secret/      nothing
//	    └── stream, seqpacket, dgram
func TestBoundarySockets(t *testing.T) {
	b := newBorder(t, permit(anyUse, "@/ws/"), permit(look, "@/look/"), permit("write", "@/write/"))
	b.tree("ws/bound/", "look/", "write/", "secret/")
	for _, dir := range []string{"ws", "look", "write", "secret"} {
		for kind := range socketKinds {
			b.listen(kind, "@/"+dir+"/"+kind)
		}
	}
	must(t, os.Symlink(b.at("@/secret/stream"), b.at("@/ws/link")))
	must(t, os.Link(b.at("@/secret/stream"), b.at("@/ws/hard")))
	must(t, unix.Mount(b.at("@/secret"), b.at("@/ws/bound"), "", unix.MS_BIND, ""))
	t.Cleanup(func() { unix.Unmount(b.at("@/ws/bound"), unix.MNT_DETACH) })

	var cases []crossing
	for _, kind := range []string{"stream", "seqpacket", "dgram"} {
		try := func(dir string) []string { return words("connect", kind, "@/"+dir+"/"+kind) }
		place := func(dir, actions string) denial { return on(actions, "@/"+dir+"/"+kind) }
		cases = append(cases,
			crossing{name: kind + " of an outsider in a secret place is denied", inside: try("ws"), free: try("secret"), probe: try("secret"), errno: eacces, want: place("secret", "open,write")},
			crossing{name: kind + " of an outsider where reading is granted is denied", probe: try("look"), errno: eacces, want: place("look", "write")},
			crossing{name: kind + " of an outsider where only writing is granted is denied", probe: try("write"), errno: eacces, want: place("write", "open")},
		)
	}
	b.cross(append(cases,
		crossing{name: "datagram to an outsider in a secret place is denied", inside: words("sendto", "@/ws/dgram"), free: words("sendto", "@/secret/dgram"),
			probe: words("sendto", "@/secret/dgram"), errno: eacces, want: on("open,write", "@/secret/dgram")},
		crossing{name: "socket by a symbolic link is denied", probe: words("connect", "stream", "@/ws/link"), errno: eacces, want: on("open,write", "@/secret/stream")},
		crossing{name: "socket by a hard link is denied", probe: words("connect", "stream", "@/ws/hard"), errno: eacces, want: on("open,write", "@/secret/stream")},
		crossing{name: "socket by a bind mount is denied", probe: words("connect", "stream", "@/ws/bound/stream"), errno: eacces, want: on("open,write", "@/secret/stream")},
	)...)
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
