package daemon

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/bpf/abi"
)

const askingPolicy = `@id("push") permit (principal, action == file_system::Action::"execute", resource in file_system::Dir::"/usr/bin")
when { context.arguments.positional_values.contains("push") };
@id("no-su") forbid (principal, action == file_system::Action::"execute", resource == file_system::File::"/usr/bin/su");
`

// denyAsked is what the kernel reports of an exec that a policy asks about.
func denyAsked(path string) abi.Event {
	return abi.Event{Workload: 1, Generation: 1, Reason: abi.ReasonAsk, Missing: abi.MaskOf(abi.Execute), Action: abi.Execute,
		Path: path, PathStatus: abi.PathOK}
}

func TestQuestionsAreAnsweredByChangesOfThePlan(t *testing.T) {
	y := newYard(t)
	y.write("one.cedar", askingPolicy)
	d, kill := y.up()
	defer kill()
	decide := func(path string) abi.Verdict {
		t.Helper()
		return d.all.byName["one"].plan.Decide(abi.Request{Action: abi.Execute, Path: path})
	}
	asks := func() []api.Ask {
		t.Helper()
		list, err := d.Asks()
		if err != nil {
			t.Fatal(err)
		}
		return list.Asks
	}
	deliver(d, denyAsked("/usr/bin/git"))
	deliver(d, denyAsked("/usr/bin/hg"))
	deliver(d, denyAsked("/usr/bin/git")) // the same question
	deliver(d, denyAsked("/opt/git"))     // none: the policy denies it
	plain := denyAsked("/usr/bin/svn")
	plain.Reason = abi.ReasonPolicy
	deliver(d, plain)
	list := asks()
	if len(list) != 2 || list[1].Path != "/usr/bin/git" || list[1].Count != 2 || len(list[1].Waits) != 1 || list[1].Waits[0].Policy != "push" {
		t.Fatalf("%+v", list)
	}
	for _, c := range []struct {
		id   string
		a    api.Answer
		want string
	}{
		{"nonsense", api.Answer{Allow: true}, "not among the questions"},
		{list[1].ID, api.Answer{Allow: true, Scope: "world"}, `scope "world"`},
		{list[1].ID, api.Answer{Allow: true, Seconds: -1}, "has passed"},
	} {
		if _, err := d.Answer(c.id, c.a); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.a, err, c.want)
		}
	}
	y.want(y.status(d), 1, "enforce", "config")
	if _, err := d.Answer(list[1].ID, api.Answer{Allow: true}); err != nil {
		t.Fatal(err)
	}
	y.want(y.status(d), 2, "enforce", "answered")
	if git, hg := decide("/usr/bin/git"), decide("/usr/bin/hg"); git != abi.Allow || hg != abi.Ask || len(asks()) != 1 {
		t.Errorf("git %v, hg %v, %d questions", git, hg, len(asks()))
	}
	if _, err := d.Answer(list[0].ID, api.Answer{Scope: "dir"}); err != nil { // refused
		t.Fatal(err)
	}
	if hg, svn := decide("/usr/bin/hg"), decide("/usr/bin/svn"); hg != abi.Deny || svn != abi.Deny {
		t.Errorf("hg %v, svn %v", hg, svn)
	}
	for range 2 {
		if _, err := d.Rollback("one"); err != nil {
			t.Fatal(err)
		}
	}
	y.want(y.status(d), 5, "enforce", "rolled back")
}

// An answer is a bound on the time in the table: nothing has to happen for it
// to lapse.
func TestAnswersLapseInTheTable(t *testing.T) {
	y := newYard(t)
	y.write("one.cedar", askingPolicy)
	d, kill := y.up()
	defer kill()
	deliver(d, denyAsked("/usr/bin/git"))
	list, err := d.Asks()
	if err != nil || len(list.Asks) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	if _, err := d.Answer(list.Asks[0].ID, api.Answer{Allow: true, Seconds: 60, Scope: "policy"}); err != nil {
		t.Fatal(err)
	}
	plan := d.all.byName["one"].plan
	answers := d.all.byName["one"].memory.Input.Answers
	if text, err := json.Marshal(answers); err != nil || len(answers) != 1 {
		t.Fatalf("%s, %v", text, err)
	}
	until := answers[0].Until
	for now, want := range map[int64]abi.Verdict{until - 1: abi.Allow, until: abi.Ask} {
		if got := plan.Decide(abi.Request{Action: abi.Execute, Path: "/usr/bin/hg", Facts: abi.Facts{Now: now}}); got != want {
			t.Errorf("%d ms from the end: %v, want %v", until-now, got, want)
		}
	}
	if got := plan.Decide(abi.Request{Action: abi.Execute, Path: "/usr/bin/su"}); got != abi.Deny {
		t.Errorf("an answer overrides a forbid: %v", got)
	}
}
