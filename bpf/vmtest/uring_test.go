package vmtest

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// TestRings does by io_uring what the policy refuses to system calls: in the
// caller's thread, by a worker, by the polling thread, and into a file table.
//
//	@
//	├── low/      open, read, create, delete, move
//	├── high/     everything but execute
//	└── secret/   nothing
//	    └── key
func TestRings(t *testing.T) {
	s := newStage(t, permit("open read create delete move", "@/low/"), permit(anyUse, "@/high/"))
	s.tree("secret/key", "low/victim")
	for _, f := range []string{"a", "b"} {
		s.tree("low/"+f, "high/"+f)
	}
	key := denial{actions: "open,read", path: "@/secret/key"}
	for _, mode := range []string{"inline", "async", "sqpoll", "fixed"} {
		op := func(words ...string) []string { return append([]string{"uring", mode}, words...) }
		s.run(trial{name: "open " + mode + " is denied", control: op("open", "r", "@/high/a"), probe: op("open", "r", "@/secret/key"), errno: eacces, want: key})
		if mode == "fixed" {
			continue
		}
		s.run(
			trial{name: "openat2 " + mode + " is denied", control: op("openat2", "r", "@/high/a"), probe: op("openat2", "r", "@/secret/key"), errno: eacces, want: key},
			trial{name: "creating open " + mode + " is denied", control: op("open", "w|creat", "@/high/new"+mode),
				probe: op("open", "w|creat", "@/secret/new"), errno: eacces, want: denial{actions: "create", path: "@/secret/new"}},
			trial{name: "rename " + mode + " is denied", control: op("rename", "@/high/a", "@/high/a"), probe: op("rename", "@/secret/key", "@/high/key"), errno: eacces,
				want: denial{actions: "move", path: "@/secret/key", dest: "@/high/key"}},
			trial{name: "rename that gains " + mode + " is refused", control: op("rename", "@/low/a", "@/low/a"), probe: op("rename", "@/low/a", "@/high/c"), errno: exdev,
				want: denial{actions: "move", path: "@/low/a", dest: "@/high/c", reason: abi.ReasonGain}},
			trial{name: "link " + mode + " is refused", control: op("link", "@/high/b", "@/high/link"+mode), probe: op("link", "@/secret/key", "@/high/key"), errno: exdev,
				want: denial{actions: "create", path: "@/secret/key", dest: "@/high/key", reason: abi.ReasonGain}},
			trial{name: "symlink " + mode + " is denied", control: op("symlink", "x", "@/high/sym"+mode), probe: op("symlink", "x", "@/secret/sym"), errno: eacces,
				want: denial{actions: "create", path: "@/secret/sym"}},
			trial{name: "unlink " + mode + " is denied", control: op("unlink", "@/high/sym"+mode), probe: op("unlink", "@/secret/key"), errno: eacces,
				want: denial{actions: "delete", path: "@/secret/key"}},
			trial{name: "mkdir " + mode + " is denied", control: op("mkdir", "@/high/dir"+mode), probe: op("mkdir", "@/secret/dir"), errno: eacces,
				want: denial{actions: "create", path: "@/secret/dir", dir: true}},
		)
	}
}

// TestOldWorkers lets a worker act that is older than the credentials of who
// submits. It is judged all the same, and under those credentials.
//
//	@
//	├── look/x     open and read
//	├── meta/x     open, read, set_x_attr
//	├── root/x     open and read by users below 1000
//	└── user/x     open and read by user 1000
func TestOldWorkers(t *testing.T) {
	s := newStage(t, permit(look, "@/look/"), permit("open read set_x_attr", "@/meta/"),
		when("permit", look, "@/root/", "context has user && context.user.uid < 1000"),
		when("permit", look, "@/user/", "context has user && context.user.uid == 1000"))
	s.tree("look/x", "meta/x", "root/x", "user/x")
	old := func(uid string, argv ...string) []string {
		return append([]string{"agedring", uid, "@/look/x"}, argv...)
	}
	s.run(
		trial{name: "attribute is judged", control: old("0", "setxattr", "user.x", "@/meta/x"), probe: old("0", "setxattr", "user.x", "@/look/x"), errno: eacces,
			absent: []unix.Errno{unix.EOPNOTSUPP}, want: denial{actions: "set_x_attr", path: "@/look/x"}},
		trial{name: "user of a chain is who submitted it", control: []string{"chainedopen", "@/root/x"}, probe: []string{"chainedopen", "@/user/x"}, errno: eacces,
			want: denial{actions: "open,read", path: "@/user/x"}},
		trial{name: "user is who submits", control: old("1000", "open", "r", "@/user/x"), probe: old("1000", "open", "r", "@/root/x"), errno: eacces,
			want: denial{actions: "open,read", path: "@/root/x"}},
	)
}
