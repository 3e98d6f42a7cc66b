package compiler

import (
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
)

const askedPolicies = `
@id("push")
permit(principal, action == file_system::Action::"execute", resource in file_system::Dir::"/usr/bin")
when { context.arguments.positional_values.contains("push") };
@id("not-force")
forbid(principal, action == file_system::Action::"execute", resource == file_system::File::"/usr/bin/git")
unless { !context.arguments.flags.contains("--force") };
@id("never")
forbid(principal, action == file_system::Action::"execute", resource == file_system::File::"/usr/bin/su");
`

// An answer holds for its paths, its actions and its time, and no longer.
func TestAnswersSettleWhatIsAsked(t *testing.T) {
	approve := func(policy, path string, beneath bool, until int64) Answer {
		return Answer{Policy: policy, Actions: abi.MaskOf(abi.Execute), Path: path, Beneath: beneath, Until: until, Allow: true}
	}
	for _, c := range []struct {
		name    string
		answers []Answer
		path    string
		now     int64
		want    abi.Verdict
	}{
		{"without an answer", nil, "/usr/bin/git", 0, abi.Ask},
		{"one of two questions", []Answer{approve("push", "/usr/bin/git", false, 0)}, "/usr/bin/git", 0, abi.Ask},
		{"both", []Answer{approve("push", "/usr/bin/git", false, 0), approve("not-force", "/usr/bin/git", false, 0)}, "/usr/bin/git", 0, abi.Allow},
		{"another path", []Answer{approve("push", "/usr/bin/git", false, 0)}, "/usr/bin/hg", 0, abi.Ask},
		{"a folder", []Answer{approve("push", "/usr/bin", true, 0)}, "/usr/bin/hg", 0, abi.Allow},
		{"in time", []Answer{approve("push", "/usr/bin/hg", false, 1000)}, "/usr/bin/hg", 999, abi.Allow},
		{"too late", []Answer{approve("push", "/usr/bin/hg", false, 1000)}, "/usr/bin/hg", 1000, abi.Ask},
		{"every path", []Answer{approve("push", "", false, 0)}, "/usr/bin/hg", 0, abi.Allow},
		{"what the policy does not cover", []Answer{approve("push", "", false, 0)}, "/opt/hg", 0, abi.Deny},
		{"against a forbid", []Answer{approve("push", "", false, 0)}, "/usr/bin/su", 0, abi.Deny},
		{"refused", []Answer{{Policy: "push", Path: "/usr/bin/hg"}}, "/usr/bin/hg", 0, abi.Deny},
		{"a forbid refused", []Answer{approve("push", "", false, 0), {Policy: "not-force"}}, "/usr/bin/git", 0, abi.Deny},
		{"the first counts", []Answer{{Policy: "push"}, approve("push", "", false, 0)}, "/usr/bin/hg", 0, abi.Deny},
	} {
		plan, err := Compile(Input{Sources: []Source{{"p.cedar", []byte(askedPolicies)}}, Principal: `User::"u"`, Answers: c.answers})
		if err != nil {
			t.Fatal(err)
		}
		r := abi.Request{Action: abi.Execute, Path: c.path, Facts: abi.Facts{Now: c.now}}
		if got := plan.Decide(r); got != c.want {
			t.Errorf("%s: %v, want %v\n%v", c.name, got, c.want, plan.Rules.Rules)
		}
	}
}
