package compiler

import (
	"slices"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// people are the entities of the cases below:
//
//	Agent::"a" in Team::"dev" in Team::"all"; boss Agent::"ghost" does not exist
//	Agent::"b" has no lead
const people = `[
 {"uid": {"type": "Agent", "id": "a"}, "parents": [{"type": "Team", "id": "dev"}], "attrs": {
   "tier": 3, "lead": true, "path": "/p", "odd": "p/",
   "home": {"__entity": {"type": "file_system::Dir", "id": "/home/a"}},
   "dirs": [{"__entity": {"type": "file_system::Dir", "id": "/d1"}}, {"__entity": {"type": "file_system::Dir", "id": "/d2"}}],
   "boss": {"__entity": {"type": "Agent", "id": "ghost"}}}},
 {"uid": {"type": "Agent", "id": "b"}, "parents": [], "attrs": {
   "tier": 1, "path": "/p", "odd": "", "dirs": [],
   "home": {"__entity": {"type": "file_system::Dir", "id": "/home/b"}},
   "boss": {"__entity": {"type": "Agent", "id": "a"}}}},
 {"uid": {"type": "Team", "id": "dev"}, "parents": [{"type": "Team", "id": "all"}], "attrs": {}}
]`

// candidates are the resources that every case is asked about; a directory is
// written with a trailing slash.
var candidates = []string{
	"/", "/a", "/a/", "/a/b", "/a/b/", "/ab", "/ab/", "/b", "/c/", "/p", "/d1/", "/d1/x", "/d2/y/z", "/home/a/", "/home/a/x", "/home/b/x",
}

// granted compiles the policies for Agent::"a" and lists the candidates that
// may be read.
func granted(t *testing.T, policies string) string {
	t.Helper()
	in := Input{Sources: []Source{{"p.cedar", []byte(policies)}}, Entities: []byte(people), Principal: `Agent::"a"`}
	plan, err := Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	oracle, err := NewOracle(in)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, c := range candidates {
		kind, path := abi.File, c
		if strings.HasSuffix(c, "/") {
			kind, path = abi.Dir, "/"+strings.Trim(c, "/")
		}
		allow, _, err := oracle.Authorize(abi.Request{Action: abi.Read, Kind: kind, Path: path})
		if err != nil {
			t.Fatal(err)
		}
		if verdict := plan.Decide(abi.Request{Action: abi.Read, Kind: kind, Path: path}); (verdict == abi.Allow) != allow {
			t.Errorf("%s: %s, cedar-go says %v", c, verdict, allow)
		}
		if allow {
			list = append(list, c)
		}
	}
	return strings.Join(list, " ")
}

const everything = "/ /a /a/ /a/b /a/b/ /ab /ab/ /b /c/ /p /d1/ /d1/x /d2/y/z /home/a/ /home/a/x /home/b/x"

const directories = "/ /a/ /a/b/ /ab/ /c/ /d1/ /home/a/"

func TestConditionsGrantWhatTheySay(t *testing.T) {
	file := func(p string) string { return `file_system::File::"` + p + `"` }
	dir := func(p string) string { return `file_system::Dir::"` + p + `"` }
	for _, c := range []struct{ condition, want string }{
		{`true`, everything},
		{`false`, ""},
		{`resource == ` + file("/a"), "/a"},
		{dir("/a") + ` == resource`, "/a/"},
		{`!(resource != ` + file("/a") + `)`, "/a"},
		{`resource == User::"/a"`, ""},
		{`resource == resource`, everything},
		{`resource in ` + dir("/a"), "/a/ /a/b /a/b/"},
		{`resource in ` + dir("/"), everything},
		{`resource in ` + file("/a"), "/a"},
		{`resource in [` + dir("/a") + `, ` + dir("/d1") + `]`, "/a/ /a/b /a/b/ /d1/ /d1/x"},
		{`resource in Team::"dev"`, ""},
		{`resource in resource`, everything},
		{`resource is file_system::File`, "/a /a/b /ab /b /p /d1/x /d2/y/z /home/a/x /home/b/x"},
		{`resource is file_system::Dir in ` + dir("/a"), "/a/ /a/b/"},
		{`resource is User`, ""},
		{`resource is file_system::File && [` + file("/a") + `, ` + file("/b") + `].contains(resource)`, "/a /b"},
		{`resource is file_system::Dir && [` + dir("/a") + `].containsAny([resource])`, "/a/"},
		{`resource is file_system::Dir && [` + dir("/a") + `, ` + dir("/c") + `].containsAll([resource, ` + dir("/c") + `])`, "/a/ /c/"},
		{`resource.path == "/a"`, "/a /a/"},
		{`resource["path"] != "/a"`, strings.Replace(everything, "/a /a/ ", "", 1)},
		{`["/a", "/ab"].contains(resource.path)`, "/a /a/ /ab /ab/"},
		{`["/a", "/p"].containsAll([resource.path, principal.path])`, "/a /a/ /p"},
		{`[resource.path].contains("/a")`, "/a /a/"},
		{`resource has path`, everything},
		{`resource has owner`, ""},
		{`if resource is file_system::File then resource.path == "/a" else resource.path == "/c"`, "/a /c/"},
		{`(resource is file_system::Dir) == (resource in ` + dir("/a") + `)`, "/a /a/ /a/b/ /ab /b /p /d1/x /d2/y/z /home/a/x /home/b/x"},
		{`principal has lead && (resource is file_system::Dir) == principal.lead`, directories},

		{`principal in Team::"all" && resource.path == "/b"`, "/b"},
		{`principal.tier > 2 && resource.path == "/b"`, "/b"},
		{`resource in principal.home`, "/home/a/ /home/a/x"},
		{`resource in principal.dirs`, "/d1/ /d1/x /d2/y/z"},
		{`resource in [principal.home, ` + dir("/c") + `]`, "/c/ /home/a/ /home/a/x"},
		{`resource.path == principal.path`, "/p"},
		{`resource.path == principal.odd`, ""},
		{`principal.home in ` + dir("/home"), everything},
		{dir("/home/a") + ` in principal.home`, everything},
		{`principal.home.path == "/home/a"`, everything},
		{`action == file_system::Action::"read"`, everything},
		{`action in file_system::Action::"SafeIO"`, everything},
	} {
		t.Run(c.condition, func(t *testing.T) {
			got := granted(t, `permit(principal, action == file_system::Action::"read", resource) when { `+c.condition+` };`)
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestScopesGrantWhatTheySay(t *testing.T) {
	for _, c := range []struct{ policies, want string }{
		{`permit(principal, action, resource);`, everything},
		{`permit(principal == Agent::"a", action, resource == file_system::File::"/a");`, "/a"},
		{`permit(principal == User::"ann", action, resource);`, ""},
		{`permit(principal == Agent::"b", action, resource);`, ""},
		{`permit(principal is Agent in Team::"all", action, resource in file_system::Dir::"/a");`, "/a/ /a/b /a/b/"},
		{`permit(principal in Team::"other", action, resource);`, ""},
		{`permit(principal is User, action, resource);`, ""},
		{`permit(principal, action in file_system::Action::"SafeIO", resource is file_system::Dir in file_system::Dir::"/a");`, "/a/ /a/b/"},
		{`permit(principal, action in [file_system::Action::"write", file_system::Action::"read"], resource is file_system::Dir);`, directories},
		{`permit(principal, action == file_system::Action::"write", resource);`, ""},
		{`permit(principal, action, resource) unless { resource is file_system::File };`, directories},
		{`permit(principal, action, resource in file_system::Dir::"/a"); forbid(principal, action, resource is file_system::Dir);`, "/a/b"},
		{`permit(principal, action, resource) when { resource in file_system::Dir::"/a" } unless { resource is file_system::Dir };`, "/a/b"},
	} {
		t.Run(c.policies, func(t *testing.T) {
			if got := granted(t, c.policies); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// Agent::"ghost" does not exist, so whatever asks for its attributes errors.
func TestAPolicyWhoseEvaluationErrorsDoesNotApply(t *testing.T) {
	const boom = `principal.boss.tier == 1`
	const inA = `resource in file_system::Dir::"/a"`
	for _, c := range []struct{ when, want string }{
		{boom, ""},
		{"!(" + boom + ")", ""},
		{inA + " && " + boom, ""},
		{boom + " && " + inA, ""},
		{inA + " || " + boom, "/a/ /a/b /a/b/"},
		{boom + " || " + inA, ""},
		{"!(" + inA + " && " + boom + ")", "/ /a /ab /ab/ /b /c/ /p /d1/ /d1/x /d2/y/z /home/a/ /home/a/x /home/b/x"},
		{"if " + inA + " then " + boom + " else resource is file_system::Dir", "/ /ab/ /c/ /d1/ /home/a/"},
		{"if " + boom + " then true else true", ""},
		{"(" + inA + ") == (" + boom + ")", ""},
		{"resource in principal.boss.home", ""},
		{"!(resource is file_system::Dir in principal.boss.home)", "/a /a/b /ab /b /p /d1/x /d2/y/z /home/a/x /home/b/x"},
		{"principal.tier + 9223372036854775807 > 0 || true", ""},
		{"(" + inA + " || " + boom + ") || true", "/a/ /a/b /a/b/"},
	} {
		t.Run(c.when, func(t *testing.T) {
			// The forbid must not apply where the permit's twin errors.
			if got := granted(t, read1+" when { "+c.when+" };"); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			forbidden := granted(t, "permit(principal, action, resource); forbid(principal, action, resource) when { "+c.when+" };")
			for _, r := range strings.Fields(everything) {
				if slices.Contains(strings.Fields(forbidden), r) == slices.Contains(strings.Fields(c.want), r) {
					t.Errorf("%s: permit and forbid disagree about where the condition holds", r)
				}
			}
		})
	}
}

func TestActionsWithEqualFormulasShareARule(t *testing.T) {
	set := rulesOf(t, `permit(principal, action in [file_system::Action::"read", file_system::Action::"open", file_system::Action::"write"], resource)
		when { if action == file_system::Action::"write" then resource.path == "/w" else ["/a", "/b", "/a"].contains(resource.path) };`)
	var got []string
	for _, r := range set.Rules {
		got = append(got, r.Actions.String()+" "+r.Cond.String())
	}
	want := []string{`open,read path=="/a"`, `open,read path=="/b"`, `write path=="/w"`}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestASetBecomesOneSmallRuleForEachPath(t *testing.T) {
	set := rulesOf(t, `permit(principal, action == file_system::Action::"read", resource in file_system::Dir::"/srv")
		when { resource is file_system::File && [file_system::File::"/srv/a", file_system::File::"/srv/b", file_system::File::"/etc/x"].contains(resource) };`)
	var got []string
	for _, r := range set.Rules {
		got = append(got, r.Cond.String())
	}
	if want := []string{`(!dir & path=="/srv/a")`, `(!dir & path=="/srv/b")`}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestActionsThatNoHookDecidesAreListedAndNeverRefused(t *testing.T) {
	set := rulesOf(t, `
		permit(principal, action, resource);
		permit(principal, action == sysctl::Action::"load", resource);
		forbid(principal, action in [file_system::Action::"network_namespace", file_system::Action::"read"], resource is file_system::File);
		permit(principal, action == file_system::Action::"redacted_read", resource) when { resource.path like "*.env" };
		permit(principal, action in systemd::Action::"SystemdAction", resource) when { resource has name && resource.name == "x" };
		permit(principal, action == file_system::Action::"redacted_read", resource) when { context has now };`)
	want := []string{
		`file_system::Action::"network_namespace"`, `file_system::Action::"redacted_read"`,
		`sysctl::Action::"load"`, `systemd::Action::"SystemdAction"`,
	}
	if !slices.Equal(set.Unenforced, want) {
		t.Errorf("%q", set.Unenforced)
	}
	if len(set.Rules) != 2 || set.Rules[1].Effect != rule.Forbid || set.Rules[1].Actions != abi.MaskOf(abi.Read) {
		t.Errorf("%v", set.Rules)
	}
}

func rulesOf(t *testing.T, policies string) rule.Set {
	t.Helper()
	f, err := read(Input{Sources: []Source{{"p.cedar", []byte(policies)}}, Entities: []byte(people), Principal: `Agent::"a"`})
	if err != nil {
		t.Fatal(err)
	}
	set, err := f.rules(abi.EnforcedActions)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// rules runs the stages that end with the rules, on what may not be valid.
func (f *front) rules(handled abi.ActionMask) (rule.Set, error) {
	c := &compilation{in: Input{Handled: handled}, front: f}
	err := c.run(Stages[1:3])
	return c.set, err
}
