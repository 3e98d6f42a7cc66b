package vmtest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent"
)

// TestResponses stops workloads of an agent that misbehave.
func TestResponses(t *testing.T) {
	agentFixture(t)
	must(os.MkdirAll("/tmp/out", 0o777))
	put("/policy/run.cedar", permitting("a", "both")+runPolicy)
	startAgent(t)
	defer retireAgent(t)
	must(os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+pids"), 0))
	must(os.WriteFile(agentGroup+"/pids.max", []byte("150"), 0))
	for _, c := range []struct {
		name string
		test func(*testing.T)
	}{
		{"lockdown and unlock", lockedDown},
		{"a frozen workload does nothing, in its cgroup and outside", frozen},
		{"what goes on without its first thread is stopped", beheaded},
		{"a fork bomb is ended, nested and outside of its cgroup, too", bombed},
		{"a run is ended by its name", runEnded},
		{"what was to be sent is not sent", silenced},
		{"what was begun by io_uring is told", ringed},
		{"what is locked does not start", locked},
		{"who touches what a policy responds to is stopped, and who is denied too often", tripped},
		{"who opens what is there trips nothing, however much goes on", crowded},
		{"what the agent keeps is out of reach", kept},
		{"without an agent, and with one that hangs, it is stopped all the same", unattended},
		{"one that cannot be killed is not said to be stopped", unkillable},
	} {
		t.Run(c.name, c.test)
	}
}

// respond types a verb, and returns what it printed as JSON.
func respond(t *testing.T, code int, args ...string) (r agent.Response) {
	t.Helper()
	x := stockade(t, append(args, "--json")...)
	if x.code != code {
		t.Fatalf("%v: exit %d, want %d: %s%s", args, x.code, code, x.stdout, x.stderr)
	}
	if err := json.Unmarshal([]byte(x.stdout), &r); err != nil {
		t.Fatalf("%v: %v: %s", args, err, x.stdout)
	}
	if r.Verified != (code == 0) || len(r.Left) > 0 && r.Verified {
		t.Errorf("%v: %+v", args, r)
	}
	return r
}

// begins starts a script in a cgroup and waits until it has made a file. Its processes
// have nobody here who asks how they ended: the first process of the machine does.
func begins(t *testing.T, group, script string) {
	t.Helper()
	os.Remove("/tmp/begun")
	must(exec.Command("/bin/bash", "-c", "(setsid bash -c 'echo $$ >"+group+"/cgroup.procs; "+script+"' </dev/null >/dev/null 2>&1 & )").Run())
	await(t, script+" to begin", func() bool {
		text, _ := os.ReadFile(group + "/cgroup.procs")
		return len(text) > 0
	})
}

func lockedDown(t *testing.T) {
	wantReads(t, agentGroup, "before", "a both")
	if r := respond(t, 0, "lockdown", "agents"); r.Outcome() != "verified: all that policies could decide is denied from now on" {
		t.Errorf("%+v", r)
	}
	if out, err := in(agentGroup, "read -r x <"+agentDir+"/a"); err == nil || !strings.Contains(out, "Permission denied") {
		t.Errorf("locked down: %v: %s", err, out)
	}
	agents = startAgain(t) // it stays so
	if out, err := in(agentGroup, "read -r x <"+agentDir+"/a"); err == nil || !strings.Contains(out, "Permission denied") {
		t.Errorf("locked down, with the next agent: %v: %s", err, out)
	}
	respond(t, 0, "unlock", "agents")
	wantReads(t, agentGroup, "unlocked", "a both")
	for _, args := range [][]string{{"kill", "nobody"}, {"kill"}, {"freeze", "agents", "--within", "-1s"}} {
		if x := stockade(t, args...); x.code != 2 {
			t.Errorf("%v: exit %d: %s", args, x.code, x.stderr)
		}
	}
}

// startAgain kills the agent and starts the next.
func startAgain(t *testing.T) *agentProcess {
	t.Helper()
	_ = agents.signal(syscall.SIGKILL)
	return startAgent(t)
}

// ticker writes on and on, by what it has open.
func ticker(file string) string { return "exec >>" + file + "; while :; do echo; sleep 0.02; done" }

// size is that of a file, 0 if there is none.
func size(file string) int64 {
	info, err := os.Stat(file)
	if err != nil {
		return 0
	}
	return info.Size()
}

func frozen(t *testing.T) {
	put(agentFile, permitting("a", "both")+runPolicy)
	if r := stockade(t, "reload"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	inside, outside := "/tmp/out/inside", "/tmp/out/outside"
	os.Remove(inside)
	os.Remove(outside)
	begins(t, agentGroup, ticker(inside))
	moved := agentGroup + "/moved"
	must(os.Mkdir(moved, 0o755))
	begins(t, moved, ticker(outside))
	await(t, "both to write", func() bool { return size(inside) > 0 && size(outside) > 0 })
	moveOut(t, moved)
	r := respond(t, 0, "freeze", "agents")
	before := [2]int64{size(inside), size(outside)}
	if len(r.Returned) == 0 {
		t.Errorf("nothing was brought back: %+v", r)
	}
	for _, p := range r.Returned { // as a timer of its own would
		must(syscall.Kill(p.PID, syscall.SIGCONT))
	}
	time.Sleep(300 * time.Millisecond)
	if now := [2]int64{size(inside), size(outside)}; now != before {
		t.Errorf("frozen, and went from %v to %v", before, now)
	}
	respond(t, 0, "unlock", "agents")
	await(t, "both to go on", func() bool { return size(inside) > before[0] && size(outside) > before[1] })
	if r := respond(t, 0, "kill", "agents"); r.Processes < 2 {
		t.Errorf("%+v", r)
	}
	respond(t, 0, "unlock", "agents")
}

// moveOut moves what is in a cgroup to the root, and removes it.
func moveOut(t *testing.T, group string) {
	t.Helper()
	await(t, "all to be moved", func() bool {
		text, err := os.ReadFile(group + "/cgroup.procs")
		must(err)
		for _, pid := range strings.Fields(string(text)) {
			_ = os.WriteFile("/sys/fs/cgroup/cgroup.procs", []byte(pid), 0)
		}
		return os.Remove(group) == nil
	})
}

// bombed is ended where it forks without end: in its cgroup, beneath it, and in another.
func bombed(t *testing.T) {
	const bomb = "bomb() { bomb | bomb & }; bomb; while :; do sleep 1; done"
	nested := agentGroup + "/nested"
	must(os.Mkdir(nested, 0o755))
	begins(t, agentGroup, bomb)
	begins(t, nested, "while :; do sleep 300 & sleep 0.1; done")
	stray := agentGroup + "/stray"
	must(os.Mkdir(stray, 0o755))
	begins(t, stray, "while :; do sleep 299 & sleep 0.2; done")
	moveOut(t, stray)
	// One that is never where it was: a child goes on, its parent ends. No signal meets it.
	chain := agentGroup + "/chain"
	must(os.Mkdir(chain, 0o755))
	begins(t, chain, "hop() { hop & }; hop")
	moveOut(t, chain)
	await(t, "a bomb", func() bool {
		text, _ := os.ReadFile(agentGroup + "/pids.current")
		var n int
		fmt.Sscan(string(text), &n)
		return n > 60
	})
	r := respond(t, 0, "kill", "agents", "--within", "1m")
	t.Logf("%d processes: %+v", r.Processes, r.Steps)
	if r.Processes < 30 || r.Outcome() != "verified: no process of it lives, and no socket of it is left" {
		t.Errorf("%+v", r)
	}
	for _, group := range []string{agentGroup, nested} {
		if text, _ := os.ReadFile(group + "/cgroup.events"); !strings.Contains(string(text), "populated 0") {
			t.Errorf("%s: %s", group, text)
		}
	}
	checkEvidence(t, &r, "bomb")
	if out, _ := exec.Command("pgrep", "-f", "bomb|sleep (300|299)").Output(); len(out) > 0 {
		t.Errorf("lives: %s", out)
	}
	if out, err := in(agentGroup, "read -r x <"+agentDir+"/a"); err == nil {
		t.Errorf("after a kill it is not locked down: %s", out)
	}
	must(os.Remove(nested))
	respond(t, 0, "unlock", "agents")
	wantReads(t, agentGroup, "after kill and unlock", "a both")
}

func runEnded(t *testing.T) {
	r := begin(t, "rogue", "while :; do sleep 0.1 & done", "--agent", "require")
	second := make(chan agent.Response, 1)
	go func() {
		x := exec.Command(program, "kill", "rogue", "--json")
		out, _ := x.Output()
		var r agent.Response
		_ = json.Unmarshal(out, &r)
		second <- r
	}()
	first := respond(t, 0, "kill", "rogue")
	if code, errs := r.finish(); code != 137 || !strings.Contains(errs, "rogue: kill by root: verified: no process of it lives") {
		t.Errorf("the run: exit %d: %s", code, errs)
	}
	t.Logf("%+v; the other one: %+v", first, <-second)
	await(t, "the release", func() bool { return originOf(t, "rogue") == "" })
	if x := stockade(t, "kill", "rogue"); x.code != 2 || !strings.Contains(x.stderr, "no such workload") {
		t.Errorf("again: exit %d: %s", x.code, x.stderr)
	}
}

// unkillable waits in the kernel for an answer of a file system that never comes.
func unkillable(t *testing.T) {
	fs := mountSilent(t, "/mnt/silent")
	begins(t, agentGroup, "read -r x <"+fs.dir+"/x")
	await(t, "a question", func() bool { return fs.asked.Load() > 0 })
	x := stockade(t, "kill", "agents", "--within", "2s")
	if x.code != 3 || !strings.Contains(x.stdout, "agents: kill: NOT STOPPED") || !strings.Contains(x.stdout, "state D, waits in ") || !strings.Contains(x.stdout, "left: processes in "+agentGroup) {
		t.Errorf("exit %d: %s%s", x.code, x.stdout, x.stderr)
	}
	r := respond(t, 3, "kill", "agents", "--within", "1s")
	if len(r.Left) != 1 || r.Left[0].State != "D" || len(r.Left[0].Stack) == 0 || !strings.Contains(strings.Join(r.Left[0].Stack, " "), "fuse") {
		t.Errorf("%+v", r)
	}
	fs.end()
	r = respond(t, 0, "kill", "agents")
	t.Logf("%+v", r)
	respond(t, 0, "unlock", "agents")
	if left, _ := filepath.Glob(agentGroup + "/*/cgroup.procs"); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}
