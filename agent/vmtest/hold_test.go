package vmtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What the tests of held asks use, beside the agent's fixture:
//
//	/usr/bin/id     may run with the argument root
//	/usr/bin/env    may not with EVIL in its environment
//	/usr/bin/arch   daemon may run it, others not
//	/usr/bin/dash   runs the script alone
//	/srv/agent
//	├── script      a script for dash: it may run with the argument fine
//	└── opened      daemon may read it, others not
const holding = `@id("all") permit (principal, action, resource);
@id("args") @reason("only root") forbid (principal, action == file_system::Action::"execute", resource == file_system::File::"/usr/bin/id")
unless { context.arguments.positional_values.contains("root") };
@id("env") forbid (principal, action == file_system::Action::"execute", resource == file_system::File::"/usr/bin/env")
when { context.environment.names.contains("EVIL") };
@id("script") forbid (principal, action == file_system::Action::"execute", resource == file_system::File::"/srv/agent/script")
unless { context.arguments.positional_values.contains("fine") };
@id("dash") forbid (principal, action == file_system::Action::"execute", resource == file_system::File::"/usr/bin/dash")
unless { context.arguments.positional_values.contains("/srv/agent/script") };
@id("user") forbid (principal, action == file_system::Action::"execute", resource == file_system::File::"/usr/bin/arch")
unless { context.user.username == "daemon" };
`

const holdingOpens = `@id("reader") forbid (principal, action == file_system::Action::"read", resource == file_system::File::"/srv/agent/opened")
unless { context has user && context.user.username == "daemon" };
`

const holdScript = agentDir + "/script"

func holdFixture(t *testing.T, policy string) {
	t.Helper()
	agentFixture(t)
	must(os.RemoveAll(agentLog))
	put(holdScript, "#!/usr/bin/dash -e\necho ran $1\n")
	must(os.Chmod(holdScript, 0o755))
	put(agentDir+"/opened", "text\n")
	put(agentFile, policy)
}

// heldCounts are those of the first workload.
func heldCounts(t *testing.T) (h struct {
	Actions                                  []string
	Asked, Allowed, Denied, Unanswered, Late uint64
}) {
	t.Helper()
	var s struct {
		Workloads []struct{ Held json.RawMessage }
	}
	r := stockade(t, "ps", "--json")
	if err := json.Unmarshal([]byte(r.stdout), &s); err != nil || len(s.Workloads) == 0 {
		t.Fatalf("ps: exit %d, %v: %s%s", r.code, err, r.stdout, r.stderr)
	}
	if s.Workloads[0].Held != nil {
		must(json.Unmarshal(s.Workloads[0].Held, &h))
	}
	return h
}

// denials reads the log: for each denial "PATH: REASON: POLICY…".
func denials(t *testing.T) (list []string) {
	t.Helper()
	exact(t)
	text, err := os.ReadFile(agentLog)
	must(err)
	for line := range bytes.Lines(text) {
		var d struct {
			Path, Reason string
			Policies     []struct{ ID string }
		}
		must(json.Unmarshal(line, &d))
		for _, p := range d.Policies {
			d.Reason += ": " + p.ID
		}
		list = append(list, d.Path+": "+d.Reason)
	}
	return list
}

const (
	answeredReason = "the agent's answer to what the policy asks"
	askReason      = "the policy leaves it to the agent, and no agent answers"
)

// trial is a script in the agent's cgroup, what it prints, and if it is denied,
// what of.
type trial struct{ name, script, prints, denied string }

// try demands that each trial ends as it says, with EACCES and one event.
func try(t *testing.T, trials []trial) {
	t.Helper()
	for _, c := range trials {
		before := 0
		if status(t).Workloads[0].Denied > 0 {
			before = len(denials(t))
		}
		out, err := in(agentGroup, c.script)
		if c.denied == "" {
			if err != nil || !strings.Contains(out, c.prints) {
				t.Errorf("%s: %v: %q, want %q", c.name, err, out, c.prints)
			}
			if now := status(t).Workloads[0].Denied; now != uint64(before) {
				t.Errorf("%s: %d denials, want none: %q", c.name, now-uint64(before), denials(t)[before:])
			}
			continue
		}
		if err == nil || !strings.Contains(out, "Permission denied") {
			t.Errorf("%s: %v: %q, want EACCES", c.name, err, out)
			continue
		}
		if got := denials(t)[before:]; len(got) != 1 || got[0] != c.denied {
			t.Errorf("%s: events %q, want %q", c.name, got, c.denied)
		}
	}
}

func TestExecutionsAreJudgedByWhatTheyArePassed(t *testing.T) {
	holdFixture(t, holding)
	startAgent(t)
	defer retireAgent(t)
	by := func(path, policy string) string { return path + ": " + answeredReason + ": " + policy }
	try(t, []trial{
		{"control", "/usr/bin/true; echo x", "x", ""},
		{"argument", "/usr/bin/id root", "uid=0", ""},
		{"no argument", "/usr/bin/id", "", by("/usr/bin/id", "args")},
		{"another argument", "/usr/bin/id daemon", "", by("/usr/bin/id", "args")},
		{"flag", "/usr/bin/id -u root", "0", ""},
		{"the name is no argument", "exec -a root /usr/bin/id", "", by("/usr/bin/id", "args")},
		{"environment", "A=1 /usr/bin/env", "A=1", ""},
		{"forbidden environment", "EVIL=1 /usr/bin/env", "", by("/usr/bin/env", "env")},
		{"script", holdScript + " fine", "ran fine", ""},
		{"an interpreter is passed what its script was called", "cd " + agentDir + " && ./script fine", "", by("/usr/bin/dash", "dash")},
		{"script with another argument", holdScript + " bad", "", by(holdScript, "script")},
		{"interpreter alone", "/usr/bin/dash -c :", "", by("/usr/bin/dash", "dash")},
		{"interpreter with the script", "/usr/bin/dash " + holdScript + " any", "ran any", ""},
		{"user", "setpriv --reuid=1 --regid=1 --clear-groups /usr/bin/arch", "", ""},
		{"another user", "/usr/bin/arch", "", by("/usr/bin/arch", "user")},
	})
	h := heldCounts(t)
	if h.Denied != 8 || h.Allowed != 8 || h.Unanswered != 0 || h.Late != 0 || h.Asked != h.Allowed+h.Denied {
		t.Errorf("%+v", h)
	}
	if r := stockade(t, "asks"); !strings.Contains(r.stdout, "nothing waits") {
		t.Errorf("asks: %s", r.stdout)
	}
}

func TestOpensAreJudgedByUser(t *testing.T) {
	holdFixture(t, holding+holdingOpens)
	startAgent(t)
	defer retireAgent(t)
	const daemon, root = "setpriv --reuid=1 --regid=1 --clear-groups cat " + agentDir + "/opened", "cat " + agentDir + "/opened"
	if h := heldCounts(t); len(h.Actions) == 1 { // 6.1 has no hook to confirm an open
		try(t, []trial{{"an open that cannot wait", daemon, "", agentDir + "/opened: " + askReason}})
		return
	}
	try(t, []trial{
		{"control", "cat " + agentDir + "/a", "a", ""},
		{"user", daemon, "text", ""},
		{"another user", root, "", agentDir + "/opened: " + answeredReason + ": reader"},
	})
	must(os.Rename(agentDir+"/opened", agentDir+"/kept"))
	put(agentDir+"/opened", "another\n")
	try(t, []trial{{"a file in its place", daemon, "", agentDir + "/opened: " + askReason}})
	time.Sleep(2 * time.Second) // it is marked now
	try(t, []trial{{"the same once it was denied", daemon, "another", ""}})
}

func TestAKilledAgentAllowsNothing(t *testing.T) {
	holdFixture(t, holding)
	a := startAgent(t)
	defer retireAgent(t)
	try(t, []trial{{"control", "/usr/bin/id root", "uid=0", ""}})
	// Bash lies beside what is asked about: to execute it would wait as well.
	held := exec.Command("/bin/bash", "-c", "echo $$ >"+agentGroup+"/cgroup.procs && read x; /usr/bin/id root")
	var out bytes.Buffer
	held.Stdout, held.Stderr = &out, &out
	stdin, err := held.StdinPipe()
	must(err)
	must(held.Start())
	must(a.cmd.Process.Signal(syscall.SIGSTOP))
	_, err = stdin.Write([]byte("\n"))
	must(err)
	done := make(chan error, 1)
	go func() { done <- held.Wait() }()
	select {
	case err := <-done:
		t.Fatalf("it does not wait: %v: %s", err, &out)
	case <-time.After(2 * time.Second):
	}
	if err := a.signal(syscall.SIGKILL); err == nil {
		t.Error("the agent survived SIGKILL")
	}
	if err := <-done; err == nil || !strings.Contains(out.String(), "Permission denied") {
		t.Errorf("held when the agent was killed: %v: %s", err, &out)
	}
	if out, err := in(agentGroup, "/usr/bin/id root"); err == nil || !strings.Contains(out, "Permission denied") {
		t.Errorf("without an agent: %v: %s", err, out)
	}
	if out, err := in(agentGroup, "/usr/bin/true"); err != nil {
		t.Errorf("what nobody asks about: %v: %s", err, out)
	}
	startAgent(t)
	if out, err := in(agentGroup, "/usr/bin/id root"); err != nil || !strings.Contains(out, "uid=0") {
		t.Errorf("with another agent: %v: %s", err, out)
	}
	if out, err := in(agentGroup, "/usr/bin/id"); err == nil {
		t.Errorf("with another agent: %s", out)
	}
	if h := heldCounts(t); h.Allowed != 1 || h.Denied != 1 {
		t.Errorf("%+v", h)
	}
}

func TestNoGroupListensWhereNothingIsAsked(t *testing.T) {
	holdFixture(t, permitting("a"))
	a := startAgent(t)
	defer retireAgent(t)
	groups := func() (n int) {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", a.cmd.Process.Pid))
		must(err)
		for _, file := range files {
			if text, _ := os.ReadFile(file); bytes.Contains(text, []byte("fanotify")) {
				n++
			}
		}
		return n
	}
	if n := groups(); n != 0 {
		t.Errorf("%d groups where nothing is asked", n)
	}
	put("/policy/holding.cedar", holding)
	if r := stockade(t, "policy", "apply", "--policy", "/policy/holding.cedar", "agents"); r.code != 0 {
		t.Fatalf("apply: exit %d: %s", r.code, r.stderr)
	}
	if n := groups(); n != 1 {
		t.Errorf("%d groups with asks", n)
	}
	try(t, []trial{{"after the change", "/usr/bin/id root", "uid=0", ""}})
	if r := stockade(t, "policy", "rollback", "agents"); r.code != 0 {
		t.Fatalf("rollback: exit %d: %s", r.code, r.stderr)
	}
	for end := time.Now().Add(20 * time.Second); groups() > 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d groups after the asks went", groups())
		}
	}
}

func TestAnApprovalForOneTimeHoldsOnce(t *testing.T) {
	holdFixture(t, asking)
	startAgent(t)
	defer retireAgent(t)
	ask := agentAsk(t)
	if r := stockade(t, "approve", ask, "--times", "1"); r.code != 0 {
		t.Fatalf("approve: exit %d: %s", r.code, r.stderr)
	}
	if out, err := in(agentGroup, "/usr/bin/id"); err != nil || !strings.Contains(out, "uid=0") {
		t.Errorf("approved: %v: %s", err, out)
	}
	if out, err := in(agentGroup, "/usr/bin/id"); err == nil || !strings.Contains(out, "Permission denied") {
		t.Errorf("a second time: %v: %s", err, out)
	}
	if w := status(t).Workloads[0]; w.Generation != 1 || w.Denied != 2 {
		t.Errorf("%+v", w)
	}
}

// agentAsk lets id be asked about, and returns the ticket.
func agentAsk(t *testing.T) string {
	t.Helper()
	if out, err := in(agentGroup, "/usr/bin/id"); err == nil || !strings.Contains(out, "Permission denied") {
		t.Fatalf("asked: %v: %s", err, out)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		var list struct{ Asks []struct{ ID string } }
		r := stockade(t, "asks", "--json")
		must(json.Unmarshal([]byte(r.stdout), &list))
		if len(list.Asks) > 0 {
			return list.Asks[0].ID
		}
		if time.Now().After(end) {
			t.Fatal("no ticket")
		}
	}
}
