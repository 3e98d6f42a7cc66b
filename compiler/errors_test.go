package compiler

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// read1 is the scope that many cases below share.
const read1 = `permit(principal, action == file_system::Action::"read", resource)`

func TestWrongPoliciesAreRefusedWithTheirPlace(t *testing.T) {
	for _, c := range []struct{ name, policy, want string }{
		{"unknown action", `permit(principal, action == file_system::Action::"raed", resource);`,
			`p.cedar:1:29: file_system::Action::"raed": unknown action: the policy set is refused; did you mean file_system::Action::"read"?`},
		{"unknown action in a condition", "permit(principal, action, resource)\nwhen { action == sysctl::Action::\"laod\" };",
			`p.cedar:2:18: sysctl::Action::"laod": unknown action: the policy set is refused; did you mean sysctl::Action::"load"?`},
		{"unknown entity type", `permit(principal, action, resource in file_system::Dri::"/x");`,
			`p.cedar:1:39: file_system::Dri: unknown entity type: the policy set is refused; did you mean file_system::Dir?`},
		{"unknown principal type", `permit(principal is Robot, action, resource);`,
			`p.cedar:1:21: Robot: unknown entity type: the policy set is refused; correct the name`},
		{"unknown attribute", `permit(principal, action == file_system::Action::"write", resource) when { resource.pth == "/x" };`,
			"p.cedar:1:85: attribute `pth` on entity type `file_system::File` not found: the policy set is refused; did you mean path?"},
		{"attribute that some resources lack", `permit(principal, action, resource) when { resource.path == "/x" };`,
			"p.cedar:1:53: attribute `path` on entity type `network::url` not found: the policy set is refused; name the actions or the resource type in the scope, or test it with `has` first (so for 7 more types)"},
		{"optional context without has", read1 + ` when { context.process.exe == "/x" };`,
			"p.cedar:1:83: unable to guarantee safety of access to optional attribute `process` in context for file_system::Action::\"read\": the policy set is refused; test it with `has` first"},
		{"condition that is no boolean", `permit(principal, action, resource) when { 1 };`,
			"p.cedar:1:1: policy p.cedar#0: unexpected type: expected Bool but saw Long: the policy set is refused; correct the policy"},
		{"action that does not fit the resource", `permit(principal, action == sysctl::Action::"load", resource is file_system::File);`,
			"p.cedar:1:1: policy p.cedar#0: no action in its scope applies to its principal and its resource: the policy set is refused; correct the scope, or write `action in` for a group"},

		{"trailing slash", read1 + "\nwhen { resource in file_system::Dir::\"/x/\" };",
			`p.cedar:2:20: file_system::Dir::"/x/": a path with a trailing slash never matches: the policy set is refused; write "/x"`},
		{"trailing slash in a scope", `permit(principal, action, resource in file_system::Dir::"/x/");`,
			`p.cedar:1:39: file_system::Dir::"/x/": a path with a trailing slash never matches: the policy set is refused; write "/x"`},
		{"relative path", read1 + ` when { resource.path == "x" };`,
			`p.cedar:1:92: "x": a path that is not absolute never matches: the policy set is refused; write the absolute path`},
		{"double slash in a set", read1 + ` when { ["/a", "/a//b"].contains(resource.path) };`,
			`p.cedar:1:82: "/a//b": a path that is not normalised never matches: the policy set is refused; write "/a/b"`},
		{"dot dot", `permit(principal, action, resource == file_system::File::"/a/../b");`,
			`p.cedar:1:39: file_system::File::"/a/../b": a path that is not normalised never matches: the policy set is refused; write "/b"`},
		{"NUL", `permit(principal, action, resource == file_system::File::"/a\0");`,
			`p.cedar:1:39: file_system::File::"/a\0": a path with a NUL byte never matches: the policy set is refused; remove the NUL`},
		{"long name", `permit(principal, action, resource == file_system::File::"/` + strings.Repeat("n", 256) + `");`,
			`p.cedar:1:39: file_system::File::"/` + strings.Repeat("n", 256) + `": a path with a name of 256 bytes (at most 255) never matches: the policy set is refused; use a shorter name`},

		{"unknown type of an attribute", read1 + ` when { context has user && context.user.uid == "0" };`,
			"p.cedar:1:1: policy p.cedar#0: the types Long and String are not compatible: the policy set is refused; correct the policy"},

		{"template", `permit(principal == ?principal, action, resource);`,
			`p.cedar:1:21: a template slot: templates are not policies: the policy set is refused; write one policy for each principal or resource`},
		{"missing semicolon", `permit(principal, action, resource)`,
			`p.cedar:1:36: the end: syntax error, expected ";": the policy set is refused; correct the Cedar text`},
		{"every syntax error", "permit(principal action, resource);\nforbid(principl, action, resource);",
			"p.cedar:1:18: `action`: syntax error, expected \",\": the policy set is refused; correct the Cedar text\n" +
				"p.cedar:2:8: `principl`: syntax error, expected \"principal\": the policy set is refused; correct the Cedar text"},
		{"columns are bytes", `permit(principal, action, resource) when { "é" == "日本" == };`,
			"p.cedar:1:61: `==`: syntax error, expected \"}\": the policy set is refused; correct the Cedar text"},
		{"taken id", "@id(\"a\")permit(principal, action, resource);\n @id(\"a\")forbid(principal, action, resource);",
			`p.cedar:2:2: policy "a": the id is already taken by the policy at p.cedar:1:1: the policy set is refused; give each policy its own @id`},
		{"empty id", `@id permit(principal, action, resource);`,
			`p.cedar:1:1: policy: its @id is empty: the policy set is refused; write a name, or leave @id out`},
		{"unknown mode", "@id(\"a\")\n  @mode(\"Audit\")\npermit(principal, action, resource);",
			`p.cedar:2:3: policy a: @mode("Audit"): no such value: the policy set is refused; write enforce or audit`},
		{"mode without a value", "@reason(\"@mode\") // @mode\n@mode permit(principal, action, resource);",
			`p.cedar:2:1: policy p.cedar#0: @mode(""): no such value: the policy set is refused; write enforce or audit`},
		{"unknown response", `@respond("shout") permit(principal, action, resource);`,
			`p.cedar:1:1: policy p.cedar#0: @respond("shout"): no such value: the policy set is refused; write lockdown, freeze or kill`},
		{"control bytes", "permit(principal, action, resource) when { \"\x1b[31m };",
			"p.cedar:1:44: `\"\\x1b[31m };`: syntax error, literal not terminated: the policy set is refused; correct the Cedar text"},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan, err := Compile(Input{Sources: []Source{{"p.cedar", []byte(c.policy)}}, Principal: `User::"ann"`})
			if err == nil || plan != nil {
				t.Fatalf("compiled: %v", plan.Rules.Rules)
			}
			if got := err.Error(); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestErrorsOfAllFilesAreSortedAndBounded(t *testing.T) {
	in := Input{
		Sources: []Source{
			{"z.cedar", []byte(`permit(principal is Y, action, resource);`)},
			{"a.cedar", []byte("\n" + `permit(principal is X, action, resource); permit(principal is W, action, resource);`)},
		},
		Principal: `User::"ann"`,
	}
	_, err := Compile(in)
	var places []string
	for _, e := range err.(Errors) {
		places = append(places, e.(*Error).String())
	}
	if got := strings.Join(places, " "); got != "a.cedar:2:21 a.cedar:2:63 z.cedar:1:21" {
		t.Error(got)
	}
	in.Sources = []Source{{"many.cedar", bytesRepeat(`permit(principal, action, resource == file_system::File::"x");`+"\n", 100)}}
	if _, err = Compile(in); len(err.(Errors)) != maxErrors {
		t.Errorf("%d errors, want %d", len(err.(Errors)), maxErrors)
	}
}

func bytesRepeat(s string, n int) []byte { return []byte(strings.Repeat(s, n)) }

func TestWrongEntitiesAreRefused(t *testing.T) {
	for _, c := range []struct{ name, entities, want string }{
		{"syntax", "[\n{]", "e.json:2:2: entities: "},
		{"entry of an impossible path", `[{"uid": {"type": "file_system::Dir", "id": "/srv/"}, "attrs": {}, "parents": []}]`,
			`e.json:1:45: file_system::Dir::"/srv/": a path with a trailing slash never matches: nothing is compiled; write "/srv"`},
		{"entry with another path", `[{"uid": {"type": "file_system::Dir", "id": "/srv"}, "attrs": {"path": "/srv2"}, "parents": []}]`,
			`e.json:1:45: file_system::Dir::"/srv": its path is "/srv2": nothing is compiled; write the path of its id, or leave path out`},
		{"entry in a directory that is not above it", `[{"uid": {"type": "file_system::Dir", "id": "/srv"}, "attrs": {}, "parents": [{"type": "file_system::Dir", "id": "/etc"}]}]`,
			`e.json:1:114: file_system::Dir::"/srv": its parent file_system::Dir::"/etc" is no directory above it: nothing is compiled; remove it, paths have the parents that they have`},
		{"entry in a file", `[{"uid": {"type": "file_system::Dir", "id": "/srv"}, "attrs": {}, "parents": [{"type": "file_system::File", "id": "/"}]}]`,
			`e.json:1:115: file_system::Dir::"/srv": its parent file_system::File::"/" is no directory above it: `},
		{"two types for one attribute of paths", `[{"uid": {"type": "file_system::Dir", "id": "/a"}, "attrs": {"x": 1}, "parents": []}, {"uid": {"type": "file_system::File", "id": "/b"}, "attrs": {"x": "1"}, "parents": []}]`,
			`e.json:1:131: file_system::File::"/b": x: is String here and Long elsewhere: nothing is compiled; give all of them one type`},
		{"action", `[{"uid": {"type": "x::Action", "id": "read"}, "attrs": {}, "parents": []}]`,
			`e.json:1:38: x::Action::"read": an action in the entities file: `},
		{"path that never matches", `[{"uid": {"type": "Agent", "id": "a"}, "attrs": {"home": {"__entity": {"type": "file_system::Dir", "id": "/h/"}}}, "parents": []}]`,
			`e.json:1:106: file_system::Dir::"/h/": a path with a trailing slash never matches: nothing is compiled; write "/h"`},
		{"two types for one attribute", `[{"uid": {"type": "Agent", "id": "a"}, "attrs": {"x": 1}, "parents": []}, {"uid": {"type": "Agent", "id": "b"}, "attrs": {"x": "1"}, "parents": []}]`,
			`e.json:1:107: Agent::"b": x: is String here and Long elsewhere: nothing is compiled; give all of them one type`},
		{"mixed set", `[{"uid": {"type": "Agent", "id": "a"}, "attrs": {"r": {"x": [1, "1"]}}, "parents": []}]`,
			`e.json:1:34: Agent::"a": r.x: element: is `},
		{"declared type", `[{"uid": {"type": "systemd::Service", "id": "s"}, "attrs": {"name": 1}, "parents": []}]`,
			`e.json:1:45: systemd::Service::"s": `},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Compile(Input{Entities: []byte(c.entities), EntitiesName: "e.json", Principal: `User::"ann"`})
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestWrongPrincipalIsRefused(t *testing.T) {
	for _, text := range []string{"", "alice", `User::alice`, `User::"a" x`, `file_system::Dir::"/"`, `x::Action::"y"`} {
		if _, err := Compile(Input{Principal: text}); err == nil {
			t.Errorf("%q: compiled", text)
		}
	}
}

func TestPoliciesThatWouldOverflowTheParserAreRefused(t *testing.T) {
	for name, condition := range map[string]string{
		"brackets": strings.Repeat("(", 5_000_000),
		"nots":     strings.Repeat("!", 5_000_000) + "true",
		"members":  "principal" + strings.Repeat(".a", 1_000_000),
		"ifs":      strings.Repeat("if true then true else ", 100_000) + "true",
		"ors":      "true" + strings.Repeat("||true", 1_000_000),
	} {
		_, err := Compile(Input{Sources: []Source{{"p.cedar", []byte("permit(principal, action, resource) when {" + condition + "};")}}, Principal: `User::"ann"`})
		if err == nil || !strings.Contains(err.Error(), "policy: too much ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAFormulaThatGrowsTooLargeIsRefused(t *testing.T) {
	condition := `resource in file_system::Dir::"/a"`
	for i := range 40 {
		condition = `(if ` + condition + ` then resource in file_system::Dir::"/b" else resource in file_system::Dir::"/c` + string(rune('a'+i%26)) + `")`
	}
	_, err := Compile(Input{Sources: []Source{{"p.cedar", []byte("permit(principal, action, resource) when {" + condition + "};")}}, Principal: `User::"ann"`})
	if err == nil || !strings.Contains(err.Error(), "a formula of more than") {
		t.Error(err)
	}
}

// One mistake is one error, however many actions it is made for.
func TestUnguardedOptionalAttributeIsOneError(t *testing.T) {
	_, err := Compile(Input{Sources: []Source{{"p.cedar", []byte(
		`permit(principal, action, resource) when { context has process && context.now < datetime("2026-12-01") };`)}}, Principal: `User::"u"`})
	var list Errors
	if !errors.As(err, &list) || len(list) != 1 || !strings.Contains(err.Error(), "more actions") {
		t.Errorf("got %v", err)
	}
}

func TestTooCostlyPatternsNameTheirPolicies(t *testing.T) {
	var text strings.Builder
	for i := range 60 {
		a, b := 'a'+rune(i%26), 'a'+rune(i*7%26)
		fmt.Fprintf(&text, "permit(principal, action == file_system::Action::\"read\", resource) when { resource.path like \"*%c%d*%c%d*x%c\" };\n", a, i, b, i, a)
	}
	_, err := Compile(Input{Sources: []Source{{"p.cedar", []byte(text.String())}}, Principal: `User::"u"`})
	if err == nil || !strings.HasPrefix(err.Error(), "p.cedar:") || !strings.Contains(err.Error(), "its patterns on path") {
		t.Errorf("got %v", err)
	}
}
