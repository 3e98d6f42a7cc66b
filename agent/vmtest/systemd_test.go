package vmtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What the test of the unit uses, beside /srv/agent:
//
//	/usr/local/bin/stockade
//	/etc/systemd/system
//	├── stockade.service      the one that is shipped
//	├── stockade.service.d    a short watchdog
//	├── ci-runner.service     reads what it can, again and again
//	└── job.service           reads once, in agents.slice, after the agent
//	/etc/stockade
//	├── agent.yaml            the one that is shipped; ci-runner enforced, with its own log
//	└── policies              agents: a, both; ci: b, both; executing id is asked about
const (
	deployed  = "/vmtest/deploy/"
	units     = "/etc/systemd/system/"
	settings  = "/etc/stockade/"
	installed = "/usr/local/bin/stockade"
	ciGroup   = "/sys/fs/cgroup/system.slice/ci-runner.service"
	ciOutput  = "/run/ci.out"
	ciErrors  = "/run/ci.err"
	jobOutput = "/run/job.out"
)

const askedID = `@id("args") forbid (principal, action == file_system::Action::"execute", resource == file_system::File::"/usr/bin/id")
unless { context.arguments.positional_values.contains("root") };
`

// ciPolicy permits stat too, which the shipped configuration handles there.
const ciPolicy = `@id("stat") permit (principal, action == file_system::Action::"stat", resource);
`

const ciUnit = `[Service]
ExecStart=/usr/bin/bash -c 'cd /srv/agent; while :; do can=; for f in a b both none; do read -r x <$f && can+="$x "; done; echo "$can"; sleep 0.3; done'
StandardOutput=file:` + ciOutput + `
StandardError=file:` + ciErrors + `
`

// jobUnit is what docs/user-guide.md says of units that are to be confined from
// their first instruction.
const jobUnit = `[Unit]
Requires=agents.slice
After=agents.slice stockade.service
Wants=stockade.service
AssertPathExists=/sys/fs/bpf/stockade/@agent

[Service]
Type=oneshot
Slice=agents.slice
ExecStart=/usr/bin/bash -c 'for f in a b both none; do read -r x </srv/agent/$f && echo $x; done; echo $$$$ >/sys/fs/cgroup/agents.slice/job.service/cgroup.procs && echo moved; true'
StandardOutput=file:` + jobOutput + `
StandardError=journal
`

// systemctl runs it to its end.
func systemctl(args ...string) (string, error) {
	out, err := exec.Command("systemctl", args...).CombinedOutput()
	return string(out), err
}

// do is systemctl for what must succeed.
func do(t *testing.T, args ...string) {
	t.Helper()
	if out, err := systemctl(args...); err != nil {
		t.Fatalf("systemctl %s: %v: %s\n%s", strings.Join(args, " "), err, out, journal("stockade"))
	}
}

// show returns a property of a unit.
func show(unit, property string) string {
	out, err := systemctl("show", "--value", "--property", property, unit)
	must(err)
	return strings.TrimSpace(out)
}

func mainPID() int {
	pid, err := strconv.Atoi(show("stockade", "MainPID"))
	must(err)
	return pid
}

// journal returns what a unit and systemd said of it, but for traces.
func journal(unit string) string {
	var text strings.Builder
	out, _ := exec.Command("journalctl", "--no-pager", "--output=short-monotonic", "--unit", unit).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "systemd[1]: ") || strings.Contains(line, "]: stockade: ") || !strings.Contains(line, " stockade[") {
			text.WriteString(line)
		}
	}
	return text.String()
}

// workloadNamed is one workload of the agent.
func workloadNamed(t *testing.T, name string) (n int, s ps) {
	t.Helper()
	s = status(t)
	for i, w := range s.Workloads {
		if w.Name == name {
			return i, s
		}
	}
	t.Fatalf("no workload %s: %+v", name, s)
	return 0, s
}

// ciReads waits until the service of the test reads that.
func ciReads(t *testing.T, when, names string) {
	t.Helper()
	var last string
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		text, _ := os.ReadFile(ciOutput)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		if last = strings.TrimSpace(lines[len(lines)-1]); last == names {
			return
		}
	}
	t.Errorf("%s: ci-runner.service reads %q, want %q; %s", when, last, names, journal("ci-runner"))
}

// systemdFixture installs everything but the agent's unit.
func systemdFixture(t *testing.T) {
	t.Helper()
	inVM(t)
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		t.Skip("needs systemd as process 1: vm run --root debian --systemd")
	}
	for _, name := range []string{"a", "b", "both", "none"} {
		put(agentDir+"/"+name, name+"\n")
	}
	out, err := exec.Command("install", "-D", "-m", "755", program, installed).CombinedOutput()
	if err != nil {
		t.Fatalf("install: %v: %s", err, out)
	}
	yaml, err := os.ReadFile(deployed + "agent.yaml")
	must(err)
	edited := strings.Replace(string(yaml), "    mode: audit ", "    log: {file: /var/log/stockade/ci.jsonl, format: json}\n    mode: enforce ", 1)
	if edited == string(yaml) {
		t.Fatal("the shipped configuration has no mode to change")
	}
	put(settings+"agent.yaml", edited)
	put(settings+"policies/agents/agents.cedar", permitting("a", "both"))
	put(settings+"policies/common.cedar", askedID)
	out, err = exec.Command("install", "-m", "644", deployed+"systemd.cedar", settings+"policies/").CombinedOutput()
	if err != nil {
		t.Fatalf("install: %v: %s", err, out)
	}
	put(settings+"policies/ci.cedar", permitting("b", "both")+ciPolicy)
	put(settings+"policies/entities.json", "[]\n")
	put(settings+"policies/sessions.cedar", permitting())
	put(units+"ci-runner.service", ciUnit)
	put(units+"job.service", jobUnit)
	must(os.Symlink("/var/log/stockade/denials.jsonl", agentLog))
}

// TestSystemdRunsTheAgent does what docs/user-guide.md says, with the shipped unit
// and configuration, under a real systemd.
func TestSystemdRunsTheAgent(t *testing.T) {
	systemdFixture(t)
	defer func() {
		if t.Failed() {
			t.Log(journal("stockade"))
		}
	}()
	began := time.Now()
	lap := func(what string) { t.Logf("%s: %.0f s", what, time.Since(began).Seconds()) }
	do(t, "daemon-reload")
	do(t, "start", "agents.slice", "ci-runner.service")
	wantReads(t, agentGroup, "before the agent", "a b both none")
	ciReads(t, "before the agent", "a b both none")
	if out, err := systemctl("start", "job"); err == nil || !strings.Contains(out, "Assertion failed") {
		t.Errorf("a unit that needs enforcement, without: %v: %s", err, out)
	}
	lap("controls")
	installUnit(t)
	startUnit(t)
	lap("started")
	confinedByUnit(t)
	lap("confined")
	heldByUnit(t)
	lap("asks")
	reloadUnit(t)
	lap("reloaded")
	_, s := workloadNamed(t, "agents")
	restarts(t, "killed", s, func(pid int) {
		do(t, "kill", "--kill-whom=main", "--signal=KILL", "stockade")
		wantReads(t, agentGroup, "without an agent", "b both")
	})
	lap("killed")
	restarts(t, "stopped for longer than the watchdog waits", s, func(pid int) {
		must(syscall.Kill(pid, syscall.SIGSTOP))
		wantReads(t, agentGroup, "with an agent that hangs", "b both")
	})
	if text := journal("stockade"); !strings.Contains(text, "Watchdog timeout") {
		t.Error("the watchdog was not it")
	}
	lap("hung")
	startsConfined(t)
	lap("job")
	killedByUnit(t)
	lap("killed a workload")
	removeUnit(t)
	lap("removed")
}

// installUnit installs the shipped unit; nothing in it may be wrong or unknown.
func installUnit(t *testing.T) {
	t.Helper()
	out, err := exec.Command("install", "-m", "644", deployed+"stockade.service", units).CombinedOutput()
	if err != nil {
		t.Fatalf("install: %v: %s", err, out)
	}
	put(units+"stockade.service.d/test.conf", "[Service]\nWatchdogSec=5s\n")
	out, err = exec.Command("systemd-analyze", "verify", units+"stockade.service").CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v: %s", err, out)
	}
	do(t, "daemon-reload")
}

// startUnit starts the agent: systemd must wait until it enforces.
func startUnit(t *testing.T) {
	t.Helper()
	done := make(chan error, 1)
	var said string
	go func() {
		out, err := systemctl("enable", "--now", "stockade")
		said = out
		done <- err
	}()
	states := map[string]int{}
	for waiting := true; waiting; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("systemctl enable --now stockade: %v: %s\n%s", err, said, journal("stockade"))
			}
			waiting = false
		case <-time.After(3 * time.Second):
			states[show("stockade", "ActiveState")+": "+show("stockade", "StatusText")]++
		}
	}
	wantReads(t, agentGroup, "when systemd says that the agent has started", "a both")
	if states["activating: loading the programs into the kernel"] == 0 {
		t.Errorf("systemd did not wait for the start, or nothing told of it: %v", states)
	}
	t.Logf("while it started: %v", states)
	if got := show("stockade", "ActiveState") + ": " + show("stockade", "StatusText"); got != "active: 3 workloads" {
		t.Errorf("systemctl show: %s", got)
	}
	if out, err := systemctl("status", "--no-pager", "stockade"); err != nil || !strings.Contains(out, `Status: "3 workloads"`) {
		t.Errorf("systemctl status: %v: %s", err, out)
	}
	t.Logf("memory: %s at most", show("stockade", "MemoryPeak"))
}

// confinedByUnit demands that what the configuration declares is confined, a
// cgroup and a unit, and that each denial is told.
func confinedByUnit(t *testing.T) {
	t.Helper()
	try(t, []trial{
		{"permitted", "cat " + agentDir + "/both", "both", ""},
		{"not permitted", "cat " + agentDir + "/none", "", agentDir + "/none: no policy permits it"},
	})
	ciReads(t, "declared unit that ran before", "b both")
	do(t, "stop", "ci-runner")
	errors, err := os.ReadFile(ciErrors)
	must(err)
	wanted := uint64(bytes.Count(errors, []byte("Permission denied")))
	var got string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		i, s := workloadNamed(t, "ci-runner")
		w := s.Workloads[i]
		if got = fmt.Sprintf("%d denied, %d delivered", w.Denied, w.Delivered); w.Denied == wanted && w.Delivered == wanted && wanted > 0 {
			break
		}
	}
	if want := fmt.Sprintf("%d denied, %d delivered", wanted, wanted); got != want || wanted == 0 {
		t.Errorf("ci-runner: %s; it saw EACCES %d times: %s", got, wanted, errors)
	}
	do(t, "start", "ci-runner")
	ciReads(t, "declared unit that starts", "b both")
	do(t, "stop", "ci-runner")
}

// heldByUnit demands that what waits for the agent is answered under the unit's
// limits, and that a run gets its confinement from there.
func heldByUnit(t *testing.T) {
	t.Helper()
	try(t, []trial{
		{"argument", "/usr/bin/id root", "uid=0", ""},
		{"no argument", "/usr/bin/id", "", "/usr/bin/id: " + answeredReason + ": args"},
	})
	put("/policy/run.cedar", permitting("a"))
	r := stockade(t, "run", "--agent=require", "--policy", "/policy/run.cedar", "--", "cat", agentDir+"/a", agentDir+"/none")
	if r.code != 1 || r.stdout != "a\n" || !strings.Contains(r.stderr, "denied read "+agentDir+"/none") {
		t.Errorf("run: exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	s := status(t)
	if s.Error != "" {
		t.Errorf("the agent is not well: %s", s.Error)
	}
}

// reloadUnit demands that a reload has been done when systemctl is, or is told to
// have failed; and that a log that was moved away is opened anew.
func reloadUnit(t *testing.T) {
	t.Helper()
	put(settings+"policies/agents/agents.cedar", permitting("b", "both"))
	do(t, "reload", "stockade")
	wantReads(t, agentGroup, "after a reload", "b both")

	put(settings+"policies/agents/agents.cedar", "permit (principal, action, resource);\npermit (\n")
	if out, err := systemctl("reload", "stockade"); err == nil {
		t.Errorf("reload of a policy that does not parse: %s", out)
	}
	wantReads(t, agentGroup, "after a reload that failed", "b both")
	if text := show("stockade", "StatusText"); !strings.HasPrefix(text, "3 workloads; the last reload failed: ") || !strings.Contains(text, "agents.cedar:3:1") {
		t.Errorf("status after a reload that failed: %q", text)
	}
	if text := journal("stockade"); !strings.Contains(text, "agents.cedar:3:1") {
		t.Errorf("the journal does not say where the mistake is: %s", text)
	}
	put(settings+"policies/agents/agents.cedar", permitting("b", "both"))
	must(os.Rename("/var/log/stockade/denials.jsonl", "/var/log/stockade/denials.jsonl.1"))
	do(t, "reload", "stockade")
	if text := show("stockade", "StatusText"); text != "3 workloads" {
		t.Errorf("status after the policy was mended: %q", text)
	}
	wantReads(t, agentGroup, "after the policy was mended", "b both")
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if text, err := os.ReadFile("/var/log/stockade/denials.jsonl"); err == nil && bytes.Contains(text, []byte(agentDir+"/none")) {
			break
		}
		if time.Now().After(end) {
			t.Error("the log that was moved away is not opened anew")
			break
		}
	}
}

// startsConfined demands that a unit in a confined slice starts, and is confined
// from its first instruction. To move itself is for systemd's executor alone.
func startsConfined(t *testing.T) {
	t.Helper()
	i, s := workloadNamed(t, "agents")
	before := s.Workloads[i].Denied
	do(t, "start", "job")
	out, err := os.ReadFile(jobOutput)
	if err != nil || strings.Join(strings.Fields(string(out)), " ") != "b both" {
		t.Errorf("a unit in the slice, from its first instruction: reads %q, %v: %s", out, err, journal("job"))
	}
	denied := []string{agentDir + "/a", agentDir + "/none", agentGroup + "/job.service/cgroup.procs"}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		i, s = workloadNamed(t, "agents")
		w := s.Workloads[i]
		text, err := os.ReadFile(agentLog)
		must(err)
		if w.Denied-before == uint64(len(denied)) && !slices.ContainsFunc(denied, func(path string) bool { return !bytes.Contains(text, []byte(path)) }) {
			break
		}
		if time.Now().After(end) {
			t.Errorf("%d denials of the unit, want those of %q: %s", w.Denied-before, denied, text)
			break
		}
	}
}

// restarts demands that systemd starts another agent, which takes over what is
// pinned as it is.
func restarts(t *testing.T, what string, before ps, ends func(pid int)) {
	t.Helper()
	pid, n := mainPID(), show("stockade", "NRestarts")
	ends(pid)
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if now := mainPID(); now != 0 && now != pid && show("stockade", "ActiveState") == "active" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%s: no other agent: %s\n%s", what, show("stockade", "ActiveState"), journal("stockade"))
		}
	}
	s := status(t)
	if !s.Adopted || s.PID != mainPID() || show("stockade", "NRestarts") == n {
		t.Errorf("%s: adopted %v, process %d, restarts %s, then %s", what, s.Adopted, s.PID, n, show("stockade", "NRestarts"))
	}
	for i, w := range s.Workloads {
		if was := before.Workloads[i]; w.Name != was.Name || w.Generation != was.Generation || w.Digest != was.Digest {
			t.Errorf("%s: workload %+v, it was %+v", what, w, was)
		}
	}
	wantReads(t, agentGroup, "next agent", "b both")
	if out, err := in(agentGroup, "/usr/bin/id root"); err != nil || !strings.Contains(out, "uid=0") {
		t.Errorf("%s: asked of the next agent: %v: %s", what, err, out)
	}
}

// removeUnit stops the agent, which ends nothing; uninstalls, which does, and
// leaves nothing that systemd would start again.
// killedByUnit: what the unit takes from the agent leaves what a kill needs, with evidence.
func killedByUnit(t *testing.T) {
	begins(t, agentGroup, "while :; do :; done")
	r := respond(t, 0, "kill", "agents", "--within", "30s")
	for _, s := range r.Steps {
		if s.Error != "" {
			t.Errorf("%+v", s)
		}
	}
	checkEvidence(t, &r, "while :")
	respond(t, 0, "unlock", "agents")
}

func removeUnit(t *testing.T) {
	t.Helper()
	do(t, "stop", "stockade")
	wantReads(t, agentGroup, "agent stopped", "b both")
	if out, err := in(agentGroup, "/usr/bin/id root"); err == nil || !strings.Contains(out, "Permission denied") {
		t.Errorf("asked without an agent: %v: %s", err, out)
	}
	do(t, "start", "stockade")
	if s := status(t); !s.Adopted {
		t.Error("the agent did not take over what is pinned")
	}
	if r := stockade(t, "uninstall"); r.code != 0 {
		t.Errorf("uninstall: exit %d: %s", r.code, r.stderr)
	}
	time.Sleep(3 * time.Second) // longer than RestartSec
	if state := show("stockade", "ActiveState") + ", " + show("stockade", "Result"); state != "inactive, success" {
		t.Errorf("stockade.service after uninstall: %s", state)
	}
	wantReads(t, agentGroup, "uninstalled", "a b both none")
	nothingLeft(t)
	do(t, "disable", "stockade")
	if left, _ := filepath.Glob(units + "*.wants/stockade.service"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
