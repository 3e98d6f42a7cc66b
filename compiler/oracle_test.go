package compiler

import (
	"testing"

	"github.com/cedar-policy/cedar-go"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// Each condition holds for one request and not for the zero one, so that a
// context without the fact cannot pass.
func TestTheOracleFillsTheContextOfARequest(t *testing.T) {
	pid := int64(7)
	facts := abi.Facts{UID: 4294967295, GID: 5, Now: 1_750_000_000_123, Exe: "/usr/bin/cat", Parent: "/usr/bin/dash"}
	told := Told{Username: "ann", Groupname: "dev", Options: map[string]string{"out": "x"}, Flags: []string{"-v"},
		Positional: []string{"y"}, Environment: map[string]string{"HOME": "/root"}, TargetProcess: &pid}
	for _, c := range []struct {
		action    abi.Action
		condition string
	}{
		{abi.Read, `context.process.exe == "/usr/bin/cat"`},
		{abi.Read, `context.process has parent_exe && context.process.parent_exe == "/usr/bin/dash"`},
		{abi.Read, `context.user.uid == 4294967295 && context.user.username == "ann"`},
		{abi.Read, `context.group.gid == 5 && context.group.groupname == "dev"`},
		{abi.Read, `context.now == datetime("2025-06-15T15:06:40.123Z")`},
		{abi.Read, `context.user.uid > 0 && context.workload.name == "w" && context.workload has labels && context.workload.labels.contains("l") && !(context.workload has image)`},
		{abi.Move, `context.destination == {path: "/a/b/c", name: "c", parent_path: "/a/b"}`},
		{abi.SetXattr, `context.xattr.name == "user.x"`},
		{abi.Execute, `context.arguments.keys.contains("out") && context.arguments.getTag("out") == "x"`},
		{abi.Execute, `context.arguments.flags.contains("-v") && context.arguments.positional_values.contains("y")`},
		{abi.Execute, `context.environment.names.contains("HOME") && context.environment.getTag("HOME") == "/root"`},
		{abi.Execute, `context.namespace.target_process_id == 7`},
	} {
		guards := ""
		for _, name := range []string{"process", "user", "group", "now", "workload"} {
			if c.action != abi.Execute || name != "user" && name != "group" {
				guards += "context has " + name + " && "
			}
		}
		if c.action == abi.Execute {
			guards += "context has namespace && "
			guards += `context.arguments.hasTag("out") && context.environment.hasTag("HOME") && `
		}
		oracle, err := NewOracle(Input{Principal: `User::"ann"`, Workload: &Workload{Name: "w", Labels: []string{"l"}},
			Sources: []Source{{"p", []byte("permit(principal, action == " + c.action.Cedar() + ", resource) when { " + guards + c.condition + " };")}}})
		if err != nil {
			t.Errorf("%s: %v", c.condition, err)
			continue
		}
		r := abi.Request{Action: c.action, Path: "/x"}
		if allow, _, err := oracle.Authorize(r); allow || err != nil {
			t.Errorf("%s: holds for nobody in particular: %v", c.condition, err)
		}
		r.Facts = facts
		if c.action == abi.Move {
			r.Dest = "/a/b/c"
		}
		if c.action == abi.SetXattr {
			r.Xattr = "user.x"
		}
		if allow, _, err := oracle.AuthorizeIn(r, told); !allow || err != nil {
			t.Errorf("%s: does not hold: %v", c.condition, err)
		}
	}
}

func TestDestinationsAreSplitAtTheLastSlash(t *testing.T) {
	for path, want := range map[string]string{
		"/a": `{"name":"a", "parent_path":"/", "path":"/a"}`, "/": `{"name":"", "parent_path":"/", "path":"/"}`,
		"/a/b/c": `{"name":"c", "parent_path":"/a/b", "path":"/a/b/c"}`,
	} {
		context := contextOf(abi.Request{Action: abi.Move, Facts: abi.Facts{Dest: path}}, &Told{}, nil)
		destination, _ := context.Get("destination")
		if got := string(destination.MarshalCedar()); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
}

// diagnose decides by the enforced policies and tells which of them error.
func (o *Oracle) diagnose(r abi.Request, told Told) (cedar.Decision, cedar.Diagnostic) {
	return o.diagnoseBy(o.policies, r, told)
}
