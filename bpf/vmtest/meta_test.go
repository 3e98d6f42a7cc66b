package vmtest

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMetadata changes times, extended attributes, ACLs and flags. Their hooks
// tell no mount.
//
//	@
//	├── meta/        open, read, touch, set_x_attr
//	├── edit/        open, read, write, create: implies touch
//	├── look/        open and read
//	│   └── deep/    a mount of its own, tmpfs
//	└── also/        a bind mount of meta/, nothing granted: two paths of one file
func TestMetadata(t *testing.T) {
	s := newStage(t, permit("open read touch set_x_attr", "@/meta/"), permit("open read write create", "@/edit/"), permit(look, "@/look/"))
	s.tree("meta/file", "meta/dir/", "edit/file", "edit/dir/", "look/file", "look/dir/", "look/deep/", "also/")
	must(t, unix.Mount("tmpfs", s.at("@/look/deep"), "tmpfs", 0, ""))
	t.Cleanup(func() { unix.Unmount(s.at("@/look/deep"), unix.MNT_DETACH) })
	s.tree("look/deep/file")
	for _, dir := range []string{"meta", "look"} {
		for range 2 {
			must(t, unix.Setxattr(s.at("@/"+dir+"/file"), "trusted.old", []byte("1"), 0))
		}
	}
	op := func(words ...string) []string { return words }
	on := func(actions, path string) denial { return denial{actions: actions, path: path} }

	s.run(
		trial{name: "utimensat is denied", control: op("utimes", "@/meta/file"), probe: op("utimes", "@/look/file"), errno: eacces, want: on("write,touch", "@/look/file")},
		trial{name: "touch is denied", control: op("touch", "@/meta/file"), probe: op("touch", "@/look/file"), errno: eacces, want: on("write,touch", "@/look/file")},
		trial{name: "futimes is denied", control: op("futimes", "@/meta/file"), probe: op("futimes", "@/look/file"), errno: eacces, want: on("write,touch", "@/look/file")},
		trial{name: "times in another mount are denied", control: op("touch", "@/meta/file"), probe: op("touch", "@/look/deep/file"), errno: eacces, want: on("write,touch", "@/look/deep/file")},
		trial{name: "times of a directory are denied", control: op("utimes", "@/meta/dir"), probe: op("utimes", "@/look/dir"), errno: eacces,
			want: denial{actions: "create,touch", path: "@/look/dir", dir: true}},
		trial{name: "write implies touch", probe: op("utimes", "@/edit/file")},
		trial{name: "create implies touch of a directory", probe: op("utimes", "@/edit/dir")},
		trial{name: "setxattr is denied", control: op("settrusted", "@/meta/file"), probe: op("settrusted", "@/edit/file"), errno: eacces, want: on("set_x_attr", "@/edit/file")},
		trial{name: "removexattr is denied", control: op("removexattr", "@/meta/file"), probe: op("removexattr", "@/look/file"), errno: eacces, want: on("set_x_attr", "@/look/file")},
		trial{name: "setting an ACL is denied", control: op("setacl", "@/meta/file"), probe: op("setacl", "@/edit/file"), errno: eacces, want: on("set_x_attr", "@/edit/file")},
		trial{name: "removing an ACL is denied", control: op("removeacl", "@/meta/file"), probe: op("removeacl", "@/edit/file"), errno: eacces, want: on("set_x_attr", "@/edit/file")},
		trial{name: "file flags are denied", control: op("chattr", "@/meta/file"), probe: op("chattr", "@/look/file"), errno: eacces, want: on("set_x_attr", "@/look/file"),
			absent: []syscall.Errno{syscall.ENOTTY}},
	)

	// From here on the files of meta have a second path, which grants nothing.
	must(t, unix.Mount(s.at("@/meta"), s.at("@/also"), "", unix.MS_BIND, ""))
	s.run(
		trial{name: "each path of a file must be allowed", control: op("touch", "@/edit/file"), probe: op("touch", "@/meta/file"), errno: eacces, want: on("write,touch", "@/also/file")},
	)
	must(t, unix.Unmount(s.at("@/also"), unix.MNT_DETACH))
	s.run(trial{name: "a path that is gone does not count", probe: op("touch", "@/meta/file")})

	// Another workload, to which mount is permitted, holds more copies of that mount
	// than there once were looked at.
	const copies, spaces = 8300, "/proc/sys/user/max_mnt_namespaces" // each copy has one
	was := must1(os.ReadFile(spaces))(t)
	must(t, os.WriteFile(spaces, []byte("20000"), 0))
	t.Cleanup(func() { os.WriteFile(spaces, was, 0) })
	limit := unix.Rlimit{Cur: copies + 100, Max: copies + 100}
	other := newStage(t, everything)
	a := other.start("", nil, 0, "gate", "clones", fmt.Sprint(copies), s.at("@/meta"), "gate", "hold", "0")
	a.ready()
	must(t, unix.Prlimit(a.cmd.Process.Pid, unix.RLIMIT_NOFILE, &limit, nil))
	a.pass()
	a.ready()
	s.run(trial{name: "path beside thousands of copies of its mount is judged", control: op("touch", "@/meta/file"), probe: op("touch", "@/look/file"), errno: eacces, want: on("write,touch", "@/look/file")})
	a.pass()
	other.expectAllowed(a.wait())
}

// TestSetID makes programs that run with the rights of their owner: what makes one
// must be allowed to set the attribute of file capabilities, too.
//
//	@
//	├── ws/      all but set_x_attr
//	├── caps/    set_x_attr of security.capability alone
//	└── other/   set_x_attr of another name alone
func TestSetID(t *testing.T) {
	const all = "open read write create chmod"
	s := newStage(t, permit(all, "@/ws/", "@/caps/", "@/other/"),
		when("permit", "set_x_attr", "@/caps/", `context.xattr.name == "security.capability"`),
		when("permit", "set_x_attr", "@/other/", `context.xattr.name like "user.*"`))
	s.tree("ws/file", "ws/dir/", "ws/set", "ws/group", "caps/set", "caps/group", "caps/file", "other/file")
	must(t, os.Chown(s.at("@/ws/file"), 1000, 1000))
	must(t, os.Chown(s.at("@/caps/file"), 1000, 1000))
	for _, dir := range []string{"ws", "caps"} {
		must(t, os.Chmod(s.at("@/"+dir+"/set"), 0o755|os.ModeSetuid))
		must(t, os.Chmod(s.at("@/"+dir+"/group"), 0o644|os.ModeSetgid))
	}
	for _, dir := range []string{"ws", "caps"} {
		must(t, os.Chmod(s.at("@/"+dir), 0o777))
	}
	for _, who := range [][]string{nil, {"as", "1000", "1000"}} {
		of := ""
		if who != nil {
			of = " by a user"
		}
		denied := func(name, path string, probe ...string) trial {
			control := slices.Clone(probe)
			control[1] = strings.Replace(probe[1], "@/ws", "@/caps", 1)
			return trial{name: name + of + " is denied", control: slices.Concat(who, control), probe: slices.Concat(who, probe), errno: eacces, want: denial{actions: "set_x_attr", path: path},
				undo: func() { os.Remove(s.at("@/caps/new")); os.Chmod(s.at("@/caps/file"), 0o644) }}
		}
		s.run(
			denied("set-user-ID", "@/ws/file", "mode", "@/ws/file", "04755"),
			denied("set-group-ID", "@/ws/file", "mode", "@/ws/file", "02644"),
			denied("set-user-ID of a new file", "@/ws/new", "openmode", "@/ws/new", "rw|creat", "04755"),
			denied("set-group-ID of a new node", "@/ws/new", "mkmode", "@/ws/new", "02755"),
			denied("set-user-ID of a file without a name", "@/ws/#*", "openmode", "@/ws", "rw|tmpfile", "06755"),
			trial{name: "other bits" + of + " are allowed", probe: slices.Concat(who, words("mode", "@/ws/file", "01755"))},
			trial{name: "set-group-ID of a directory" + of + " is allowed", probe: slices.Concat(who, words("mkdirmode", "@/ws/new", "02755"))},
		)
		must(t, os.RemoveAll(s.at("@/ws/new")))
	}
	s.run(
		trial{name: "writing to a program with a set-user-ID bit is denied", control: words("open", "w", "@/caps/set"), probe: words("open", "w", "@/ws/set"), errno: eacces,
			want: denial{actions: "set_x_attr", path: "@/ws/set"}},
		trial{name: "set-group-ID that counts from now on is denied", control: words("mode", "@/caps/group", "02755"), probe: words("mode", "@/ws/group", "02755"), errno: eacces,
			want: denial{actions: "set_x_attr", path: "@/ws/group"}},
		trial{name: "a bit that is set stays", probe: words("mode", "@/ws/set", "04711")},
		trial{name: "another attribute's name is none for a bit", control: words("mode", "@/caps/file", "04755"), probe: words("mode", "@/other/file", "04755"), errno: eacces,
			want: denial{actions: "set_x_attr", path: "@/other/file"}},
	)
}

// TestMetadataOnOverlay changes metadata on an overlay whose layers grant
// nothing: overlayfs's own changes of its layers are not the task's.
func TestMetadataOnOverlay(t *testing.T) {
	s := newStage(t, permit("open read touch set_x_attr", "@/ovl/meta/"), permit(look, "@/ovl/look/"), forbid("*", "@/lower/", "@/upper/", "@/work/"))
	s.tree("lower/meta/a", "lower/meta/b", "lower/meta/c", "lower/look/a", "lower/look/b")
	s.overlay()
	op := func(words ...string) []string { return words }
	s.run(
		trial{name: "touch copies up and is allowed", probe: op("utimes", "@/ovl/meta/a")},
		trial{name: "touch of a copied file is allowed", probe: op("utimes", "@/ovl/meta/a")},
		trial{name: "setxattr copies up and is allowed", probe: op("settrusted", "@/ovl/meta/b")},
		trial{name: "touch on an overlay is denied", probe: op("utimes", "@/ovl/look/a"), errno: eacces, want: denial{actions: "write,touch", path: "@/ovl/look/a"}},
		trial{name: "setxattr on an overlay is denied", probe: op("settrusted", "@/ovl/look/b"), errno: eacces, want: denial{actions: "set_x_attr", path: "@/ovl/look/b"}},
	)
	if _, err := os.Stat(s.at("@/upper/look/a")); err == nil {
		t.Error("a denied touch copied the file up")
	}
}
