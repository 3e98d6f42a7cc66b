package vmtest

import (
	"os"
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
