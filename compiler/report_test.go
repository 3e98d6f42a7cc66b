package compiler

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

func planOf(t *testing.T, policies string) *Plan {
	t.Helper()
	plan, err := Compile(Input{Sources: []Source{{"p.cedar", []byte(policies)}}, Entities: exactEntities(), Principal: `Agent::"a"`})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestReportsSayWhatEnforcesAPolicy(t *testing.T) {
	plan := planOf(t, `
@id("exact") permit(principal, action == file_system::Action::"read", resource) when { context has process && context.process.exe like "/usr/*" };
@id("asked") forbid(principal, action in [file_system::Action::"execute", file_system::Action::"read"], resource)
  when { action == file_system::Action::"read" || (context has arguments && context.arguments.flags.contains("-c")) };
@id("never") permit(principal, action == file_system::Action::"read", resource) when { principal.tier > 99 };
@id("stat") permit(principal, action in [file_system::Action::"stat", sysctl::Action::"load"], resource);
@id("other") permit(principal == User::"ann", action, resource);
@id("settled") permit(principal, action == file_system::Action::"execute", resource) when { context.user.username == "ann" || !(context.user.username == "ann") };`)
	var got strings.Builder
	for _, r := range plan.Reports() {
		got.WriteString(r.String())
	}
	want := `p.cedar:2:1: permit exact: read: kernel, exact
p.cedar:3:1: forbid asked: read: kernel, exact
p.cedar:3:1: forbid asked: execute: asked
    p.cedar:4:77: ` + "`context.arguments.flags.contains(\"-c\")`" + `, whether it holds: the arguments of a program are known to the agent only
p.cedar:5:1: permit never: read: never holds
p.cedar:6:1: permit stat: stat: not enforced here: the action is not handled
p.cedar:6:1: permit stat: sysctl::Action::"load": not enforced here: no kernel hook of this version decides it
p.cedar:7:1: permit other: not enforced here: it is about other principals
p.cedar:8:1: permit settled: execute: kernel, exact
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
	if len(plan.Rules.Residuals) != 1 {
		t.Errorf("%+v", plan.Rules.Residuals)
	}
}

func TestAForbidThatCanErrorIsWarnedOf(t *testing.T) {
	const forbid = `forbid(principal, action == file_system::Action::"read", resource)`
	for _, c := range []struct{ condition, want string }{
		{`resource.path like "/a*" && principal.boss.tier == 1`,
			"p.cedar:1:103: forbid p.cedar#0: `principal.boss.tier` can error, and a policy that errors does not apply: it does not forbid there; test with `has` first"},
		{`principal.boss has tier && principal.boss.tier == 1`, ""},
		{`resource has owner && resource.owner == principal`, ""},
		{`resource has level && resource.level > 1 || resource has flag && resource.flag`, ""},
		{`resource.hasTag("zone") && resource.getTag("zone") == "eu"`, ""},
		{`context has user && context.user.uid * 9223372036854775807 > 3`,
			"p.cedar:1:95: forbid p.cedar#0: `context.user.uid * 9223372036854775807` can error, and a policy that errors does not apply: it does not forbid there; compute with less, or permit less"},
		{`context has user && context.user.uid < 2 && context.user.uid * 9223372036854775807 > 3`, ""},
		{`context has now && context.now.offset(duration("5h")).toTime() < duration("6h")`, ""},
	} {
		plan := planOf(t, forbid+" when { "+c.condition+" };")
		if got := strings.Join(plan.Warnings, "\n"); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.condition, got, c.want)
		}
	}
	if plan := planOf(t, `permit(principal, action, resource) when { principal.boss.tier == 1 };`); plan.Warnings != nil {
		t.Errorf("a permit that errors is closed: %q", plan.Warnings)
	}
}

func TestAnnotationsWithoutEffectAreWarnedOf(t *testing.T) {
	const rest = ` forbid (principal, action == file_system::Action::"read", resource == file_system::File::"/k");`
	const misspelled = "no such annotation: it has no effect; did you mean "
	for _, c := range []struct{ text, want string }{
		{`@id("a") @responds("kill")` + rest, "p.cedar:1:10: policy a: @responds: " + misspelled + "@respond?"},
		{`@respnod("kill")` + rest, "p.cedar:1:1: policy p.cedar#0: @respnod: " + misspelled + "@respond?"},
		{"@id(\"a\")\n@Respond(\"kill\")" + rest, "p.cedar:2:1: policy a: @Respond: " + misspelled + "@respond?"},
		{`@ids("a")` + rest, "p.cedar:1:1: policy p.cedar#0: @ids: " + misspelled + "@id?"},
		{`@ID("a")` + rest, "p.cedar:1:1: policy p.cedar#0: @ID: " + misspelled + "@id?"},
		{`@resaons("a")` + rest, "p.cedar:1:1: policy p.cedar#0: @resaons: " + misspelled + "@reason?"},
		{`@severty("high")` + rest, "p.cedar:1:1: policy p.cedar#0: @severty: " + misspelled + "@severity?"},
		{`@modes("audit")` + rest, "p.cedar:1:1: policy p.cedar#0: @modes: " + misspelled + "@mode?"},
		{`@id("a") @reason("@respond") @severity("high") @mode("enforce") @respond("kill") @note("x") @owner("y") @comment("z") @ticket("t")` + rest, ""},
		{`@id("a") @mode("audit") @respond("kill")` + rest,
			`p.cedar:1:25: policy a: @respond: of a forbid in audit: it has no effect, for what it would deny goes on; remove @mode("audit") to have it respond`},
		{`@id("a") @respond("kill") permit (principal, action == file_system::Action::"read", resource);`,
			"p.cedar:1:10: policy a: @respond: of a permit: it has no effect, for a permit denies nothing; put it on a forbid, or remove it"},
	} {
		if got := strings.Join(planOf(t, c.text).Warnings, "\n"); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.text, got, c.want)
		}
	}
}

func TestConditionsOnANamelessWorkloadAreWarnedOf(t *testing.T) {
	plan := planOf(t, `permit(principal, action == file_system::Action::"read", resource) when { context has workload && context.workload.name == "w" };`)
	if len(plan.Rules.Rules) != 0 || len(plan.Warnings) != 1 || !strings.HasPrefix(plan.Warnings[0], "p.cedar:1:1: context.workload: the workload is not named: ") {
		t.Errorf("%v %q", plan.Rules.Rules, plan.Warnings)
	}
}

func TestEqualExpressionsShareAResidual(t *testing.T) {
	const scope = `permit(principal, action == file_system::Action::"execute", resource) when { `
	for _, c := range []struct {
		condition string
		residuals int
	}{
		{`context.user.username == "a" && context.user.username == "a"`, 1},
		{`context.user.username == "a" || !(context.user.username == "a")`, 0},
		{`context.user.username == "a" && context.user.username != "a"`, 0},
		{`context.user.username == "a" || context.user.username == "b"`, 2},
		{`context.user.username == "a" || true`, 0},
		{`context has namespace && context.namespace.target_process_id == 1`, 2},
		{`(if context.user.username == "a" then "/x" else "/y") == resource.path`, 1},
		{`context.process.exe == resource.path`, 1},
	} {
		guard := ""
		if strings.Contains(c.condition, "process.exe") {
			guard = "context has process && "
		}
		if plan := planOf(t, scope+guard+c.condition+" };"); len(plan.Rules.Residuals) != c.residuals {
			t.Errorf("%s: %+v", c.condition, plan.Rules.Residuals)
		}
	}
}

func TestAsksNameWhatTheyWaitFor(t *testing.T) {
	plan := planOf(t, `
permit(principal, action == file_system::Action::"execute", resource) when { resource.path == "/a" };
permit(principal, action == file_system::Action::"execute", resource) when { context.user.username == "ann" && resource.path != "/p" };
forbid(principal, action == file_system::Action::"execute", resource) when { resource.path like "/a*" && context.arguments.flags.contains("-c") };
forbid(principal, action == file_system::Action::"execute", resource) when { resource.path == "/ab" };`)
	for path, want := range map[string][]string{
		"/a":  {`context.arguments.flags.contains("-c")`},
		"/ab": nil,
		"/ac": {`context.user.username == "ann"`, `context.arguments.flags.contains("-c")`},
		"/b":  {`context.user.username == "ann"`},
		"/p":  nil,
	} {
		var got []string
		for _, r := range plan.Asks(abi.Request{Action: abi.Execute, Path: path}) {
			got = append(got, r.Expr)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q", path, got)
		}
	}
}

// Satisfied must not skip a rule that holds.
func TestTheIndexFindsEveryRuleThatHolds(t *testing.T) {
	entities := exactEntities()
	held := 0
	for seed := range 300 {
		g := author{rand.New(rand.NewPCG(uint64(seed), 11))}
		var text strings.Builder
		for range 8 {
			fmt.Fprintf(&text, "permit(principal, action, resource in file_system::Dir::%s) when { %s };\n", g.path(), g.boolean(2))
			fmt.Fprintf(&text, "forbid(principal, action, resource) when { %s };\n", g.boolean(1))
		}
		f, err := unvalidated(Input{Sources: []Source{{"p", []byte(text.String())}}, Entities: entities, Principal: `Agent::"a"`})
		if err != nil {
			continue // a path with a star and a trailing slash, for example
		}
		set, err := f.rules(abi.EnforcedActions)
		if err != nil {
			t.Fatal(err)
		}
		index := newRuleIndex(set.Rules)
		for range 40 {
			r := g.request()
			found := index.candidates(r.Path)
			for i, x := range set.Rules {
				if rule.Eval(x.Cond, &r) == rule.False {
					continue
				}
				held++
				if !slices.Contains(found, i) {
					t.Fatalf("seed %d: %s: %v is not found", seed, r.Path, x)
				}
			}
		}
	}
	if held < 10_000 {
		t.Errorf("only %d rules held", held)
	}
}

// BenchmarkSatisfied asks for a denial line among many policies.
func BenchmarkSatisfied(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		f, err := read(manyPolicies(n, `permit(principal, action == file_system::Action::"read", resource == file_system::File::"%s");`))
		if err != nil {
			b.Fatal(err)
		}
		set, err := f.rules(abi.DefaultActions)
		if err != nil {
			b.Fatal(err)
		}
		plan := &Plan{Rules: set, index: newRuleIndex(set.Rules)}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				plan.Satisfied(abi.Request{Action: abi.Read, Path: "/srv/1/1/file1"})
			}
		})
	}
}
