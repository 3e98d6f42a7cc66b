package vmtest

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// TestUsers decides by effective ids.
func TestUsers(t *testing.T) {
	s := newStage(t, when("permit", look, "@/user/", "context has user && context.user.uid == 1000"),
		when("permit", look, "@/group/", "context has group && context.group.gid == 2000"),
		when("permit", look, "@/root/", "context has user && context.user.uid < 1000"))
	s.tree("user/x", "group/x", "root/x")
	read := func(path string) []string { return words("open", "r", path) }
	as := func(uid, gid, path string) []string { return append(words("as", uid, gid), read(path)...) }
	want := func(path string) denial { return denial{actions: "open,read", path: path} }
	s.run(
		trial{name: "other user is denied", control: as("1000", "1000", "@/user/x"), probe: read("@/user/x"), errno: eacces, want: want("@/user/x")},
		trial{name: "next user is denied", control: as("1000", "1000", "@/user/x"), probe: as("1001", "1000", "@/user/x"), errno: eacces, want: want("@/user/x")},
		trial{name: "other group is denied", control: as("1000", "2000", "@/group/x"), probe: as("1000", "1999", "@/group/x"), errno: eacces, want: want("@/group/x")},
		trial{name: "effective user counts", control: append(words("effectively", "1000"), read("@/user/x")...),
			probe: append(words("effectively", "1000"), read("@/root/x")...), errno: eacces, want: want("@/root/x")},
	)
}

// TestTime lets a permission end while a task runs: without a reload.
func TestTime(t *testing.T) {
	const shown = "2006-01-02T15:04:05.000Z"
	open(t) // which takes longer than the permission lasts
	end := time.Now().Add(6 * time.Second).UTC().Truncate(time.Millisecond)
	s := newStage(t, when("permit", look, "@/until/", fmt.Sprintf("context has now && context.now < datetime(%q)", end.Format(shown))),
		when("permit", look, "@/since/", fmt.Sprintf("context has now && context.now >= datetime(%q)", end.Format(shown))))
	s.tree("until/x", "since/x")
	until, since := words("open", "r", "@/until/x"), words("open", "r", "@/since/x")
	denied := func(path string, early bool) {
		s.t.Helper()
		a := s.start("", nil, eacces, "open", "r", path).wait()
		for _, e := range s.peek() {
			if at := time.UnixMilli(e.Now); at.Before(end) != early || time.Since(at).Abs() > time.Minute {
				s.t.Errorf("event of %v, now it is %v, the time is %v", at, time.Now(), end)
			}
		}
		s.expectDenied(a, denial{actions: "open,read", path: path})
	}
	s.step("permission has not ended", isAllowed, func() { s.expectAllowed(s.start("", nil, 0, until...).wait()) })
	s.step("permission has not begun", isDenied, func() { denied("@/since/x", true) })
	if time.Now().After(end) {
		t.Fatal("too slow to try this")
	}
	gated := s.start("", nil, eacces, append(words("gate"), until...)...)
	gated.ready()
	time.Sleep(time.Until(end))
	s.step("permission of a running task has ended", isDenied, func() {
		gated.pass()
		s.expectDenied(gated.wait(), denial{actions: "open,read", path: "@/until/x"})
	})
	s.step("permission has ended", isDenied, func() { denied("@/until/x", false) })
	s.step("permission has begun", isAllowed, func() { s.expectAllowed(s.start("", nil, 0, since...).wait()) })
}

// peek returns the pending events and leaves them.
func (s *stage) peek() []abi.Event {
	s.drain(s.t)
	return s.pending[s.id]
}

// TestClockIsKept sets the clock, which no policy can permit where one reads it.
func TestClockIsKept(t *testing.T) {
	b := newBorder(t, everything)
	b.tree("x")
	set := func(name string) crossing {
		return crossing{name: name + " is denied", free: words(name), probe: words(name), errno: eperm, boundary: abi.BoundaryClock, inside: words("gettime"), again: true}
	}
	b.cross(set("settime"), set("settimeofday"), set("adjtime"), set("settai"))
}

// TestExecutableIsKept puts another executable in place of the running one.
func TestExecutableIsKept(t *testing.T) {
	b := newBorder(t, everything)
	b.tree("x")
	b.cross(
		crossing{name: "another executable is denied", free: words("setexe", b.exe), freed: 16 /* EBUSY: it is mapped */, probe: words("setexe", b.exe),
			errno: eperm, boundary: abi.BoundaryIdentity, again: true, inside: words("open", "r", "@/x")},
		crossing{name: "description of memory is denied", free: words("setmap"), freed: 22 /* EINVAL: it is empty */, probe: words("setmap"),
			errno: eperm, boundary: abi.BoundaryIdentity, again: true, inside: words("open", "r", "@/x")},
	)
}

// TestDestination decides moves by where they lead.
//
//	@/mv/        everything but execute and move
//	├── to/      names that end in .txt are moved here; anything, under the name ok
//	└── sub/     anything is moved here, but not deeper
func TestDestination(t *testing.T) {
	s := newStage(t, permit("open read write create delete", "@/mv/"),
		when("permit", "move", "@/mv/", `context.destination.path like "@/mv/to/*.txt"`),
		when("permit", "move", "@/mv/", `context.destination.name == "ok"`),
		when("permit", "move", "@/mv/", `context.destination.parent_path == "@/mv/sub"`))
	s.tree("mv/a", "mv/b", "mv/c", "mv/to/x", "mv/sub/deep/x", "mv/long-name-of-a-file-to-be-moved")
	op := func(argv ...string) []string { return argv }
	want := func(path, dest string) denial { return denial{actions: "move", path: path, dest: dest} }
	long := "@/mv/long-name-of-a-file-to-be-moved"
	s.run(
		trial{name: "other path is denied", control: op("rename", "@/mv/a", "@/mv/to/a.txt"), probe: op("rename", "@/mv/b", "@/mv/to/b.bin"), errno: eacces, want: want("@/mv/b", "@/mv/to/b.bin")},
		trial{name: "other name is denied", control: op("rename", "@/mv/to/a.txt", "@/mv/ok"), probe: op("rename", "@/mv/b", "@/mv/okay"), errno: eacces, want: want("@/mv/b", "@/mv/okay")},
		trial{name: "other directory is denied", control: op("rename", "@/mv/b", "@/mv/sub/b"), probe: op("rename", "@/mv/c", "@/mv/to/c"), errno: eacces, want: want("@/mv/c", "@/mv/to/c")},
		trial{name: "deeper directory is denied", control: op("rename", "@/mv/c", "@/mv/sub/c"), probe: op("rename", "@/mv/sub/c", "@/mv/sub/deep/c"), errno: eacces, want: want("@/mv/sub/c", "@/mv/sub/deep/c")},
		trial{name: "long name is judged", control: op("rename", long, "@/mv/sub/long-name-of-a-file-that-was-moved"),
			probe: op("rename", "@/mv/sub/c", long), errno: eacces, want: want("@/mv/sub/c", long)},
		trial{name: "both ways of an exchange are judged", control: op("exchange", "@/mv/sub/b", "@/mv/sub/c"),
			probe: op("exchange", "@/mv/to/x", "@/mv/sub/c"), errno: eacces, want: want("@/mv/to/x", "@/mv/sub/c")},
		trial{name: "both ways of an exchange are judged the other way round", control: op("exchange", "@/mv/sub/b", "@/mv/sub/c"),
			probe: op("exchange", "@/mv/sub/c", "@/mv/to/x"), errno: eacces, want: want("@/mv/sub/c", "@/mv/to/x")},
	)
}

// TestAttributeNames decides by the name of the extended attribute.
func TestAttributeNames(t *testing.T) {
	s := newStage(t, permit(look, "@/x/"),
		when("permit", "set_x_attr", "@/x/named", `context.xattr.name like "trusted.ok*"`),
		when("permit", "set_x_attr", "@/x/named", `context.xattr.name == "system.posix_acl_access"`),
		when("permit", "set_x_attr", "@/x/flags", `context.xattr.name == ""`))
	s.tree("x/named", "x/flags")
	set := func(name string) []string { return words("setxattrname", "@/x/named", name) }
	long := "trusted.ok" + strings.Repeat("k", 200)
	tail := strings.Repeat("k", 200) + "trusted.ok"
	want := denial{actions: "set_x_attr", path: "@/x/named"}
	s.run(
		trial{name: "other attribute is denied", control: set("trusted.ok"), probe: set("trusted.no"), errno: eacces, want: want},
		trial{name: "long name of an attribute is denied", control: set(long), probe: set("trusted." + tail), errno: eacces, want: want},
		trial{name: "ACL by its attribute's name", control: words("setacl", "@/x/named"), probe: words("setacl", "@/x/flags"), errno: eacces, want: denial{actions: "set_x_attr", path: "@/x/flags"}},
		trial{name: "file flags have no name", control: words("chattr", "@/x/flags"), probe: words("chattr", "@/x/named"), errno: eacces, want: want, absent: []syscall.Errno{syscall.ENOTTY}},
		trial{name: "removal is denied", control: words("removeacl", "@/x/named"), probe: words("removexattr", "@/x/named"), errno: eacces, want: want},
	)
	s.step("event has the attribute's name", isDenied, func() {
		a := s.start("", nil, eacces, set("trusted.named")...).wait()
		if list := s.peek(); len(list) != 1 || list[0].Xattr != "trusted.named" {
			s.t.Errorf("%+v", list)
		}
		s.expectDenied(a, want)
	})
}

// TestAsks wants verdicts that hang on what only the agent knows: nobody answers.
func TestAsks(t *testing.T) {
	s := newStage(t, permit("open", "@/ask/"), when("permit", "read", "@/ask/", `context has user && context.user.username == "bob"`),
		permit(look, "@/plain/"))
	s.tree("ask/x", "plain/x")
	s.run(
		trial{name: "what is asked is denied", control: words("open", "r", "@/plain/x"), probe: words("open", "r", "@/ask/x"), errno: eacces,
			want: denial{actions: "read", path: "@/ask/x", reason: abi.ReasonAsk}},
		trial{name: "what is denied anyhow is not asked", control: words("open", "r", "@/plain/x"), probe: words("open", "rw", "@/ask/x"), errno: eacces,
			want: denial{actions: "read,write", path: "@/ask/x"}},
	)
}
