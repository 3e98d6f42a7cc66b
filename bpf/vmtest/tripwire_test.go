package vmtest

import (
	"os"
	"syscall"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// wired says of a policy that what it denies is responded to.
func wired(policy string) string { return `@respond("freeze") ` + policy }

// TestTripwires: what a forbid with a response denies locks the workload down in the
// same hook: the very next operation is denied, whatever it is.
//
//	@/ws            anything that is not executing
//	├── free/       the next operation
//	├── trap/       a tripwire
//	├── x.trap/     a tripwire by a pattern
//	├── new/        a tripwire for making files
//	├── lead/       a tripwire for making directories, as which a symbolic link counts
//	├── plain/      is forbidden without a response
//	└── audit/      a tripwire in audit
func TestTripwires(t *testing.T) {
	policies := permit(anyUse+" touch set_x_attr stat", "@/ws/") +
		wired(forbid("read write create delete chmod move touch set_x_attr", "@/ws/trap/")) + wired(forbid("create", "@/ws/new/")) +
		wired(`forbid (principal, action == file_system::Action::"read", resource) when { resource.path like "@/ws/*.trap/*" };`+"\n") +
		wired(forbid("move", "@/ws/fixed/")) +
		wired("forbid (principal, action == file_system::Action::\"create\", resource is file_system::Dir) when { resource in file_system::Dir::\"@/ws/lead\" };\n") +
		forbid("read", "@/ws/plain/") + inAudit(wired(forbid("read", "@/ws/audit/")))
	s := newStage(t)
	s.tree("ws/free/file", "ws/trap/file", "ws/trap/dir/", "ws/fixed/dir/", "ws/x.trap/f", "ws/new/old", "ws/plain/file", "ws/audit/file", "ws/lead/", "other", "lower/")
	must(t, os.Symlink("file", s.at("@/ws/free/link")))
	op := func(words ...string) []string { return words }
	next := op("open", "r", "@/ws/free/file")
	locked := denial{actions: "open,read", path: "@/ws/free/file", reason: abi.ReasonLockdown, mode: abi.Lockdown}
	trips := func(d denial) denial { d.trips = true; return d }
	on := func(actions, path string) denial { return trips(denial{actions: actions, path: path}) }
	for _, c := range []struct {
		name  string
		free  []string // the same where nothing is forbidden
		probe []string
		want  denial
	}{
		{"reading", op("open", "r", "@/ws/free/file"), op("open", "r", "@/ws/trap/file"), on("read", "@/ws/trap/file")},
		{"reading what a pattern names", op("open", "r", "@/ws/new/old"), op("open", "r", "@/ws/x.trap/f"), on("read", "@/ws/x.trap/f")},
		{"opening for both", op("open", "rw", "@/ws/free/file"), op("open", "rw", "@/ws/trap/file"), on("read,write", "@/ws/trap/file")},
		{"making a file", op("open", "w|creat", "@/ws/free/made"), op("open", "w|creat", "@/ws/new/made"), on("create", "@/ws/new/made")},
		{"making a directory", op("mkdir", "@/ws/free/made.d"), op("mkdir", "@/ws/trap/made"), trips(denial{actions: "create", path: "@/ws/trap/made", dir: true})},
		{"changing permissions", op("chmod", "@/ws/free/file"), op("chmod", "@/ws/trap/file"), on("chmod", "@/ws/trap/file")},
		{"setting times, for which any of three actions would do", op("utimes", "@/ws/free/file"), op("utimes", "@/ws/trap/file"), on("write,touch", "@/ws/trap/file")},
		{"setting an attribute", op("settrusted", "@/ws/free/file"), op("settrusted", "@/ws/trap/file"), on("set_x_attr", "@/ws/trap/file")},
		{"a move of which the old place is a tripwire", op("rename", "@/ws/free/made.d", "@/ws/free/moved"), op("rename", "@/ws/fixed/dir", "@/ws/free/dir"),
			trips(denial{actions: "move", path: "@/ws/fixed/dir", dest: "@/ws/free/dir", dir: true})},
		{"a move of which the new place is a tripwire", op("rename", "@/ws/free/moved", "@/ws/free/moved.2"), op("rename", "@/ws/free/file", "@/ws/new/file"),
			trips(denial{actions: "create", path: "@/ws/free/file", dest: "@/ws/new/file"})},
		{"moving a symbolic link where a directory would be a tripwire", op("rename", "@/ws/free/moved.2", "@/ws/free/moved.3"), op("rename", "@/ws/free/link", "@/ws/lead/link"),
			trips(denial{actions: "move", path: "@/ws/free/link", dest: "@/ws/lead/link", reason: abi.ReasonLoss})},
	} {
		s.step(c.name+" where nothing is forbidden is allowed", isAllowed, func() {
			s.install(abi.Enforce, policies)
			s.expectAllowed(s.start("", nil, 0, c.free...).wait())
		})
		s.step(c.name+" at a tripwire locks down at once", isDenied, func() {
			a := s.start("", nil, eacces, append(append(op("tripped"), c.probe...), append(op("--"), next...)...)...).wait()
			s.expectDenied(a, c.want, locked)
			if m := must1(s.Mode(s.id))(s.t); m != abi.Lockdown {
				s.t.Errorf("the mode is %v", m)
			}
			must(s.t, s.SetMode(s.id, abi.Enforce))
		})
	}
	for _, c := range []struct {
		name  string
		probe []string
		errno syscall.Errno
		want  denial
	}{
		{"a forbid without a response", op("open", "r", "@/ws/plain/file"), eacces, denial{actions: "read", path: "@/ws/plain/file"}},
		{"what nothing permits", op("open", "r", "@/other"), eacces, denial{actions: "open,read", path: "@/other"}},
		{"a tripwire in audit", op("open", "r", "@/ws/audit/file"), 0, reported("read", "@/ws/audit/file")},
		{"a tripwire for making files, of one that is there", op("open", "w|creat", "@/ws/new/old"), 0, denial{}},
	} {
		s.step(c.name+" locks nobody down", isAllowed, func() {
			a := s.start("", nil, c.errno, c.probe...).wait()
			switch {
			case c.errno != 0:
				s.expectDenied(a, c.want)
			case c.want.actions != "":
				s.expectAudited(a, c.want)
			default:
				s.expectAllowed(a)
			}
			if m := must1(s.Mode(s.id))(s.t); m != abi.Enforce {
				s.t.Errorf("the mode is %v", m)
			}
			s.expectAllowed(s.start("", nil, 0, next...).wait())
		})
	}
	s.step("a tripwire in audit mode locks nobody down", isAllowed, func() {
		must(s.t, s.SetMode(s.id, abi.Audit))
		s.expectAudited(s.start("", nil, 0, "open", "r", "@/ws/trap/file").wait(), reported("read", "@/ws/trap/file"))
		if m := must1(s.Mode(s.id))(s.t); m != abi.Audit {
			s.t.Errorf("the mode is %v", m)
		}
		must(s.t, s.SetMode(s.id, abi.Enforce))
	})
}
