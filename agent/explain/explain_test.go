package explain

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

func planOf(t *testing.T, policies string) *compiler.Plan {
	t.Helper()
	plan, err := compiler.Compile(compiler.Input{
		Sources:   []compiler.Source{{Name: "x.cedar", Text: []byte(policies)}},
		Principal: `User::"a"`,
	})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// explained is a policy set with a forbid for each sort of denial.
const explained = `
@id("all") permit (principal, action, resource in file_system::Dir::"/w");
@id("no-read") @reason("r") @severity("high") forbid (principal, action == file_system::Action::"read", resource == file_system::File::"/w/secret");
@id("no-move") forbid (principal, action == file_system::Action::"move", resource in file_system::Dir::"/w/keep");
@id("no-new") forbid (principal, action == file_system::Action::"create", resource in file_system::Dir::"/w/full");
@id("no-exec") forbid (principal, action == file_system::Action::"execute", resource in file_system::Dir::"/w/lib");
@id("try") @mode("audit") @reason("soon") forbid (principal, action, resource in file_system::Dir::"/w/lib");
@id("idle") @mode("audit") forbid (principal, action == file_system::Action::"read", resource == file_system::File::"/w/lib/x") when { false };
@id("maybe") @mode("audit") forbid (principal, action == file_system::Action::"execute", resource in file_system::Dir::"/w/bin") when { context.user.username == "x" };
`

func TestForbidsAreNamed(t *testing.T) {
	plan := planOf(t, explained)
	cases := []struct {
		name  string
		event abi.Event
		want  string
	}{
		{"forbid", abi.Event{Missing: abi.MaskOf(abi.Open, abi.Read), Path: "/w/secret"}, "no-read(r,high)"},
		{"no policy", abi.Event{Missing: abi.MaskOf(abi.Read), Path: "/x"}, ""},
		{"other reason", abi.Event{Missing: abi.MaskOf(abi.Read), Path: "/w/secret", Reason: abi.ReasonTorn}, ""},
		{"rename from", abi.Event{Missing: abi.MaskOf(abi.Move), Path: "/w/keep/a", Dest: "/w/b"}, "no-move(,)"},
		{"rename to", abi.Event{Missing: abi.MaskOf(abi.Create), Path: "/w/a", Dest: "/w/full/b"}, "no-new(,)"},
		{"rename both", abi.Event{Missing: abi.MaskOf(abi.Create, abi.Move), Path: "/w/keep/a", Dest: "/w/full/b"}, "no-new(,) no-move(,)"},
		{"exchange", abi.Event{Missing: abi.MaskOf(abi.Move), Path: "/w/a", Dest: "/w/keep/b"}, "no-move(,)"},
		{"report", abi.Event{Missing: abi.MaskOf(abi.Read), Path: "/w/lib/x", Mode: abi.Audit}, "try(soon,) in audit"},
		{"report of a move", abi.Event{Missing: abi.MaskOf(abi.Create, abi.Move), Path: "/w/a", Dest: "/w/lib/b", Mode: abi.Audit}, "try(soon,) in audit"},
		{"report of what may be denied", abi.Event{Missing: abi.MaskOf(abi.Execute), Path: "/w/bin/x", Mode: abi.Audit}, "maybe(,) in audit"},
		{"denial in audit mode", abi.Event{Missing: abi.MaskOf(abi.Read), Path: "/w/secret", Mode: abi.Audit}, "no-read(r,high)"},
		{"map", abi.Event{Missing: abi.MaskOf(abi.Execute, abi.Map), Path: "/w/lib/x"}, "no-exec(,)"},
	}
	for _, c := range cases {
		c.event.PathStatus = abi.PathOK
		if c.event.Dest != "" {
			c.event.DestStatus = abi.PathOK
		}
		var got []string
		for _, p := range New(plan).Policies(&c.event) {
			text := fmt.Sprintf("%s(%s,%s)", p.ID, p.Reason, p.Severity)
			if p.Audit {
				text += " in audit"
			}
			got = append(got, text)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestExplanationsAreBounded(t *testing.T) {
	plan := planOf(t, "")
	x := New(plan)
	for i := range maxKnown + 10 {
		x.Policies(&abi.Event{Missing: 1, PathStatus: abi.PathOK, Path: fmt.Sprintf("/%d", i)})
	}
	if len(x.known) > maxKnown {
		t.Errorf("%d explanations are kept", len(x.known))
	}
}

// byFacts has a forbid for each sort of fact.
const byFacts = `
@id("all") permit (principal, action, resource);
@id("no-keys") forbid (principal, action == file_system::Action::"open", resource) when { resource.path like "*.pem" };
@id("no-curl") forbid (principal, action == file_system::Action::"read", resource) when { context has process && context.process.exe == "/usr/bin/curl" };
@id("no-child-of-npm") forbid (principal, action == file_system::Action::"read", resource) when { context has process && context.process has parent_exe && context.process.parent_exe like "*/npm" };
@id("no-root") forbid (principal, action == file_system::Action::"write", resource) when { context has user && context.user.uid == 7 };
@id("not-after") forbid (principal, action == file_system::Action::"delete", resource) when { context has now && context.now > datetime("2030-01-01") };
@id("no-bin") forbid (principal, action == file_system::Action::"move", resource) when { context.destination.parent_path == "/bin" };
@id("no-caps") forbid (principal, action == file_system::Action::"set_x_attr", resource) when { context.xattr.name == "security.capability" };
`

func TestForbidsOnFactsAreNamed(t *testing.T) {
	plan := planOf(t, byFacts)
	class := func(path string) uint16 {
		return uint16(plan.Table.ClassOf(abi.DimExe, &abi.Request{Facts: abi.Facts{Exe: path}}))
	}
	id := plan.Table.ExeIdentity()
	for _, c := range []struct {
		name  string
		event abi.Event
		want  string
	}{
		{"glob", abi.Event{Missing: abi.MaskOf(abi.Open), Path: "/k/a.pem"}, "no-keys"},
		{"executable", abi.Event{Missing: abi.MaskOf(abi.Read), Exe: "/usr/bin/curl", Automaton: id, ExeClass: class("/usr/bin/curl")}, "no-curl"},
		{"executable that was renamed", abi.Event{Missing: abi.MaskOf(abi.Read), Exe: "/usr/bin/other", Automaton: id, ExeClass: class("/usr/bin/curl")}, "no-curl"},
		{"executable that took the name", abi.Event{Missing: abi.MaskOf(abi.Read), Exe: "/usr/bin/curl", Automaton: id, ExeClass: class("/x")}, ""},
		{"parent", abi.Event{Missing: abi.MaskOf(abi.Read), Exe: "/x", Automaton: id, ExeClass: class("/x"), ParentClass: class("/opt/npm")}, "no-child-of-npm"},
		{"user", abi.Event{Missing: abi.MaskOf(abi.Write), EUID: 7}, "no-root"},
		{"other user", abi.Event{Missing: abi.MaskOf(abi.Write), UID: 7}, ""},
		{"too late", abi.Event{Missing: abi.MaskOf(abi.Delete), Now: 1_900_000_000_000}, "not-after"},
		{"in time", abi.Event{Missing: abi.MaskOf(abi.Delete), Now: 1_800_000_000_000}, ""},
		{"destination", abi.Event{Missing: abi.MaskOf(abi.Move), Dest: "/bin/x"}, "no-bin"},
		{"exchange", abi.Event{Missing: abi.MaskOf(abi.Move), Path: "/bin/x", Dest: "/home/x"}, "no-bin"},
		{"attribute", abi.Event{Missing: abi.MaskOf(abi.SetXattr), Xattr: "security.capability"}, "no-caps"},
	} {
		c.event.PathStatus, c.event.ExeStatus = abi.PathOK, abi.PathOK
		if c.event.Path == "" {
			c.event.Path = "/w/x"
		}
		if c.event.Dest != "" {
			c.event.DestStatus = abi.PathOK
		}
		x := New(plan)
		for range 2 { // the second answer is remembered
			got := ""
			for _, p := range x.Policies(&c.event) {
				got += p.ID
			}
			if got != c.want {
				t.Errorf("%s: %q, want %q", c.name, got, c.want)
			}
		}
	}
}

func TestExplanationsFollowTheTime(t *testing.T) {
	plan := planOf(t, byFacts)
	x := New(plan)
	e := abi.Event{Missing: abi.MaskOf(abi.Delete), PathStatus: abi.PathOK, Path: "/w/x", Now: 1_800_000_000_000}
	before := len(x.Policies(&e))
	e.Now = 1_900_000_000_000
	if after := len(x.Policies(&e)); before != 0 || after != 1 {
		t.Errorf("%d forbids before the time, %d after it", before, after)
	}
}
