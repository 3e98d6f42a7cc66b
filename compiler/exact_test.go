package compiler

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// dataClasses are entries of paths:
//
//	/srv            level 1, owner Agent::"a", tag zone "eu", in DataClass::"internal"
//	/srv/pii        level 3, in DataClass::"pii", which is in DataClass::"secret"
//	/srv/pii/f      a file: owner Agent::"b"
//	/srv/pii/open   level 1, tag zone "us"
//	/srv/f          a file of level 2
//	/d1             flag, in DataClass::"pii" and in its ancestor /
const dataClasses = `[
 {"uid": {"type": "file_system::Dir", "id": "/srv"}, "parents": [{"type": "DataClass", "id": "internal"}], "attrs": {"level": 1, "owner": {"__entity": {"type": "Agent", "id": "a"}}}, "tags": {"zone": "eu"}},
 {"uid": {"type": "file_system::Dir", "id": "/srv/pii"}, "parents": [{"type": "DataClass", "id": "pii"}], "attrs": {"path": "/srv/pii", "level": 3}},
 {"uid": {"type": "file_system::File", "id": "/srv/pii/f"}, "parents": [], "attrs": {"owner": {"__entity": {"type": "Agent", "id": "b"}}}},
 {"uid": {"type": "file_system::Dir", "id": "/srv/pii/open"}, "parents": [], "attrs": {"level": 1}, "tags": {"zone": "us"}},
 {"uid": {"type": "file_system::File", "id": "/srv/f"}, "parents": [], "attrs": {"level": 2}},
 {"uid": {"type": "file_system::Dir", "id": "/d1"}, "parents": [{"type": "DataClass", "id": "pii"}, {"type": "file_system::Dir", "id": "/"}], "attrs": {"flag": true}},
 {"uid": {"type": "DataClass", "id": "pii"}, "parents": [{"type": "DataClass", "id": "secret"}], "attrs": {"weight": 9}},
 {"uid": {"type": "DataClass", "id": "internal"}, "parents": [], "attrs": {"weight": 2}},
` // people follow

// exactEntities are the entities of the random cases.
func exactEntities() []byte { return []byte(dataClasses + strings.TrimPrefix(people, "[")) }

// author writes random expressions of any type over all that a request has. It
// guards nothing: what a schema would refuse is tried as well.
type author struct{ *rand.Rand }

func (g author) of(list ...string) string { return list[g.IntN(len(list))] }

var exactPaths = []string{"/", "/a", "/a/b", "/ab", "/srv", "/srv/f", "/srv/pii", "/srv/pii/f", "/srv/pii/open", "/srv/pii/open/x", "/d1", "/d1/x", "/p", "/usr/bin/cat", "/a*b", `/a\b`}

var exactPatterns = []string{"*", "/*", "/srv/*", "/srv/*/f", "*/f", "/a*", "/a/*", `/a\\*b`, `/a\*`, `/a\*b`, `*\\*`, "*a*b*", "", "a*", "*/", "/", "*/../*", "/srv", "//*", "/srv*/", "/*/", "*b", "/srv/./*", "f", "*.x", "/d1/x"}

func (g author) path() string { return string(types.String(g.of(exactPaths...)).MarshalCedar()) }

func (g author) text(d int) string {
	switch g.IntN(14) {
	case 0, 1:
		return "resource.path"
	case 2:
		return "context.process.exe"
	case 3:
		return "context.process.parent_exe"
	case 4:
		return "context.destination." + g.of("path", "name", "parent_path")
	case 5:
		return "context.xattr.name"
	case 6:
		return "principal." + g.of("path", "odd")
	case 7:
		return g.of("context.user.username", "context.group.groupname")
	case 8:
		return g.of(`context.workload.name`, `context.workload.image`, `context.workload["namespace"]`)
	case 9:
		return `context.arguments.getTag("out")`
	case 10:
		return `resource.getTag("zone")`
	case 11:
		if d > 0 {
			return "(if " + g.boolean(d-1) + " then " + g.text(d-1) + " else " + g.text(d-1) + ")"
		}
	}
	return g.of(g.path(), g.path(), `"b"`, `"user.x"`, `"ann"`, `"eu"`, `""`)
}

func (g author) long(d int) string {
	if d > 0 && g.IntN(3) == 0 {
		a, b := g.long(d-1), g.long(d-1)
		switch g.IntN(6) {
		case 0:
			return "(" + a + " + " + b + ")"
		case 1:
			return "(" + a + " - " + b + ")"
		case 2:
			return "(" + a + " * " + b + ")"
		case 3:
			return "-(" + a + ")"
		case 4:
			return "(if " + g.boolean(d-1) + " then " + a + " else " + b + ")"
		}
		return g.duration(d-1) + g.of(".toDays()", ".toHours()", ".toMinutes()", ".toSeconds()", ".toMilliseconds()")
	}
	return g.of("context.user.uid", "context.user.uid", "context.group.gid", "principal.tier", "resource.level", "context.namespace.target_process_id",
		"0", "1", "2", "3", "1000", "4294967295", "-1", "-3", "7", "9223372036854775807", "20254", "1000000000000", "principal.boss.tier", "resource.owner.tier")
}

func (g author) datetime(d int) string {
	if d > 0 {
		switch g.IntN(6) {
		case 0:
			return g.datetime(d-1) + ".offset(" + g.duration(d-1) + ")"
		case 1:
			return g.datetime(d-1) + ".toDate()"
		}
	}
	return g.of("context.now", "context.now", "context.now", `datetime("2025-06-15")`, `datetime("2025-06-15T15:06:40.123Z")`, `datetime("1970-01-01T01:00:00Z")`, `datetime("1969-12-31T23:00:00Z")`)
}

func (g author) duration(d int) string {
	if d > 0 {
		switch g.IntN(5) {
		case 0:
			return g.datetime(d-1) + ".durationSince(" + g.datetime(d-1) + ")"
		case 1, 2:
			return g.datetime(d-1) + ".toTime()"
		}
	}
	return g.of(`duration("1h")`, `duration("-2h")`, `duration("23h30m")`, `duration("15h6m40s123ms")`, `duration("36h")`, `duration("-36h")`, `duration("0ms")`, `duration("-1ms")`, `duration("1d")`)
}

func (g author) entity(d int) string {
	switch g.IntN(8) {
	case 0, 1, 2:
		return "resource"
	case 3:
		return "principal.home"
	case 4:
		return "file_system::" + g.of("File", "Dir") + "::" + g.path()
	case 5:
		return "resource.owner"
	case 6:
		if d > 0 {
			return "(if " + g.boolean(d-1) + " then " + g.entity(d-1) + " else " + g.entity(d-1) + ")"
		}
	}
	return g.of("principal", "context.arguments", "context.environment", `DataClass::"pii"`, `DataClass::"secret"`, `Team::"all"`)
}

func (g author) list(element func(int) string, d int) string {
	parts := make([]string, g.IntN(4))
	for i := range parts {
		parts[i] = element(d)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func (g author) boolean(d int) string {
	if d > 0 && g.IntN(2) == 0 {
		a, b := g.boolean(d-1), g.boolean(d-1)
		return g.of("("+a+" && "+b+")", "("+a+" || "+b+")", "(!"+a+")", "(if "+a+" then "+b+" else "+g.boolean(d-1)+")", "("+a+" == "+b+")")
	}
	kinds := []func(int) string{g.text, g.long, g.datetime, g.duration, g.entity}
	kind := kinds[g.IntN(len(kinds))]
	switch g.IntN(16) {
	case 0, 1:
		return "(" + kind(d) + g.of(" == ", " != ") + kind(d) + ")"
	case 2, 3, 4:
		kind = kinds[1+g.IntN(3)]
		return "(" + kind(d) + g.of(" < ", " <= ", " > ", " >= ") + kind(d) + ")"
	case 5, 6:
		return "(" + g.text(d) + " like " + `"` + g.of(exactPatterns...) + `")`
	case 7:
		return g.list(kind, d) + ".contains(" + kind(d) + ")"
	case 8:
		return g.list(kind, d) + g.of(".containsAll(", ".containsAny(") + g.list(kind, d) + ")"
	case 9, 10:
		return "(" + g.entity(d) + " in " + g.of(g.entity(d), g.list(g.entity, d)) + ")"
	case 11:
		return "(" + g.entity(d) + " is " + g.of("file_system::File", "file_system::Dir", "Agent", "file_system::Arguments") + g.of("", " in "+g.entity(d)) + ")"
	case 12:
		return "(" + g.of("context has process", "context has namespace", "context has destination", "context has xattr", "context has workload",
			"context.workload has image", "context.process has parent_exe", "resource has level", "resource has owner", "resource has flag",
			"resource.owner has tier", "principal has lead", "context.arguments has keys", "context.user has shell") + ")"
	case 13:
		return g.of(`resource.hasTag("zone")`, `context.arguments.hasTag("out")`, `context.arguments.flags.contains("-v")`, `context.environment.names.isEmpty()`,
			`context.arguments.keys.containsAny(["out", "in"])`, `resource.hasTag("none")`)
	case 14:
		return "(" + g.of("{exe: "+g.text(d)+", parent_exe: "+g.text(d)+"} == context.process", "context.user == {uid: 0, username: \"ann\"}",
			"{a: "+g.long(d)+"}.a == "+g.long(d), g.list(kind, d)+" == "+g.list(kind, d)) + ")"
	}
	return g.of("resource.flag", "principal.lead", "true", "false", `context.workload.labels.contains("l")`, "(context == {})", g.list(kind, d)+".isEmpty()")
}

func (g author) request() abi.Request {
	r := abi.Request{Action: []abi.Action{abi.Read, abi.Move, abi.SetXattr, abi.Execute}[g.IntN(4)], Kind: abi.Kind(g.IntN(2)), Path: g.of(exactPaths...)}
	if g.IntN(3) == 0 && r.Path != "/" {
		r.Path += g.of("/f", "/b", "b", "/x.x")
	}
	r.UID = []uint32{0, 1, 2, 3, 999, 1000, 1001, 4294967295, 2147483648}[g.IntN(9)]
	r.GID = []uint32{0, 1, 2, 3, 1000, 4294967295}[g.IntN(6)]
	r.Now = []int64{0, 1, 3_599_999, 3_600_000, 7_199_999, 7_200_000, 1_750_000_000_122, 1_750_000_000_123, 1_750_000_000_124, 1_749_945_600_000, 1_749_945_599_999,
		1_750_031_999_999, 1_750_032_000_000, 1_750_028_400_000, 1_750_028_399_999, 86_400_000}[g.IntN(16)]
	r.Exe, r.Parent = g.of("", g.of(exactPaths...)), g.of("", g.of(exactPaths...))
	switch r.Action {
	case abi.Move:
		r.Dest = g.of(exactPaths...)
	case abi.SetXattr:
		r.Xattr = g.of("user.x", "b", "security.x")
	}
	return r
}

func (g author) told() Told {
	t := Told{Username: g.of("ann", "bob", "/a"), Groupname: g.of("dev", "ann")}
	if g.IntN(2) == 0 {
		t.Options, t.Flags = map[string]string{"out": g.of("/a", "x")}, []string{"-v"}
	}
	if g.IntN(2) == 0 {
		t.Environment = map[string]string{"HOME": "/"}
	}
	if g.IntN(2) == 0 {
		pid := int64(g.IntN(3))
		t.TargetProcess = &pid
	}
	return t
}

// satisfaction is what the rules of one policy make of a request.
func satisfaction(rules []rule.Rule, r abi.Request) rule.Truth {
	value := rule.False
	facts := &r
	for _, x := range rules {
		if x.Actions>>r.Action&1 == 0 {
			continue
		}
		switch rule.Eval(x.Cond, facts) {
		case rule.True:
			return rule.True
		case rule.Unclear:
			value = rule.Unclear
		}
	}
	return value
}

// unvalidated is a front that the schema has not seen.
func unvalidated(in Input) (*front, error) {
	var errs collector
	f := &front{data: loadEntities(in, &errs), workload: in.Workload}
	f.policies = parse(in.Sources, &errs)
	if errs.err() != nil {
		return nil, errs.err()
	}
	var err error
	f.principal, err = ParsePrincipal(in.Principal)
	return f, err
}

// TestRulesHoldWhereCedarSaysSo is the comparison of all of Cedar: whatever the
// agent could still find out, what the rules decide is what cedar-go decides.
func TestRulesHoldWhereCedarSaysSo(t *testing.T) {
	cases := 2000
	if testing.Short() {
		cases = 300
	}
	entities := exactEntities()
	var count [3]int
	errored, sharp := 0, 0
	for seed := range cases {
		g := author{rand.New(rand.NewPCG(uint64(seed), 7))}
		text := fmt.Sprintf("%s(principal, action, resource) %s { %s };", g.of("permit", "forbid"), g.of("when", "unless"), g.boolean(g.IntN(4)))
		in := Input{Sources: []Source{{"p", []byte(text)}}, Entities: entities, Principal: `Agent::"a"`}
		if g.IntN(2) == 0 {
			in.Workload = &Workload{Name: "b", Labels: []string{"l"}}
		}
		f, err := unvalidated(in)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		set, err := f.rules(abi.EnforcedActions)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		oracle := newOracle(f)
		for range 60 {
			r := g.request()
			got := satisfaction(set.Rules, r)
			count[got]++
			seen := make(map[bool]bool)
			for range 4 {
				_, d := oracle.diagnose(r, g.told())
				holds := len(d.Reasons) > 0
				seen[holds] = true
				if len(d.Errors) > 0 {
					errored++
				}
				if got != rule.Unclear && holds != (got == rule.True) {
					t.Fatalf("seed %d: %+v\n%s\nrules: %v, cedar-go: %v %v\n%v\n%v", seed, r, text, got, holds, d.Errors, set.Rules, set.Residuals)
				}
			}
			if got == rule.Unclear && len(seen) == 2 {
				sharp++
			}
		}
	}
	t.Logf("false %d, true %d, asked %d (of these truly open: %d), errors %d", count[0], count[1], count[2], sharp, errored)
	for i, n := range count {
		if n*20 < cases {
			t.Errorf("only %d requests are %d: the comparison proves little", n, i)
		}
	}
	if errored == 0 || sharp == 0 {
		t.Errorf("%d errors, %d open asks: the comparison proves little", errored, sharp)
	}
}
