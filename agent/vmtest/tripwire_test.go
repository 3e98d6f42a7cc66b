package vmtest

import (
	"strings"
	"syscall"
	"testing"

	"github.com/stockade-dev/stockade/agent"
)

const honeytoken = `@id("honey") @respond("kill") forbid (principal, action, resource == file_system::File::"/srv/agent/none");
`

// tripped: a workload of the agent by a policy, once; a run by a policy of its own, and by
// too many denials.
func tripped(t *testing.T) {
	put(agentFile, permitting("a", "both")+runPolicy+honeytoken)
	put("/policy/honey.cedar", honeytoken)
	if r := stockade(t, "reload"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	t.Cleanup(func() { stockade(t, "unlock", "--all") })
	if out, err := in(agentGroup, "read -r x <"+agentDir+"/b"); err == nil {
		t.Errorf("the control, which nothing responds to: %s", out)
	}
	if out, err := in(agentGroup, "read -r x <"+agentDir+"/a"); err != nil {
		t.Errorf("after it: %v: %s", err, out)
	}
	aloneTripped(t)
	begins(t, agentGroup, "sleep 3; while :; do read -r x <"+agentDir+"/none; sleep 0.1; done")
	await(t, "the response to a workload", noted(t, 2, killedByHoney))
	if w, s := workloadNamed(t, "agents"); s.Workloads[w].Mode != "lockdown" {
		t.Errorf("%+v", s.Workloads[w])
	}
	r := begin(t, "honey", "while :; do read -r x <"+agentDir+"/none; sleep 0.1; done", "--agent", "require", "--policy", "/policy/honey.cedar")
	if code, errs := r.finish(); code != 137 || !strings.Contains(errs, "policy honey") {
		t.Errorf("a run by its policy: exit %d: %s", code, errs)
	}
	r = begin(t, "budget", "sleep 0.5; while :; do read -r x <"+agentDir+"/b; done", "--agent", "require", "--max-denials", "20/10s=kill")
	if code, errs := r.finish(); code != 137 || strings.Count(errs, "no-b") < 20 {
		t.Errorf("a run by its budget: exit %d, %d denials: %.2000s", code, strings.Count(errs, "no-b"), errs)
	}
	await(t, "the response to a budget", noted(t, 1, "workload budget: kill by budget (more than 20 denials in 10s): verified"))
}

const killedByHoney = "workload agents: kill by policy honey: verified: no process of it lives, and no socket of it is left"

// noted tells whether the agent has so many notes with a text.
func noted(t *testing.T, n int, text string) func() bool {
	return func() bool {
		s, err := agent.NewClient(agent.DefaultSocket).Status(t.Context())
		return err == nil && strings.Count(strings.Join(s.Notes, "\n"), text) >= n
	}
}

// aloneTripped: the kernel locks a workload down in the hook that denies, while no agent
// reads what it says, and it stays so through a reload and an agent that is started anew:
// that one reads the denial, and does the rest.
func aloneTripped(t *testing.T) {
	t.Helper()
	mode := func() string {
		i, s := workloadNamed(t, "agents")
		return s.Workloads[i].Mode
	}
	must(agents.cmd.Process.Signal(syscall.SIGSTOP))
	out, _ := in(agentGroup, "read -r x <"+agentDir+"/a && echo before; read -r x <"+agentDir+"/none; read -r x <"+agentDir+"/a && echo after; echo end")
	if !strings.Contains(string(out), "before") || strings.Contains(string(out), "after") || !strings.Contains(string(out), "end") {
		t.Errorf("the operation before a tripwire, and the next one, without an agent: %s", out)
	}
	agents = startAgain(t)
	if m := mode(); m != "lockdown" {
		t.Errorf("after an agent that was killed: %s", m)
	}
	if r := stockade(t, "reload"); r.code != 0 || mode() != "lockdown" {
		t.Errorf("after a reload: %s: %s", mode(), r.stderr)
	}
	if out, err := in(agentGroup, "read -r x <"+agentDir+"/a"); err == nil {
		t.Errorf("what is locked down reads: %s", out)
	}
	await(t, "the response of the next agent", noted(t, 1, killedByHoney))
	stockade(t, "unlock", "agents")
	if out, err := in(agentGroup, "read -r x <"+agentDir+"/a"); err != nil || mode() != "enforce" {
		t.Errorf("unlocked, %s: %v: %s", mode(), err, out)
	}
}
