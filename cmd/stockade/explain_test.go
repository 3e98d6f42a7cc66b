package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestExplainNamesThePolicyAndAWayOut(t *testing.T) {
	file := policyFile(t, readSrv+"\n"+noKey)
	want := `deny: read file /srv/key/a
` + file + `:2:1: policy no-key ("keys stay")
    forbid (principal, action, resource in file_system::Dir::"/srv/key");
to allow it:
    in policy no-key (` + file + `:2:1), before its semicolon, add
        unless { action == file_system::Action::"read" && resource == file_system::File::"/srv/key/a" }
    this allows nothing else
`
	if code, out, errs := call("", "explain", "-p", file, "read", "/srv/key/a"); code != 1 || out != want || errs != "" {
		t.Errorf("exit %d, %s\n%swant\n%s", code, errs, out, want)
	}
}

func TestExplainedWaysOutWork(t *testing.T) {
	file := policyFile(t, readSrv+"\n"+noKey)
	code, out, _ := call("", "explain", "-p", file, "--json", "--principal", `User::"alice"`, "write", "/srv/a")
	var got struct {
		Verdict     string
		Suggestions []struct {
			Only  bool
			Edits []struct{ Text, Policy string }
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 1 || got.Verdict != "deny" || len(got.Suggestions) != 2 {
		t.Fatalf("exit %d, %v\n%s", code, err, out)
	}
	if s := got.Suggestions[0]; !s.Only || s.Edits[0].Policy != "" {
		t.Errorf("%+v", s)
	}
	if s := got.Suggestions[1]; s.Only || s.Edits[0].Policy != "srv" {
		t.Errorf("%+v", s)
	}
	more := policyFile(t, got.Suggestions[0].Edits[0].Text)
	if code, out, errs := call("", "explain", "-p", file, "-p", more, "--principal", `User::"alice"`, "write", "/srv/a"); code != 0 || !strings.HasPrefix(out, "allow: write file /srv/a\n") {
		t.Errorf("the added policy: exit %d, %s%s", code, out, errs)
	}
	widened := policyFile(t, strings.Replace(readSrv, `action == file_system::Action::"read"`, got.Suggestions[1].Edits[0].Text, 1))
	if code, out, errs := call("", "explain", "-p", widened, "write", "/srv/a"); code != 0 {
		t.Errorf("the widened policy: exit %d, %s%s", code, out, errs)
	}
}

func TestExplainSaysWhichFactsMatter(t *testing.T) {
	file := policyFile(t, userOnly)
	for uid, want := range map[string]int{"1000": 0, "1001": 1} {
		if code, out, _ := call("", "explain", "-p", file, "--uid", uid, "read", "/srv/a"); code != want || !strings.Contains(out, "other facts; here uid is "+uid+"\n") {
			t.Errorf("uid %s: exit %d\n%s", uid, code, out)
		}
	}
	if code, out, _ := call("", "explain", "-p", file, "read", "/etc/a"); code != 1 || strings.Contains(out, "other facts") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

func TestExplainSaysWhatAnAskWaitsFor(t *testing.T) {
	file := policyFile(t, `@id("ann") permit (principal, action == file_system::Action::"execute", resource) when { context.user.username == "ann" };`)
	code, out, _ := call("", "explain", "-p", file, "execute", "/usr/bin/id")
	if code != 1 || !strings.HasPrefix(out, "ask: execute file /usr/bin/id\n"+file+":1:") || !strings.Contains(out, "the agent finds out, for policy ann") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

func TestExplainKnowsTheBoundaryAndTheBaseline(t *testing.T) {
	file := policyFile(t, `permit (principal, action, resource);`)
	if code, out, _ := call("", "explain", "-p", file, "write", "/sys/fs/bpf/x"); code != 0 || !strings.Contains(out, "boundary: any use of bpffs is refused") {
		t.Errorf("exit %d\n%s", code, out)
	}
	code, out, _ := call("", "explain", "-p", policyFile(t, readSrv), "--baseline", "runtime", "write", "/usr/lib/x.so")
	if code != 1 || strings.Contains(out, "in policy") || !strings.Contains(out, "this allows nothing else") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

func TestCheckWarnsOfIdlePoliciesAndStrictFails(t *testing.T) {
	file := policyFile(t, readSrv+"\n"+`@id("www") permit (principal, action == file_system::Action::"read", resource in file_system::Dir::"/srv/www");`)
	want := file + ":2:1: policy www: others decide alike without it, such as srv ("
	if code, out, errs := call("", "check", file); code != 0 || !strings.Contains(out, want) || errs != "" {
		t.Errorf("exit %d, %s\n%s", code, errs, out)
	}
	if code, out, errs := call("", "check", "--strict", file); code != 1 || !strings.Contains(out, want) || !strings.Contains(errs, "policies: 1 warning: --strict lets none pass; mend ") {
		t.Errorf("strict: exit %d, %s\n%s", code, errs, out)
	}
	if code, out, _ := call("", "check", "--strict", "--idle", "0", file); code != 0 || strings.Contains(out, "www") {
		t.Errorf("not looked for: exit %d\n%s", code, out)
	}
	if code, out, _ := call("", "check", "--idle", "1ns", file); code != 0 || !strings.Contains(out, "no time was left") {
		t.Errorf("no time: exit %d\n%s", code, out)
	}
	if code, out, _ := call("", "check", "--strict", policyFile(t, readSrv)); code != 0 {
		t.Errorf("no warnings: exit %d\n%s", code, out)
	}
}
