package compiler

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/gen"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// tell replaces the facts of t that uses does not list by those of other.
func tell(t, other Told, uses rule.Uses) Told {
	if !uses.Has(rule.UsesUsername) {
		t.Username = other.Username
	}
	if !uses.Has(rule.UsesGroupname) {
		t.Groupname = other.Groupname
	}
	if !uses.Has(rule.UsesArguments) {
		t.Flags, t.Positional, t.Tokens = other.Flags, other.Positional, other.Tokens
	}
	if !uses.Has(rule.UsesKeys) {
		t.Options = other.Options
	}
	if !uses.Has(rule.UsesEnvironment) {
		t.Environment = other.Environment
	}
	if !uses.Has(rule.UsesNamespace) {
		t.TargetProcess = other.TargetProcess
	}
	return t
}

// Whatever the agent finds out, the judge says what cedar-go says of the whole
// set; and what a verdict is not said to use does not matter to it.
func TestTheJudgeAgreesWithCedar(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	var asked, allowed, denied, changed int
	for seed := range uint64(400) {
		c := gen.New(seed, gen.Options{Requests: 60})
		in := caseInput(c)
		plan, err := Compile(in)
		if err != nil {
			continue
		}
		oracle := plan.Oracle()
		if oracle == nil {
			if len(plan.Rules.Residuals) > 0 {
				t.Fatal("a plan that asks has no oracle")
			}
			continue
		}
		paths, wide := plan.AskPlaces(abi.EnforcedActions)
		for _, q := range c.Requests {
			if plan.Decide(q) != abi.Ask {
				continue
			}
			asked++
			if !wide && !slices.Contains(paths, q.Path) {
				t.Fatalf("%s is asked, and is not among %q", gen.Show(q), paths)
			}
			var uses Uses
			for _, of := range plan.Uses(q) {
				uses |= of
			}
			for range 4 {
				told := Told(gen.NewTold(r, q.Path))
				allow, determining := plan.Judge(q, func(i int) bool { return oracle.Satisfied(i, q, told) })
				var ids []string
				for _, p := range determining {
					ids = append(ids, p.ID)
				}
				slices.Sort(ids)
				want, by, err := oracle.AuthorizeIn(q, told)
				if err != nil || allow != want || !slices.Equal(ids, by) {
					t.Fatalf("%s: the judge says %v by %q, cedar-go %v by %q, %v (told %+v)\n%s", gen.Show(q), allow, ids, want, by, err, told, c)
				}
				if allow {
					allowed++
				} else {
					denied++
				}
				other := tell(told, Told(gen.NewTold(r, q.Path)), uses)
				if is, _, _ := oracle.AuthorizeIn(q, other); is != want {
					t.Fatalf("%s uses %s alone, but %+v gives %v and %+v %v\n%s", gen.Show(q), uses, told, want, other, is, c)
				}
				if free, _, _ := oracle.AuthorizeIn(q, Told(gen.NewTold(r, q.Path))); free != want {
					changed++
				}
			}
		}
	}
	t.Logf("%d asked, %d allowed, %d denied, %d changed by what they use", asked, allowed, denied, changed)
	if asked < 500 || allowed == 0 || denied == 0 || changed == 0 {
		t.Fatal("the test sees one side only")
	}
}

func TestUsesOfConditions(t *testing.T) {
	for _, c := range []struct {
		condition string
		want      rule.Uses
	}{
		{`context.arguments.positional_values.contains("push")`, rule.UsesArguments},
		{`context.arguments.flags.isEmpty()`, rule.UsesArguments},
		{`context.arguments.hasTag("$ARG1") && context.arguments.getTag("$ARG1") == "push"`, rule.UsesArguments},
		{`context.arguments.hasTag("$ARG0")`, rule.UsesArguments | rule.UsesKeys},
		{`context.arguments.hasTag("out")`, rule.UsesArguments | rule.UsesKeys},
		{`context.arguments.keys.contains("out")`, rule.UsesKeys},
		{`context.environment.names.contains("X")`, rule.UsesEnvironment},
		{`context.environment.hasTag("X") && context.environment.getTag("X") == "1"`, rule.UsesEnvironment},
		{`context.user.username == "ann"`, rule.UsesUsername},
		{`context.user.username == "ann" || context.user.uid == 7`, rule.UsesUsername},
		{`context.group.groupname like "a*"`, rule.UsesGroupname},
		{`context has namespace`, rule.UsesNamespace},
		{`context has process && context.process.exe == resource.path`, rule.UsesExe},
		{`context has process && context.process has parent_exe && context.process.parent_exe == context.user.username`, rule.UsesParent | rule.UsesUsername},
		{`context.user == {username: "ann", uid: 3}`, rule.UsesUsername},
	} {
		text := `permit (principal, action == file_system::Action::"execute", resource) when { ` + c.condition + ` };`
		plan, err := Compile(Input{Principal: `User::"ann"`, Sources: []Source{{"p", []byte(text)}}})
		if err != nil {
			t.Errorf("%s: %v", c.condition, err)
			continue
		}
		got := plan.Uses(abi.Request{Action: abi.Execute, Path: "/x", Facts: abi.Facts{UID: 3}})
		if len(got) != 1 || got[0] != c.want {
			t.Errorf("%s: uses %v, want %q", c.condition, got, c.want)
		}
	}
}

func TestPlacesOfAsks(t *testing.T) {
	const args = `context.arguments.positional_values.contains("x")`
	at := func(scope, when string) string {
		return `permit (principal, action == file_system::Action::"execute", ` + scope + `) when { ` + when + ` };`
	}
	for _, c := range []struct {
		text  string
		paths []string
		wide  bool
	}{
		{at(`resource == file_system::File::"/bin/a"`, args), []string{"/bin/a"}, false},
		{at(`resource`, args), nil, true},
		{at(`resource in file_system::Dir::"/bin"`, args), []string{"/bin"}, true},
		{at(`resource`, `resource.path == "/a" && `+args+` || resource.path == "/b" && `+args), []string{"/a", "/b"}, false},
		{at(`resource`, `resource.path == "/a" && `+args+` || resource.path like "/c*"`), []string{"/a"}, false},
		{at(`resource`, `["/a", "/b"].contains(resource.path) && !(`+args+`)`), []string{"/a", "/b"}, false},
		{at(`resource`, `true`), nil, false},
	} {
		plan, err := Compile(Input{Principal: `User::"ann"`, Sources: []Source{{"p", []byte(c.text)}}})
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if paths, wide := plan.AskPlaces(abi.MaskOf(abi.Execute)); !slices.Equal(paths, c.paths) || wide != c.wide {
			t.Errorf("%s: %q %v, want %q %v", c.text, paths, wide, c.paths, c.wide)
		}
		if paths, wide := plan.AskPlaces(abi.MaskOf(abi.Open)); len(paths) > 0 || wide {
			t.Errorf("%s: opens are not asked, but %q %v", c.text, paths, wide)
		}
	}
}

// An answer settles its policy; what else is open is still judged.
func TestTheJudgeKeepsToAnswers(t *testing.T) {
	text := `@id("args") permit (principal, action == file_system::Action::"execute", resource) when { context.arguments.positional_values.contains("x") };
@id("ann") forbid (principal, action == file_system::Action::"execute", resource) when { context.user.username == "ann" };`
	plan, err := Compile(Input{Principal: `User::"u"`, Sources: []Source{{"p", []byte(text)}}, Answers: []Answer{{Policy: "args", Path: "/a", Allow: true}}})
	if err != nil {
		t.Fatal(err)
	}
	oracle := plan.Oracle()
	for _, c := range []struct {
		path, user string
		want       bool
	}{{"/a", "bob", true}, {"/a", "ann", false}, {"/b", "bob", false}} {
		q := abi.Request{Action: abi.Execute, Path: c.path}
		allow, by := plan.Judge(q, func(i int) bool { return oracle.Satisfied(i, q, Told{Username: c.user}) })
		if allow != c.want {
			t.Errorf("%+v: %v by %v", c, allow, by)
		}
	}
	q := abi.Request{Action: abi.Execute, Path: "/b"}
	if !plan.Favoured(q, 0, true) || plan.Favoured(q, 0, false) || plan.Favoured(q, 1, true) || !plan.Favoured(q, 1, false) {
		t.Error("an answer does not favour, or does more")
	}
}
