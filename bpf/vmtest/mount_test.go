package vmtest

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/thread"
)

func outsidePath(path, actions string) denial {
	return denial{actions: actions, path: "(outside)" + path, reason: abi.ReasonOutside, status: abi.PathOutside}
}

// TestChroots confines a task that an outsider put into a chroot: paths are
// seen from the registered root, not from the task's own.
//
//	@
//	├── bin/tool           execute
//	├── ws/key             open and read
//	├── jail/              open and read, not execute
//	│   ├── bin/tool       what the jail would show as /bin/tool
//	│   └── ws/key
//	└── secret/            nothing
//	    ├── key
//	    └── ws/key         what the jail would show as @/ws/key
func TestChroots(t *testing.T) {
	s := newStage(t, permit("execute", "@/bin/", "/bin/"), permit(look, "@/ws/", "@/jail/", "/key"))
	s.program("bin/tool", "jail/bin/tool")
	s.tree("ws/key", "jail/ws/key", "secret/key")
	hidden := s.dir[1:] + "/ws/key"
	s.tree("secret/" + hidden)
	s.run(
		trial{name: "secret shown as a key at the root is denied", steps: "chroot=@/secret", probe: []string{"open", "r", "/key"}, errno: eacces,
			want: denial{actions: "open,read", path: "@/secret/key"}},
		trial{name: "secret shown under an allowed path is denied", steps: "chroot=@/secret", probe: []string{"open", "r", "/" + hidden}, errno: eacces,
			want: denial{actions: "open,read", path: "@/secret/" + hidden}},
		trial{name: "allowed file is allowed inside the chroot", steps: "chroot=@/jail", probe: []string{"open", "r", "/ws/key"}},
		trial{name: "program shown under an allowed path is denied", steps: "chroot=@/jail", probe: []string{"exec", "/bin/tool"}, errno: eacces,
			want: denial{actions: "execute", path: "@/jail/bin/tool"}},
	)
}

// TestHandedDirectories opens files from directories that an outsider handed
// over: as descriptor and as working directory.
//
//	@
//	├── ws/           open and read
//	│   ├── key
//	│   └── bound/    bind of @/secret
//	├── box/dir/key   open and read; bind of box at view
//	├── view/         open and read
//	└── secret/       nothing
//	    ├── key
//	    └── bound/    bind of @/ws
func TestHandedDirectories(t *testing.T) {
	s := newStage(t, permit(look, "@/ws/", "@/box/", "@/view/"))
	s.tree("ws/key", "ws/bound/", "box/dir/key", "view/", "secret/key", "secret/bound/", "secret/far/")
	bind := func(from, to string) {
		must(t, unix.Mount(s.at(from), s.at(to), "", unix.MS_BIND, ""))
		t.Cleanup(func() { unix.Unmount(s.at(to), unix.MNT_DETACH) })
	}
	bind("@/secret", "@/ws/bound")
	bind("@/ws", "@/secret/bound")
	bind("@/box", "@/view")
	folder := func(path string) *os.File {
		f := must1(os.Open(s.at(path)))(t)
		t.Cleanup(func() { f.Close() })
		return f
	}
	secret, ws, tree, view := folder("@/secret"), folder("@/ws"), openTree(t, s.at("@/ws"), unix.OPEN_TREE_CLONE), folder("@/view/dir")
	defer tree.Close()
	from3 := []string{"openat", "3", "r", "key"}
	here := []string{"open", "r", "key"}

	s.run(
		trial{name: "descriptor of an allowed directory is allowed", files: []*os.File{ws}, probe: from3},
		trial{name: "descriptor of a secret directory is denied", files: []*os.File{secret}, probe: from3, errno: eacces, want: denial{actions: "open,read", path: "@/secret/key"}},
		trial{name: "working directory of a cloned tree is denied", files: []*os.File{tree}, steps: "fchdir=3", probe: here, errno: eacces, want: outsidePath("/key", "open,read")},
		trial{name: "dots out of a cloned tree are denied", files: []*os.File{tree}, steps: "fchdir=3", probe: []string{"open", "r", "../key"}, errno: eacces, want: outsidePath("/key", "open,read")},
		trial{name: "bind made by an outsider has the path of its place", probe: []string{"open", "r", "@/ws/bound/key"}},
		trial{name: "bind in a secret place is denied", control: []string{"open", "r", "@/ws/key"}, probe: []string{"open", "r", "@/secret/bound/key"}, errno: eacces,
			want: denial{actions: "open,read", path: "@/secret/bound/key"}},
		trial{name: "file of a bind that lost its directory is denied", files: []*os.File{view}, control: from3,
			undo:  func() { must(t, os.Rename(s.at("@/box/dir"), s.at("@/secret/far/dir"))) },
			probe: from3, errno: eacces, want: outsidePath("/"+s.dir[5:]+"/secret/far/dir/key", "open,read")},
		trial{name: "other mount namespace is denied", steps: "newns", probe: []string{"open", "r", "@/ws/key"}, errno: eacces, want: outsidePath(s.at("@/ws/key"), "open,read")},
	)
}

// TestInnerRoot registers a directory as the workload's root, as a container's
// is: nothing above it has a path.
//
//	@/root           the workload's /
//	├── ws/key       open and read
//	├── secret/key   nothing
//	└── <ws>         what leads from the machine's root to @/ws: open and read
//	@/ws/key
func TestInnerRoot(t *testing.T) {
	s := newStage(t)
	above := s.at("@/ws/key")
	s.tree("root/ws/key", "root/secret/key", "root/"+above[1:], "ws/key", "ws/dir/")
	s.registerAt("@/root")
	plan, err := compile(s.exe, "", permit(look, "/ws/", above))
	must(t, err)
	must1(s.Install(s.id, plan.Table.Words(), abi.Enforce))(t)
	dir := must1(os.Open("/"))(t)
	defer dir.Close()
	ws := must1(os.Open(s.at("@/ws")))(t)
	defer ws.Close()
	exe := "(outside)" + s.exe
	inner := denial{actions: "open,read", path: "/secret/key", exe: exe}
	outer := outsidePath(above, "open,read")
	outer.exe = exe
	open := func(path string) []string { return []string{"open", "r", path} }

	s.run(
		trial{name: "path is relative to the inner root", steps: "chroot=@/root", control: open("/ws/key"), probe: open("/secret/key"), errno: eacces, want: inner},
		trial{name: "allowed path above the root is denied", steps: "", probe: open(above), errno: eacces, want: outer},
		trial{name: "same path in the inner root is allowed", steps: "chroot=@/root", probe: open(above)},
		trial{name: "descriptor above the root is denied", steps: "chroot=@/root", files: []*os.File{dir}, control: open("/ws/key"),
			probe: []string{"openat", "3", "r", above[1:]}, errno: eacces, want: outer},
		trial{name: "working directory above the root is denied", steps: "chroot=@/root,fchdir=3", files: []*os.File{ws}, control: open("/ws/key"),
			probe: open("key"), errno: eacces, want: outer},
		trial{name: "dots from above the root are denied", steps: "chroot=@/root,fchdir=3", files: []*os.File{ws}, control: open("/ws/key"),
			probe: open("dir/../key"), errno: eacces, want: outer},
	)
}

// registerAt makes dir the workload's root: from a thread that ends with it.
func (s *stage) registerAt(dir string) {
	s.t.Helper()
	must(s.t, thread.Do(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
		if err := unix.Chroot(s.at(dir)); err != nil {
			return err
		}
		return s.RegisterRoot(s.id)
	}))
}
