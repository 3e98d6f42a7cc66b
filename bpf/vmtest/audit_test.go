package vmtest

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// inAudit puts policies of one effect in audit, enforced takes them out of it.
func inAudit(policy string) string  { return `@mode("audit") ` + policy }
func enforced(policy string) string { return strings.ReplaceAll(policy, `@mode("audit") `, "") }

// reported is the event of an operation that goes on.
func reported(actions, path string) denial {
	return denial{actions: actions, path: path, mode: abi.Audit}
}

// TestPoliciesInAudit does each operation under policies that would deny it:
// enforced they do, in audit it goes on and is reported once for every hook that
// judges it.
//
//	@
//	├── ws/            everything but execute
//	│   ├── fixed/     would be denied
//	│   │   ├── file, old, dir/
//	│   ├── x.env/f    would be denied reading
//	│   └── free/
//	├── bin/           execute
//	│   ├── tool       would be denied execute, may be mapped
//	│   └── bare       would be denied execute and map
//	├── lib/so         map, which would be denied
//	└── look/file      open and read
func TestPoliciesInAudit(t *testing.T) {
	policies := permit(anyUse+" touch set_x_attr", "@/ws/") + permit(look, "@/look/", "@/bin/", "@/lib/") + permit("execute map", "@/bin/") + permit("map", "@/lib/") +
		inAudit(forbid("read create delete chmod move touch write set_x_attr", "@/ws/fixed/")) + inAudit(forbid("execute", "@/bin/tool")) +
		inAudit(forbid("execute map", "@/bin/bare")) + inAudit(forbid("map", "@/lib/so")) +
		inAudit(permit("write", "@/look/")) +
		inAudit(`forbid (principal, action == file_system::Action::"read", resource) when { resource.path like "@/ws/*.env/*" };`+"\n")
	s := newStage(t)
	s.tree("ws/fixed/file", "ws/fixed/old", "ws/fixed/dir/", "ws/free/", "ws/free/file", "ws/x.env/f", "look/file", "lib/so")
	s.program("bin/tool", "bin/bare")
	op := func(words ...string) []string { return words }
	moved := func(d denial, dest string) denial { d.dest = dest; return d }
	for _, c := range []struct {
		name  string
		probe []string
		want  []denial
	}{
		{"open for reading", op("open", "r", "@/ws/fixed/file"), []denial{reported("read", "@/ws/fixed/file")}},
		{"open for both", op("open", "rw", "@/ws/fixed/file"), []denial{reported("read,write", "@/ws/fixed/file")}},
		{"mkdir", op("mkdir", "@/ws/fixed/new"), []denial{{actions: "create", path: "@/ws/fixed/new", dir: true, mode: abi.Audit}}},
		{"chmod", op("chmod", "@/ws/fixed/file"), []denial{reported("chmod", "@/ws/fixed/file")}},
		{"touch", op("utimes", "@/ws/fixed/file"), []denial{reported("write,touch", "@/ws/fixed/file")}},
		{"setxattr", op("settrusted", "@/ws/fixed/file"), []denial{reported("set_x_attr", "@/ws/fixed/file")}},
		{"rename", op("rename", "@/ws/fixed/old", "@/ws/fixed/renamed"), []denial{moved(reported("create,move", "@/ws/fixed/old"), "@/ws/fixed/renamed")}},
		{"rename out", op("rename", "@/ws/fixed/dir", "@/ws/free/dir"),
			[]denial{moved(denial{actions: "move", path: "@/ws/fixed/dir", dir: true, mode: abi.Audit}, "@/ws/free/dir")}},
		{"link", op("link", "@/ws/free/file", "@/ws/fixed/link"), []denial{moved(reported("create", "@/ws/free/file"), "@/ws/fixed/link")}},
		// The opening and the check of the binary ask; what is mapped may be mapped.
		{"exec", op("exec", "@/bin/tool"), []denial{reported("execute", "@/bin/tool"), reported("execute", "@/bin/tool")}},
		{"mapping", op("mmap", "@/lib/so"), []denial{reported("execute,map", "@/lib/so")}},
		{"mprotect", op("mprotect", "@/lib/so"), []denial{reported("execute,map", "@/lib/so")}},
		{"pattern", op("open", "r", "@/ws/x.env/f"), []denial{reported("read", "@/ws/x.env/f")}},
	} {
		s.step(c.name+" under an enforced policy is denied", isDenied, func() {
			s.install(abi.Enforce, enforced(policies))
			denied := c.want[0]
			denied.mode = abi.Enforce
			s.expectDenied(s.start("", nil, eacces, c.probe...).wait(), denied)
		})
		s.step(c.name+" under a policy in audit is reported", isAllowed, func() {
			s.install(abi.Enforce, policies)
			s.expectAudited(s.start("", nil, 0, c.probe...).wait(), c.want...)
		})
	}
	s.step("what is allowed is counted so", isAllowed, func() {
		before := must1(s.Counters(s.id))(s.t).Allowed
		s.expectAllowed(s.start("", nil, 0, "open", "r", "@/ws/free/file").wait())
		if after := must1(s.Counters(s.id))(s.t).Allowed; after == before {
			s.t.Error("an open that is neither denied nor reported was not counted")
		}
	})
	s.run(
		trial{name: "one action that suffices is enough", probe: op("mmap", "@/bin/tool")},
		trial{name: "permit in audit permits nothing", control: op("open", "r", "@/look/file"), probe: op("open", "w", "@/look/file"), errno: eacces,
			want: denial{actions: "write", path: "@/look/file"}},
		trial{name: "denial tells what is denied and not what is reported", probe: op("rename", "@/ws/fixed/file", "@/look/taken"), errno: eacces,
			want: denial{actions: "create", path: "@/ws/fixed/file", dest: "@/look/taken"}},
	)
	s.step("program that would be denied execute and map is reported by all three hooks", isAllowed, func() {
		a := s.start("", nil, 0, "exec", "@/bin/bare").wait()
		events := s.collect()
		for i, e := range events {
			if want := map[bool]string{true: "execute", false: "execute,map"}[i < 2]; e.Missing.String() != want || e.Mode != abi.Audit || e.Path != s.at("@/bin/bare") {
				s.t.Errorf("event %d: %s", i, show(e))
			}
		}
		if a.code != 0 || len(events) < 3 {
			s.t.Errorf("%v: %d events", a, len(events))
		}
		s.balance(len(events))
	})
}

// TestAuditGainsNothing moves a directory in whose automaton's state a pattern
// in audit makes a difference: enforced, the move would gain.
func TestAuditGainsNothing(t *testing.T) {
	policies := permit(anyUse, "@/ws/") +
		inAudit(`forbid (principal, action == file_system::Action::"read", resource) when { resource.path like "@/ws/*.env/*" };`)
	s := newStage(t)
	s.tree("ws/a.env/f", "ws/b/")
	s.step("move that would gain under an enforced pattern is denied", isDenied, func() {
		s.install(abi.Enforce, enforced(policies))
		s.expectDenied(s.start("", nil, exdev, "rename", "@/ws/a.env", "@/ws/b/a").wait(),
			denied("move", "@/ws/a.env", "@/ws/b/a", abi.ReasonGain))
	})
	s.step("move that would gain under a pattern in audit is allowed", isAllowed, func() {
		s.install(abi.Enforce, policies)
		s.expectAllowed(s.start("", nil, 0, "rename", "@/ws/a.env", "@/ws/b/a").wait())
	})
}

func denied(actions, path, dest string, reason abi.Reason) denial {
	return denial{actions: actions, path: path, dest: dest, dir: true, reason: reason}
}

// TestAuditUnderModes: what a policy in audit would deny is denied by lockdown,
// and reported once in audit mode.
func TestAuditUnderModes(t *testing.T) {
	policies := permit(anyUse, "@/ws/") + inAudit(forbid("read", "@/ws/key"))
	s := newStage(t)
	s.tree("ws/key")
	s.step("audit mode reports once", isAllowed, func() {
		s.install(abi.Audit, policies)
		s.expectAudited(s.start("", nil, 0, "open", "r", "@/ws/key").wait(), reported("read", "@/ws/key"))
	})
	s.step("lockdown denies", isDenied, func() {
		s.install(abi.Enforce, policies)
		a := s.start("", nil, eacces, "gate", "open", "r", "@/ws/key")
		a.ready()
		must(s.t, s.SetMode(s.id, abi.Lockdown))
		a.pass()
		s.expectDenied(a.wait(), denial{actions: "open,read", path: "@/ws/key", reason: abi.ReasonLockdown, mode: abi.Lockdown})
		must(s.t, s.SetMode(s.id, abi.Enforce))
	})
}

// TestAuditOfEverything permits every resource, so that hooks need no path, and
// has a policy in audit that makes them walk one: what no path leads to stays
// allowed, and is reported since it would be denied.
func TestAuditOfEverything(t *testing.T) {
	policies := "permit (principal, action, resource);\n" + inAudit(forbid("read", "@/secret/"))
	s := newStage(t)
	s.tree("secret/key", "file", "also/")
	outside := denial{actions: "open,read", path: "(outside)/", reason: abi.ReasonOutside, status: abi.PathOutside}
	s.step("resource without a path is denied under an enforced policy", isDenied, func() {
		s.install(abi.Enforce, enforced(policies))
		s.expectDenied(s.start("", nil, eacces, "open", "r", "/proc/self/ns/mnt").wait(), outside)
	})
	s.step("resource without a path is reported under a policy in audit", isAllowed, func() {
		s.install(abi.Enforce, policies)
		outside.mode = abi.Audit
		s.expectAudited(s.start("", nil, 0, "open", "r", "/proc/self/ns/mnt").wait(), outside)
	})
	s.step("what policies in audit are about is reported", isAllowed, func() {
		s.expectAudited(s.start("", nil, 0, "open", "r", "@/secret/key").wait(), reported("read", "@/secret/key"))
	})
	s.run(
		trial{name: "other actions are allowed", probe: []string{"open", "w", "@/secret/key"}},
		trial{name: "other files are allowed", probe: []string{"open", "r", "@/file"}},
		trial{name: "boundary stays", probe: []string{"open", "w", "/proc/sys/kernel/core_pattern"}, errno: eperm,
			want: denial{actions: "open,write", path: "/proc/sys/kernel/core_pattern", reason: abi.ReasonBoundary}},
	)
	// The second path of a file is judged as well, and may be the one reported.
	s.install(abi.Enforce, "permit (principal, action, resource);\n"+inAudit(forbid("set_x_attr", "@/also/")))
	must(t, unix.Mount(s.at("@/secret"), s.at("@/also"), "", unix.MS_BIND, ""))
	t.Cleanup(func() { unix.Unmount(s.at("@/also"), unix.MNT_DETACH) })
	s.step("path that is reported is told", isAllowed, func() {
		s.expectAudited(s.start("", nil, 0, "settrusted", "@/secret/key").wait(), reported("set_x_attr", "@/also/key"))
	})
}
