package vmtest

import (
	"syscall"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// TestModes asks for each kind of right where it is granted and where not.
//
//	@
//	├── ws/       everything but execute
//	│   ├── file, other, gone, victim
//	│   ├── empty/
//	│   └── link → ws/file
//	├── look/     open and read
//	│   ├── file
//	│   ├── link → ws/file
//	│   └── empty/
//	├── edit/     open, read and write, not create
//	│   └── file
//	└── secret/   nothing
//	    ├── key
//	    └── link → ws/file
func TestModes(t *testing.T) {
	s := newStage(t, permit(anyUse, "@/ws/"), permit(look, "@/look/"), permit("open read write", "@/edit/"))
	s.tree("ws/file", "ws/other", "ws/victim", "ws/empty/", "ws/link -> @/ws/file",
		"look/file", "look/empty/", "look/link -> @/ws/file", "edit/file", "secret/key", "secret/link -> @/ws/file")
	op := func(words ...string) []string { return words }
	on := func(actions, path string) denial { return denial{actions: actions, path: path} }
	dir := func(actions, path string) denial { return denial{actions: actions, path: path, dir: true} }

	s.run(
		// 19–22
		trial{name: "truncate without open is denied", control: op("truncate", "@/ws/file"),
			probe: op("truncate", "@/look/file"), errno: eacces, want: on("write", "@/look/file")},
		trial{name: "read-only open that truncates is denied", control: op("open", "r|trunc", "@/ws/file"),
			probe: op("open", "r|trunc", "@/look/file"), errno: eacces, want: on("write", "@/look/file")},
		trial{name: "truncation of a writable file is allowed", probe: op("open", "w|trunc", "@/ws/file")},
		trial{name: "ftruncate of a writable file is allowed", probe: op("ftruncate", "@/ws/file")},
		trial{name: "appending is denied", control: op("open", "w|append", "@/ws/file"),
			probe: op("open", "w|append", "@/look/file"), errno: eacces, want: on("write", "@/look/file")},
		trial{name: "writing where reading is granted is denied", control: op("open", "r", "@/look/file"),
			probe: op("open", "rw", "@/look/file"), errno: eacces, want: on("write", "@/look/file")},
		trial{name: "new file by open is denied", control: op("open", "w|creat", "@/ws/new"),
			probe: op("open", "w|creat", "@/edit/new"), errno: eacces, want: on("create", "@/edit/new")},
		trial{name: "creating open of an existing file is allowed", probe: op("open", "rw|creat", "@/edit/file")},

		// 23
		trial{name: "mkdir is denied", control: op("mkdir", "@/ws/dir"), probe: op("mkdir", "@/edit/dir"), errno: eacces, want: dir("create", "@/edit/dir")},
		trial{name: "mknod of a file is denied", control: op("mkreg", "@/ws/reg"), probe: op("mkreg", "@/edit/reg"), errno: eacces, want: on("create", "@/edit/reg")},
		trial{name: "mknod of a fifo is denied", control: op("fifo", "@/ws/fifo"), probe: op("fifo", "@/edit/fifo"), errno: eacces, want: on("create", "@/edit/fifo")},
		trial{name: "mknod of a device is denied whatever policy says", control: op("mkreg", "@/ws/reg2"), probe: op("mkchr", "@/ws/chr"), errno: syscall.EPERM,
			want: denial{actions: "create", path: "@/ws/chr", reason: abi.ReasonBoundary}},
		trial{name: "bind of a unix socket is denied", control: op("bind", "@/ws/sock"), probe: op("bind", "@/edit/sock"), errno: eacces, want: on("create", "@/edit/sock")},
		trial{name: "symlink is denied", control: op("symlink", "x", "@/ws/sym"), probe: op("symlink", "x", "@/edit/sym"), errno: eacces, want: on("create", "@/edit/sym")},
		trial{name: "unlink is denied", control: op("unlink", "@/ws/victim"), probe: op("unlink", "@/edit/file"), errno: eacces, want: on("delete", "@/edit/file")},
		trial{name: "unlink of a symbolic link is judged by the link", control: op("unlink", "@/ws/link"), probe: op("unlink", "@/look/link"), errno: eacces, want: on("delete", "@/look/link")},
		trial{name: "rmdir is denied", control: op("rmdir", "@/ws/empty"), probe: op("rmdir", "@/look/empty"), errno: eacces, want: dir("delete", "@/look/empty")},

		// 24
		trial{name: "file without a name is denied", control: op("open", "rw|tmpfile", "@/ws"), probe: op("open", "rw|tmpfile", "@/edit"), errno: eacces,
			want: on("create", "@/edit/#*")},
		trial{name: "file without a name in a secret place is denied", control: op("open", "w|tmpfile", "@/ws"), probe: op("open", "w|tmpfile", "@/secret"), errno: eacces,
			want: on("open,write,create", "@/secret/#*")},
		trial{name: "file without a name gets none elsewhere", control: op("tmpfile", "@/ws", "@/ws/named"), probe: op("tmpfile", "@/ws", "@/edit/named"), errno: eacces,
			want: denial{actions: "create", path: "@/ws/#*", dest: "@/edit/named"}},

		// 25
		trial{name: "chmod is denied", control: op("chmod", "@/ws/file"), probe: op("chmod", "@/look/file"), errno: eacces, want: on("chmod", "@/look/file")},
		trial{name: "chmod of a directory is denied", control: op("chmod", "@/ws"), probe: op("chmod", "@/look"), errno: eacces, want: dir("chmod", "@/look")},
		trial{name: "fchmod is denied", control: op("fchmod", "@/ws/file"), probe: op("fchmod", "@/look/file"), errno: eacces, want: on("chmod", "@/look/file")},
		trial{name: "fchmodat2 is denied", control: op("fchmodat2", "@/ws/file"), probe: op("fchmodat2", "@/look/file"), errno: eacces, want: on("chmod", "@/look/file")},
		trial{name: "chown is denied", control: op("chown", "@/ws/file"), probe: op("chown", "@/look/file"), errno: eacces, want: on("chown", "@/look/file")},
		trial{name: "chown of a symbolic link is judged by the link", control: op("lchown", "@/ws/file"), probe: op("lchown", "@/secret/link"), errno: eacces, want: on("chown", "@/secret/link")},
		trial{name: "fchown is denied", control: op("fchown", "@/ws/file"), probe: op("fchown", "@/look/file"), errno: eacces, want: on("chown", "@/look/file")},

		// 26: stat is not handled unless asked for; access reaches no hook
		trial{name: "stat of a secret is a limit", probe: op("stat", "@/secret/key"), limit: limitStat},
		trial{name: "access to a secret is a limit", probe: op("access", "@/secret/key"), limit: limitStat},
		trial{name: "readlink of a secret is a limit", probe: op("readlink", "@/secret/link"), limit: limitStat},

		// 28
		trial{name: "copy between two allowed files is allowed", probe: op("copyrange", "@/look/file", "@/edit/file")},
	)
}

// TestDeleted reopens files whose name is gone.
//
//	@
//	├── ws/         everything but execute
//	│   ├── a, b
//	├── low/        open, read and delete
//	│   ├── a, b
//	└── odd/
//	    ├── x                 nothing
//	    ├── x (deleted)       open and read
//	    ├── y                 open, read and delete
//	    └── y (deleted)       nothing
func TestDeleted(t *testing.T) {
	s := newStage(t, permit(anyUse, "@/ws/"), permit("open read delete", "@/low/", "@/odd/y"), permit(look, "@/odd/x (deleted)"))
	s.tree("ws/a", "ws/b", "low/a", "low/b", "odd/x", "odd/x (deleted)", "odd/y", "odd/y (deleted)")
	s.run(
		trial{name: "deleted file keeps its verdict", control: []string{"deleted", "w", "@/ws/a"},
			probe: []string{"deleted", "w", "@/low/a"}, errno: eacces, want: denial{actions: "write", path: "@/low/a"}},
		trial{name: "deleted file is reopened where that is granted", probe: []string{"deleted", "r", "@/low/b"}},
		trial{name: "name that ends in (deleted) grants nothing to the plain name", control: []string{"open", "r", "@/odd/x (deleted)"},
			probe: []string{"open", "r", "@/odd/x"}, errno: eacces, want: denial{actions: "open,read", path: "@/odd/x"}},
		trial{name: "plain name grants nothing to one that ends in (deleted)", control: []string{"open", "r", "@/odd/y"},
			probe: []string{"open", "r", "@/odd/y (deleted)"}, errno: eacces, want: denial{actions: "open,read", path: "@/odd/y (deleted)"}},
		trial{name: "deleted file is not taken for one that ends in (deleted)", probe: []string{"deleted", "r", "@/odd/y"}},
	)
}

// TestOddNames uses bytes that mean something to pattern languages and logs.
// In @/odd each name is granted and its twin is not.
func TestOddNames(t *testing.T) {
	pairs := []struct{ what, granted, twin string }{
		{"star", "a*b", "aXb"},
		{"newline", "a\nb", "a b"},
		{"backslash", `a\b`, "ab"},
		{"quote", `a"b`, "a'b"},
		{"question mark", "a?b", "acb"},
		{"bracket", "[ab]", "a"},
		{"invalid UTF-8 twin", "café", "caf\xe9"},
		{"unicode form", "\u00e9", "e\u0301"},
		{"case", "Name", "name"},
		{"blank at the end", "end", "end "},
		{"dot at the end", "dot", "dot."},
		{"escape sequence", "\x1b[31m", "[31m"},
	}
	var granted []string
	for _, p := range pairs {
		granted = append(granted, "@/odd/"+p.granted)
	}
	s := newStage(t, permit(look, granted...))
	for _, p := range pairs {
		s.tree("odd/"+p.granted, "odd/"+p.twin)
		s.run(trial{name: p.what + " is exact", control: []string{"open", "r", "@/odd/" + p.granted},
			probe: []string{"open", "r", "@/odd/" + p.twin}, errno: eacces, want: denial{actions: "open,read", path: "@/odd/" + p.twin}})
	}
}

// TestPathless opens what has no path in any directory.
func TestPathless(t *testing.T) {
	s := newStage(t, permit(look, "@/"))
	s.tree("file")
	nothing := denial{actions: "open,read", path: "(outside)/", reason: abi.ReasonOutside, status: abi.PathOutside}
	s.run(
		trial{name: "anonymous pipe is reopened", probe: []string{"pipe", "rw"}},
		trial{name: "pidfd of its own process is opened and used", probe: []string{"pidfd"}},
		trial{name: "namespace file is denied", control: []string{"open", "r", "@/file"}, probe: []string{"open", "r", "/proc/self/ns/mnt"}, errno: eacces, want: nothing},
	)
	t.Run("permit on every resource reaches them", func(t *testing.T) {
		s.install(abi.Enforce, "permit (principal, action, resource);")
		s.sub(t, func() { s.try(trial{probe: []string{"open", "r", "/proc/self/ns/mnt"}}) })
	})
}
