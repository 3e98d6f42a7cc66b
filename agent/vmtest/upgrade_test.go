package vmtest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent"
	"github.com/stockade-dev/stockade/bpf"
)

// beforeProgram is the agent of an earlier build: built with the tags faults and predecessor,
// which give it BPF objects that were real ones.
const beforeProgram = "/usr/bin/stockade-before"

const upgradeYAML = `
log: {file: /var/log/stockade.jsonl, format: json}
workloads:
  - {name: agents, match: {cgroup: agents.slice}, principal: 'User::"agents"', policies: upgrade.cedar}
  - {name: watched, match: {cgroup: watched.slice}, principal: 'User::"watched"', policies: agent.cedar, mode: audit}
  - {name: locked, match: {cgroup: locked.slice}, principal: 'User::"locked"', policies: agent.cedar}
`

// upgradePolicy is that of the tasks that live through an upgrade: what is theirs by who
// executed them is theirs afterwards.
//
//	a, both   allowed
//	none      denied
//	b         denied to what /usr/bin/env executed, whatever permits it
//	child     allowed to what /usr/bin/env executed
var upgradePolicy = permitting("a", "both", "b") + runPolicyOf("/srv/upgrade") + `
@id("child") permit (principal, action in [file_system::Action::"open", file_system::Action::"read"], resource == file_system::File::"/srv/agent/child")
when { context has process && context.process has parent_exe && context.process.parent_exe == "/usr/bin/env" };
@id("no-b") forbid (principal, action, resource == file_system::File::"/srv/agent/b") when { context has process && context.process has parent_exe && context.process.parent_exe == "/usr/bin/env" };
`

// runPolicyOf permits what a task of these tests needs to write to a folder.
func runPolicyOf(dir string) string {
	return `@id("out") permit (principal, action in [file_system::Action::"open", file_system::Action::"read", file_system::Action::"write", file_system::Action::"create"], resource)
when { resource in file_system::Dir::"` + dir + `" || resource == file_system::File::"/dev/null" };
`
}

// living is a shell that tries the same for as long as it lives: opens, and what it executes.
type living struct {
	what string
	cmd  *exec.Cmd
	out  string // "FILE yes|no": each result, once a round
}

// livingScript tries to read files by itself, and each hundredth time lets cat do it.
const livingScript = `i=0
while :; do
  for f in a both none b child; do
    if { read -r x <` + agentDir + `/$f; } 2>/dev/null; then echo "$f yes"; else echo "$f no"; fi
  done
  if (( i++ % 50 == 0 )); then
    for f in both none; do
      if cat ` + agentDir + `/$f >/dev/null 2>&1; then echo "cat-$f yes"; else echo "cat-$f no"; fi
    done
  fi
  read -t 0.02 x <>/srv/upgrade/never
done`

// live starts one in a cgroup; moved out of it once it was seen there, if that is asked.
func live(t *testing.T, what, group string, moved bool) *living {
	t.Helper()
	l := &living{what: what, out: "/srv/upgrade/" + what}
	out, err := os.Create(l.out)
	must(err)
	defer out.Close()
	l.cmd = exec.Command("/bin/bash", "-c", "echo $$ >"+group+"/cgroup.procs && exec /usr/bin/env /bin/bash -c '"+livingScript+"'")
	l.cmd.Stdout = out
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(l.cmd.Start())
	must(syscall.Setpriority(syscall.PRIO_PGRP, l.cmd.Process.Pid, 10))
	t.Cleanup(l.end)
	l.rounds(t, 2)
	if moved {
		must(os.WriteFile("/sys/fs/cgroup/cgroup.procs", []byte(strconv.Itoa(l.cmd.Process.Pid)), 0))
	}
	return l
}

func (l *living) end() {
	_ = syscall.Kill(-l.cmd.Process.Pid, syscall.SIGKILL)
	_ = l.cmd.Wait()
}

// results counts them: how often each file was, and was not, read.
func (l *living) results() map[string][2]int {
	file, err := os.Open(l.out)
	must(err)
	defer file.Close()
	all := map[string][2]int{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		name, how, whole := strings.Cut(lines.Text(), " ")
		if !whole {
			continue
		}
		n := all[name]
		switch how {
		case "yes":
			n[0]++
		case "no":
			n[1]++
		}
		all[name] = n
	}
	return all
}

// rounds waits until it has gone round as often again.
func (l *living) rounds(t *testing.T, n int) {
	t.Helper()
	for end := l.results()["child"]; ; {
		now := l.results()["child"]
		if now[0]+now[1] >= end[0]+end[1]+n {
			return
		}
		await(t, l.what+" to go on", func() bool {
			now = l.results()["child"]
			return now[0]+now[1] >= end[0]+end[1]+n
		})
	}
}

// always demands that each file was read every time, or never.
func (l *living) always(t *testing.T, when string, want map[string]bool) {
	t.Helper()
	l.rounds(t, 2)
	all := l.results()
	for name, yes := range want {
		n := all[name]
		if good, bad := n[0], n[1]; yes && (bad > 0 || good == 0) || !yes && (good > 0 || bad == 0) {
			t.Errorf("%s, %s: %s was read %d times, and denied %d times", l.what, when, name, good, bad)
		}
	}
	fmt.Printf("upgrade: %s %s, %s: %v\n", kernelVersion(), l.what, when, all)
}

// confinedReads is what a task of agents.slice whose parent is env may read.
var confinedReads = map[string]bool{"a": true, "both": true, "none": false, "b": false, "child": true, "cat-both": true, "cat-none": false}

// startBefore starts an agent of the earlier build.
func startBefore(t *testing.T, programs string) *agentProcess {
	t.Helper()
	return startProgram(t, beforeProgram, "STOCKADE_FAULT_PROGRAMS="+programs)
}

func upgradeFixture(t *testing.T) {
	agentFixture(t)
	put(agentDir+"/child", "child\n")
	put(agentConf, upgradeYAML)
	put("/policy/upgrade.cedar", upgradePolicy)
	must(os.RemoveAll("/srv/upgrade"))
	must(os.MkdirAll("/srv/upgrade", 0o755))
	must(syscall.Mkfifo("/srv/upgrade/never", 0o600))
	for _, name := range []string{"watched", "locked"} {
		must(os.MkdirAll("/sys/fs/cgroup/"+name+".slice", 0o755))
	}
}

// besidePins lists what is pinned beside the agent's set.
func besidePins() []string {
	list, err := filepath.Glob(bpf.Beside("/sys/fs/bpf/stockade/@agent") + "/*")
	must(err)
	return list
}

// TestUpgradeLeavesNoGap has an agent of this build take over what one of an earlier build
// confines, while tasks try what they may and what they may not.
func TestUpgradeLeavesNoGap(t *testing.T) {
	upgradeFixture(t)
	before := startBefore(t, "")
	defer removeAgent(t)
	if r := stockade(t, "lockdown", "locked"); r.code != 0 {
		t.Fatalf("lockdown: %s", r.stderr)
	}
	group := agentGroup + "/unseen" // no pattern finds it by its own
	must(os.MkdirAll(group, 0o755))
	defer os.Remove(group)
	list := []*living{live(t, "inside", group, false), live(t, "moved", agentGroup, true)}
	job := startJob(t)
	for _, l := range list {
		l.always(t, "before", confinedReads)
	}
	was := generations(t)
	if err := before.signal(syscall.SIGTERM); err != nil {
		t.Errorf("the earlier agent: %v\n%s", err, before.said)
	}
	for _, l := range list {
		l.rounds(t, 3) // denials that nobody has read
	}
	a := startAgent(t)
	if !strings.Contains(a.said.String(), "this one's set took its place") {
		t.Errorf("it says nothing of an upgrade: %s", a.said)
	}
	for _, l := range list {
		l.always(t, "after", confinedReads)
	}
	if now := generations(t); now != was {
		t.Errorf("workloads: %s, before: %s", now, was)
	}
	if left := besidePins(); len(left) > 0 {
		t.Errorf("pinned beside: %v", left)
	}
	wantReads(t, "/sys/fs/cgroup/watched.slice", "audited", "a b both none")
	if out, err := in("/sys/fs/cgroup/locked.slice", "read -r x <"+agentDir+"/a"); err == nil || !strings.Contains(out, "Permission denied") {
		t.Errorf("locked down: %v: %s", err, out)
	}
	job.finish(t)
	for _, l := range list {
		l.end()
	}
	countedAll(t)
	// The next agent of this build adopts it, the earlier one refuses.
	must(a.signal(syscall.SIGTERM))
	refused := exec.Command(beforeProgram, "agent", "--config", agentConf)
	if out, err := refused.CombinedOutput(); err == nil || !strings.Contains(string(out), "nothing is changed, and what is pinned goes on enforcing") {
		t.Errorf("the earlier build: %v: %s", err, out)
	}
	startAgent(t)
	if s := status(t); !s.Adopted {
		t.Error("the next agent does not adopt")
	}
	if now := generations(t); now != strings.Replace(was, "job enforce 1; ", "", 1) {
		t.Errorf("workloads of the next agent: %s, before: %s", now, was)
	}
}

// generations tells names, modes and generations of all workloads.
func generations(t *testing.T) (list string) {
	t.Helper()
	for _, w := range status(t).Workloads {
		list += fmt.Sprintf("%s %s %d; ", w.Name, w.Mode, w.Generation)
	}
	return list
}

// countedAll waits until every denial of every workload is accounted for.
func countedAll(t *testing.T) {
	t.Helper()
	var s agent.Status
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		var err error
		s, err = agent.NewClient(agent.DefaultSocket).Status(context.Background())
		must(err)
		open := uint64(0)
		for _, w := range s.Workloads {
			open += w.Denied - w.Delivered - w.Dropped - w.Lost
		}
		if open == 0 {
			for _, w := range s.Workloads {
				fmt.Printf("upgrade: %s %s: %d denied, %d delivered, %d dropped, %d lost\n", kernelVersion(), w.Name, w.Denied, w.Delivered, w.Dropped, w.Lost)
				if w.Name == "agents" && (w.Denied == 0 || w.Lost > 0) {
					t.Errorf("%s: %d denied, %d lost", w.Name, w.Denied, w.Lost)
				}
			}
			return
		}
	}
	for _, w := range s.Workloads {
		t.Errorf("%s: %d denied, %d delivered, %d dropped, %d lost", w.Name, w.Denied, w.Delivered, w.Dropped, w.Lost)
	}
}

// job is a run that lives through an upgrade.
type job struct{ *begun }

func startJob(t *testing.T) job {
	t.Helper()
	put("/policy/run.cedar", permitting("a", "both")+runPolicy)
	must(os.MkdirAll("/tmp/out", 0o777))
	for _, name := range []string{"job.none", "job.both", "job.go"} {
		must(os.RemoveAll("/tmp/out/" + name))
	}
	must(syscall.Mkfifo("/tmp/out/job.go", 0o600))
	return job{begin(t, "job", `n=0; m=0
while ! read -t 0.05 x <>/tmp/out/job.go; do
  if { read -r y <`+agentDir+`/none; } 2>/dev/null; then echo leak >>/tmp/out/job.none; fi
  if ! { read -r y <`+agentDir+`/both; } 2>/dev/null; then echo refused >>/tmp/out/job.both; fi
done; exit 7`)}
}

// finish has it end, and looks at what it met.
func (j job) finish(t *testing.T) {
	t.Helper()
	must(os.WriteFile("/tmp/out/job.go", []byte("go\n"), 0))
	if code, said := j.begun.finish(); code != 7 || !strings.Contains(said, "denied read "+agentDir+"/none") {
		t.Errorf("run through an upgrade: exit %d: %.2000s", code, said)
	}
	for _, name := range []string{"job.none", "job.both"} {
		if text, err := os.ReadFile("/tmp/out/" + name); err == nil {
			t.Errorf("%s: %s", name, text)
		}
	}
}
