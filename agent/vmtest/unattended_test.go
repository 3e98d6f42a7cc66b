package vmtest

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stockade-dev/stockade/agent"
)

// unattended: the agent was killed, or hangs. What it held is stopped all the same.
func unattended(t *testing.T) {
	put(agentFile, permitting("a", "both")+runPolicy)
	if r := stockade(t, "reload"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	wantReads(t, agentGroup, "with an agent", "a both")
	const within, stray = "while :; do sleep 277; done", "while :; do sleep 278; done"
	begins(t, agentGroup, within)
	group := agentGroup + "/stray"
	must(syscall.Mkdir(group, 0o755))
	begins(t, group, stray)
	moveOut(t, group)
	held := begin(t, "held", "sleep 1000", "--agent", "require")
	before := len(lockedDenials(t))
	_ = agents.signal(syscall.SIGKILL)

	wantUnattended(t, respond(t, 0, "lockdown", "agents"))
	if out, err := in(agentGroup, "read -r x <"+agentDir+"/a"); err == nil || !strings.Contains(out, "Permission denied") {
		t.Errorf("locked down: %v: %s", err, out)
	}
	var s agent.Status
	if x := stockade(t, "ps", "--json"); json.Unmarshal([]byte(x.stdout), &s) != nil {
		t.Errorf("ps: %s%s", x.stdout, x.stderr)
	}
	for _, w := range s.Workloads {
		want := map[string]string{"agents": "agents.slice lockdown", "held": "stockade/held enforce"}[w.Name]
		if got := strings.Join(w.Cgroups, " ") + " " + w.Mode; got != want || w.Tasks == 0 || w.Error == "" {
			t.Errorf("%s: %s, want %s: %+v", w.Name, got, want, w)
		}
	}
	if x := stockade(t, "inspect", "agents", "--json"); len(s.Workloads) != 2 || x.code != 0 || !strings.Contains(x.stdout, "sleep 278") && !strings.Contains(x.stdout, `"278"`) {
		t.Errorf("inspect: exit %d: %s%s; %+v", x.code, x.stdout, x.stderr, s.Workloads)
	}
	r := respond(t, 0, "kill", "agents")
	wantUnattended(t, r)
	wantBrief(t, &r)
	wantUnattended(t, respond(t, 0, "kill", "held", "--no-evidence"))
	if code, errs := held.finish(); code != 137 || strings.Count(errs, "kill by root on ") != 1 || !strings.Contains(errs, ", when nobody answered for it") {
		t.Errorf("the run: exit %d: %s", code, errs)
	}
	if x := stockade(t, "unlock", "agents"); x.code != 3 || !strings.Contains(x.stdout, "start the agent") {
		t.Errorf("unlock: exit %d: %s%s", x.code, x.stdout, x.stderr)
	}
	startAgent(t)
	if i, s := workloadNamed(t, "agents"); s.Workloads[i].Mode != "lockdown" {
		t.Errorf("the next agent: %+v", s.Workloads[i])
	}
	if x := stockade(t, "ps"); !strings.Contains(x.stdout, "kill by root on ") || !strings.Contains(x.stdout, ", when nobody answered for it, evidence INCOMPLETE in "+r.Evidence.Path) {
		t.Errorf("ps: %s", x.stdout)
	}
	await(t, "the denial", func() bool { return len(lockedDenials(t)) > before })
	list := lockedDenials(t)[before:]
	if len(list) != 1 || list[0].Workload != "agents" {
		t.Errorf("denials: %+v", list)
	}
	respond(t, 0, "unlock", "agents")
	wantReads(t, agentGroup, "unlocked", "a both")

	must(agents.cmd.Process.Signal(syscall.SIGSTOP))
	wantUnattended(t, respond(t, 0, "lockdown", "agents"))
	must(agents.cmd.Process.Signal(syscall.SIGCONT))
	if out, err := in(agentGroup, "read -r x <"+agentDir+"/a"); err == nil || !strings.Contains(out, "Permission denied") {
		t.Errorf("locked down beside an agent that hung: %v: %s", err, out)
	}
	respond(t, 0, "unlock", "agents")
	wantReads(t, agentGroup, "unlocked by an agent that hung", "a both")
	killedMeanwhile(t)
}

// killedMeanwhile kills the agent while it takes evidence: the kill is done without it, and
// what it began itself has a name.
func killedMeanwhile(t *testing.T) {
	begins(t, agentGroup, "while :; do sleep 279; done")
	begun := func() int {
		list, err := filepath.Glob("/var/lib/stockade/evidence/agents-*.partial-*")
		must(err)
		return len(list)
	}
	before := begun()
	cmd := exec.Command(program, "kill", "agents", "--json")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	must(cmd.Start())
	await(t, "evidence to be begun", func() bool { return begun() > before })
	_ = agents.signal(syscall.SIGKILL)
	var r agent.Response
	if err := cmd.Wait(); err != nil || json.Unmarshal(out.Bytes(), &r) != nil || !r.Verified || r.Evidence == nil {
		t.Fatalf("%v: %s%s", err, &out, &errs)
	}
	wantUnattended(t, r)
	if n := len(r.Before); n == 0 || !strings.Contains(r.Before[n-1].String(), "begun and not ended") {
		t.Errorf("before: %+v", r.Before)
	}
	startAgent(t)
	respond(t, 0, "unlock", "agents")
	wantReads(t, agentGroup, "unlocked after two kills", "a both")
}

// lockedDenials are those in the agent's log of what was locked down.
func lockedDenials(t *testing.T) (list []loggedDenial) {
	t.Helper()
	for _, d := range logged(t) {
		if d.Mode == "lockdown" {
			list = append(list, d)
		}
	}
	return list
}

func wantUnattended(t *testing.T, r agent.Response) {
	t.Helper()
	if !r.Unattended || r.By == nil {
		t.Errorf("%+v", r)
	}
}

// wantBrief checks evidence that was taken without an agent.
func wantBrief(t *testing.T, r *agent.Response) {
	t.Helper()
	e := r.Evidence
	if e == nil || !slices.Equal(e.Missing, []string{"denials.jsonl"}) || r.Processes < 4 { // these wait for the agent
		t.Fatalf("%+v", r)
	}
	if x := stockade(t, "evidence", "verify", e.Path); x.code != 0 {
		t.Errorf("verify: exit %d: %s%s", x.code, x.stdout, x.stderr)
	}
	for name, want := range map[string]string{"processes.json": "277", "policies.json": "agents", "workload.json": `"mode":"lockdown"`, "response.json": `"unattended"`} {
		if got := part(t, e.Path, name); !strings.Contains(got, want) {
			t.Errorf("%s says nothing of %q: %.300s", name, want, got)
		}
	}
}
