package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// policyFile writes a policy file and returns its path.
func policyFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "p.cedar")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	readSrv  = `@id("srv") permit (principal, action == file_system::Action::"read", resource in file_system::Dir::"/srv");`
	noKey    = `@id("no-key") @reason("keys stay") forbid (principal, action, resource in file_system::Dir::"/srv/key");`
	userOnly = `@id("user") permit (principal, action == file_system::Action::"read", resource in file_system::Dir::"/srv") when { context has user && context.user.uid == 1000 };`
)

func TestDiffOfEqualMeaningIsSilent(t *testing.T) {
	again := policyFile(t, readSrv+`permit (principal, action == file_system::Action::"read", resource in file_system::Dir::"/srv/www");`)
	if code, out, errs := call("", "diff", policyFile(t, readSrv), again); code != 0 || out != "" || errs != "" {
		t.Errorf("exit %d, %s%s", code, out, errs)
	}
}

func TestDiffTellsWhatChanges(t *testing.T) {
	old, now := policyFile(t, readSrv), policyFile(t, readSrv+noKey)
	want := `newly denied (was allowed): read
    /srv/key (as a directory), /srv/key/**
    for example read file /srv/key/a
`
	if code, out, errs := call("", "diff", old, now); code != 1 || out != want || errs != "" {
		t.Errorf("exit %d, %s\n%swant\n%s", code, errs, out, want)
	}
	if code, out, _ := call("", "diff", now, old); code != 1 || !strings.HasPrefix(out, "newly allowed (was denied): read\n") {
		t.Errorf("back: exit %d\n%s", code, out)
	}
	// What both have in common hides it.
	common := policyFile(t, noKey[len(`@id("no-key")`):])
	if code, out, errs := call("", "diff", "-p", common, old, now); code != 0 || out != "" {
		t.Errorf("with a common policy: exit %d, %s\n%s", code, errs, out)
	}
}

func TestDiffTellsTheFacts(t *testing.T) {
	code, out, errs := call("", "diff", "--json", policyFile(t, readSrv), policyFile(t, userOnly))
	var got struct {
		Equal   bool
		Changes []struct {
			Old, New string
			Actions  map[string][]string
			Places   []struct{ Path string }
			Facts    []string
			Witness  map[string]any
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 1 || errs != "" {
		t.Fatalf("exit %d, %v, %s\n%s", code, err, errs, out)
	}
	if got.Equal || len(got.Changes) != 1 {
		t.Fatalf("%+v", got)
	}
	c := got.Changes[0]
	if c.Old != "allow" || c.New != "deny" || c.Places[0].Path != "/srv" || len(c.Facts) != 1 || c.Facts[0] != "uid" || c.Witness["uid"] == float64(1000) || c.Actions["File"][0] != "read" {
		t.Errorf("%+v", c)
	}
}

func TestDiffLimitsWhatItPrints(t *testing.T) {
	var text strings.Builder
	for _, name := range strings.Fields("a b c d e f g h i j") {
		text.WriteString(`permit (principal, action == file_system::Action::"read", resource in file_system::Dir::"/` + name + `");` + "\n")
	}
	old, now := policyFile(t, readSrv), policyFile(t, text.String()+readSrv)
	if _, out, _ := call("", "diff", old, now); !strings.Contains(out, "    and 4 more places\n") || strings.Contains(out, "/j") {
		t.Errorf("%s", out)
	}
	if _, out, _ := call("", "diff", "--all", old, now); strings.Contains(out, "more") || !strings.Contains(out, "/j (as a directory), /j/**") {
		t.Errorf("%s", out)
	}
}

func TestDiffSaysThatAnswersOfTheAgentAreNotCompared(t *testing.T) {
	ask := func(name string) string {
		return policyFile(t, `permit (principal, action == file_system::Action::"execute", resource) when { context.user.username == "`+name+`" };`)
	}
	if code, out, _ := call("", "diff", ask("ann"), ask("bob")); code != 0 || !strings.HasPrefix(out, "not compared: ") {
		t.Errorf("exit %d, %s", code, out)
	}
	if code, out, _ := call("", "diff", ask("ann"), ask("ann")); code != 0 || out != "" {
		t.Errorf("exit %d, %s", code, out)
	}
}

// The help says what each word of the output means.
func TestDiffHelpExplainsItsWords(t *testing.T) {
	_, out, _ := call("", "diff", "--help")
	for _, word := range []string{"(as a directory)", "some of", "newly responded to (@respond)", `"witness"`, `"dir"`, `"beneath"`} {
		if !strings.Contains(strings.Join(strings.Fields(out), " "), word) {
			t.Errorf("%s is not explained:\n%s", word, out)
		}
	}
	old := policyFile(t, readSrv+`forbid (principal, action, resource in file_system::Dir::"/srv/key");`)
	now := policyFile(t, readSrv+`@respond("kill") forbid (principal, action, resource in file_system::Dir::"/srv/key");`)
	if code, out, _ := call("", "diff", old, now); code != 1 || !strings.HasPrefix(out, "denied as before, newly responded to (@respond): ") || strings.Contains(out, "newly denied") {
		t.Errorf("exit %d, %s", code, out)
	}
}

func TestDiffAndExplainFailWithTwo(t *testing.T) {
	good := policyFile(t, readSrv)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"diff", good}, "policies: 1 given"},
		{[]string{"diff", good, "nothing"}, "no such file"},
		{[]string{"diff", good, "testdata/bad.cedar"}, "testdata/bad.cedar:1:30: "},
		{[]string{"diff", "--al", good, good}, "Did you mean --all?"},
		{[]string{"explain", "-p", good, "read"}, "write ACTION PATH"},
		{[]string{"explain", "read", "/a"}, "policies: none given"},
		{[]string{"explain", "-p", good, "raed", "/a"}, "no kernel hook decides it"},
		{[]string{"explain", "-p", good, "sysctl::Action::\"load\"", "/a"}, "no kernel hook decides it"},
		{[]string{"explain", "-p", good, "stat", "/a"}, "not among the handled actions: it is not enforced, so nothing is denied; add --handle stat"},
		{[]string{"explain", "-p", good, "--handle", "stat"}, "write ACTION PATH, flags before them, ACTION being one of " + abi.EnforcedActions.String()},
		{[]string{"explain", "-p", good, "--handle", "stat", "/a"}, "ACTION being one of " + abi.EnforcedActions.String()},
		{[]string{"explain", "-p", good, "--handle", "sta", "stat", "/a"}, "use one of " + abi.EnforcedActions.String()},
		{[]string{"explain", "-p", good, "process_system::Action::\"kill\"", "/a"}, "no policy is asked"},
		{[]string{"explain", "-p", good, "read", "/a/"}, "trailing slash"},
		{[]string{"explain", "-p", good, "--kind", "x", "read", "/a"}, "use file or dir"},
		{[]string{"explain", "-p", good, "--now", "x", "read", "/a"}, "no time"},
		{[]string{"explain", "-p", good, "--dest", "/b", "read", "/a"}, "has no destination"},
		{[]string{"explain", "-p", good, "move", "/a"}, "dest: missing"},
		{[]string{"explain", "-p", good, "--xattr", "user.a", "read", "/a"}, "not about an attribute"},
		{[]string{"explain", "-p", good, "--exe", "bash", "read", "/a"}, `exe "bash": a path that is not absolute`},
		{[]string{"explain", "-p", "testdata/bad.cedar", "read", "/a"}, "testdata/bad.cedar:1:30: "},
	} {
		if code, out, errs := call("", c.args...); code != 2 || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("%q: exit %d, %s%s", c.args, code, out, errs)
		}
	}
}
