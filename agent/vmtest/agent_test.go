package vmtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent"
)

// What the tests of the agent use:
//
//	/srv/agent
//	├── a      policy A permits it
//	├── b      policy B permits it
//	├── both   both permit it
//	└── none   neither does
const (
	agentDir   = "/srv/agent"
	agentConf  = "/policy/agent.yaml"
	agentFile  = "/policy/agent.cedar"
	agentLog   = "/var/log/stockade.jsonl"
	agentMore  = "/var/log/stockade.more"
	agentGroup = "/sys/fs/cgroup/agents.slice"
)

// permitting is a policy set that permits to read some of the files, and to run
// programs.
func permitting(names ...string) string {
	text := `@id("shell") permit (principal, action in [file_system::Action::"execute", file_system::Action::"open", file_system::Action::"read"], resource)
when { resource in file_system::Dir::"/usr/bin" };
@id("socket") permit (principal, action in [file_system::Action::"open", file_system::Action::"read", file_system::Action::"write", file_system::Action::"connect_unix"], resource) when { resource in file_system::Dir::"/run/stockade" };
@id("proc") permit (principal, action in [file_system::Action::"open", file_system::Action::"read"], resource) when { resource in file_system::Dir::"/proc" || resource in file_system::Dir::"/sys" };
`
	for _, name := range names {
		text += fmt.Sprintf(`@id("read-%s") permit (principal, action in [file_system::Action::"open", file_system::Action::"read"], resource == file_system::File::"%s/%s");`+"\n", name, agentDir, name)
	}
	return text
}

// put replaces a file as a whole.
func put(path, text string) {
	must(os.MkdirAll(filepath.Dir(path), 0o755))
	must(os.WriteFile(path+".new", []byte(text), 0o644))
	must(os.Rename(path+".new", path))
}

const agentYAML = `
log: {file: /var/log/stockade.jsonl, format: json}
workloads:
  - name: agents
    match: {cgroup: [agents.slice, 'single-*']}
    principal: User::"agents"
    policies: agent.cedar
    sinks: [{text: /var/log/stockade.more}]
`

// agentProcess is an agent that runs.
type agentProcess struct {
	t    *testing.T
	cmd  *exec.Cmd
	said *bytes.Buffer
	done chan error
}

// agents is the one that was started last.
var agents *agentProcess

// startAgent starts an agent and waits until it answers.
func startAgent(t *testing.T) *agentProcess {
	t.Helper()
	return startProgram(t, program)
}

// startProgram is startAgent for another build, with more in its environment.
func startProgram(t *testing.T, program string, env ...string) *agentProcess {
	t.Helper()
	a := &agentProcess{t: t, cmd: exec.Command(program, "agent", "--config", agentConf), said: &bytes.Buffer{}, done: make(chan error, 1)}
	a.cmd.Stderr = a.said
	a.cmd.Env = append(os.Environ(), env...)
	agents = a
	must(a.cmd.Start())
	go func() { a.done <- a.cmd.Wait() }()
	for end := time.Now().Add(4 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if listens() && stockade(t, "ps").code == 0 {
			return a
		}
		select {
		case err := <-a.done:
			t.Fatalf("the agent ended: %v\n%s", err, a.said)
		default:
		}
		if time.Now().After(end) {
			must(a.cmd.Process.Signal(syscall.SIGQUIT)) // shows where it is
			<-a.done
			t.Fatalf("the agent does not answer\n%s", a.said)
		}
	}
}

// listens reports whether somebody listens at the agent's socket: to ask so is cheap,
// and leaves an agent that loads its programs the processor.
func listens() bool {
	conn, err := net.Dial("unix", agent.DefaultSocket)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// retireAgent lets the agent give up all workloads and end. What is loaded stays
// for the next test, whose agent adopts it: to load it takes half a minute here.
func retireAgent(t *testing.T) {
	t.Helper()
	put(agentConf, "workloads: []\n")
	if agents.cmd.ProcessState != nil {
		startAgent(t)
	}
	for _, pattern := range []string{"agents.slice/*", "agents.slice", "single-*", "double-*"} { // a workload ends with its cgroups
		groups, err := filepath.Glob("/sys/fs/cgroup/" + pattern)
		must(err)
		for _, group := range groups {
			await(t, "the end of tasks in "+group, func() bool {
				err := syscall.Rmdir(group)
				return err == nil || err == syscall.ENOTDIR
			})
		}
	}
	var s agent.Status
	var err error
	for end := time.Now().Add(time.Minute); err != nil || s.PID == 0 || len(s.Workloads) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("workloads are left a minute after their cgroups: %v: %+v", err, s.Workloads)
		}
		s, err = agent.NewClient(agent.DefaultSocket).Status(context.Background())
	}
	if err := agents.signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, agents.said)
	}
	if left, _ := filepath.Glob("/run/stockade/agent/*"); len(left) > 0 {
		t.Errorf("remembered: %v", left)
	}
}

func (a *agentProcess) signal(s syscall.Signal) error {
	must(a.cmd.Process.Signal(s))
	return <-a.done
}

// ps is one workload as the agent shows it, and the rest.
type ps struct {
	PID       int
	Adopted   bool
	Error     string
	Workloads []struct {
		Name, Mode, Origin, Error               string
		Generation                              uint32
		Digest                                  string `json:"policy_digest"`
		Cgroups                                 []string
		Tasks                                   int
		Denied, Delivered, Dropped, Lost, Allow uint64
	}
}

func status(t *testing.T) ps {
	t.Helper()
	r := stockade(t, "ps", "--json")
	var s ps
	if err := json.Unmarshal([]byte(r.stdout), &s); r.code != 0 || err != nil || len(s.Workloads) == 0 {
		t.Fatalf("ps: exit %d, %v: %s%s", r.code, err, r.stdout, r.stderr)
	}
	return s
}

// in runs a shell script in a cgroup.
func in(group, script string) (string, error) {
	out, err := exec.Command("/bin/bash", "-c", "echo $$ >"+group+"/cgroup.procs && "+script).CombinedOutput()
	return string(out), err
}

// wantReads asks a task of a cgroup to read the files: "a both" are the names
// of those that it can.
func wantReads(t *testing.T, group, when, names string) {
	t.Helper()
	out, err := in(group, "for f in a b both none; do cat "+agentDir+"/$f 2>/dev/null; done; true")
	if got := strings.Join(strings.Fields(out), " "); err != nil || got != names {
		t.Errorf("%s: can read %q (%v), want %q", when, got, err, names)
	}
}

// awaitReads is wantReads for what is true soon.
func awaitReads(t *testing.T, group, when, names string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		out, _ := in(group, "for f in a b both none; do cat "+agentDir+"/$f 2>/dev/null; done; true")
		if strings.Join(strings.Fields(out), " ") == names {
			return
		}
		if time.Now().After(end) {
			t.Errorf("%s: can read %q, want %q", when, out, names)
			return
		}
	}
}

func agentFixture(t *testing.T) {
	t.Helper()
	inVM(t)
	for _, name := range []string{"a", "b", "both", "none"} {
		put(agentDir+"/"+name, name+"\n")
	}
	must(os.MkdirAll(filepath.Dir(agentLog), 0o755))
	must(os.RemoveAll(agentMore))
	must(os.MkdirAll(agentGroup, 0o755))
	put(agentConf, agentYAML)
	put(agentFile, permitting("a", "both"))
}

// removeAgent removes everything and checks that nothing is left.
func removeAgent(t *testing.T) {
	t.Helper()
	if r := stockade(t, "uninstall", "--force"); r.code != 0 {
		t.Errorf("uninstall: exit %d: %s", r.code, r.stderr)
	}
	nothingLeft(t)
}

func TestAgentConfinesWhatItsConfigurationDeclares(t *testing.T) {
	agentFixture(t)
	a := startAgent(t)
	defer retireAgent(t)
	wantReads(t, agentGroup, "declared cgroup", "a both")
	if out, err := os.ReadFile(agentDir + "/none"); err != nil {
		t.Errorf("outside: %s %v", out, err)
	}
	child := agentGroup + "/child"
	must(os.Mkdir(child, 0o755))
	wantReads(t, child, "new cgroup in a declared one", "a both")
	must(os.Mkdir("/sys/fs/cgroup/single-1", 0o755))
	awaitReads(t, "/sys/fs/cgroup/single-1", "new cgroup that matches a glob", "a both")
	must(os.Mkdir("/sys/fs/cgroup/double-1", 0o755))
	wantReads(t, "/sys/fs/cgroup/double-1", "cgroup that nothing matches", "a b both none")

	if r := stockade(t, "agent", "--config", agentConf); r.code != 1 || !strings.Contains(r.stderr, "another agent runs on this host, process "+fmt.Sprint(a.cmd.Process.Pid)) {
		t.Errorf("second agent: exit %d: %s", r.code, r.stderr)
	}
	if out, err := in(agentGroup, program+" ps"); err == nil || !strings.Contains(out, "is confined: it may not command the agent") {
		t.Errorf("a confined task asks the agent: %v: %s", err, out)
	}
	out, err := exec.Command("setpriv", "--reuid=1000", "--clear-groups", program, "ps").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "permission denied") {
		t.Errorf("another user asks the agent: %v: %s", err, out)
	}

	// Beside the agent, a run decides for itself; in a workload it does not start.
	r := stockade(t, "run", "--policy", agentFile, "--", "cat", agentDir+"/both", agentDir+"/b")
	if r.code != 1 || r.stdout != "both\n" || !strings.Contains(r.stderr, "denied read "+agentDir+"/b") {
		t.Errorf("run beside the agent: exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	if out, err := in(agentGroup, program+" run --policy "+agentFile+" -- true"); err == nil {
		t.Errorf("run in a workload of the agent: %s", out)
	}
	exact(t)
	await(t, "what was denied at the other sink", func() bool {
		s, err := agent.NewClient(agent.DefaultSocket).Status(context.Background())
		must(err)
		more, err := os.ReadFile(agentMore)
		must(err)
		w := s.Workloads[0]
		return len(w.Sinks) == 1 && w.Sinks[0].Lost == 0 && w.Sinks[0].Taken == w.Delivered && uint64(bytes.Count(more, []byte(" denied "))) == w.Delivered
	})
}

// exact waits until every denial is accounted for.
func exact(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		w := status(t).Workloads[0]
		if w.Denied > 0 && w.Denied == w.Delivered+w.Dropped+w.Lost {
			text, err := os.ReadFile(agentLog)
			if lines := bytes.Count(text, []byte("\n")); err != nil || w.Delivered > uint64(lines) {
				t.Errorf("%d delivered, %d lines in the log, %v", w.Delivered, lines, err)
			}
			return
		}
		if time.Now().After(end) {
			t.Errorf("%d denied, %d delivered, %d dropped, %d lost", w.Denied, w.Delivered, w.Dropped, w.Lost)
			return
		}
	}
}

func TestPolicyChangesUnderTheWorkload(t *testing.T) {
	agentFixture(t)
	a := startAgent(t)
	defer retireAgent(t)
	put("/policy/b.cedar", permitting("b", "both"))
	put("/policy/bad.cedar", "permit (principal, action == file_system::Action::\"raed\", resource);\n")
	want := func(when, reads string, generation uint32, origin string) {
		t.Helper()
		wantReads(t, agentGroup, when, reads)
		if w := status(t).Workloads[0]; w.Generation != generation || w.Origin != origin {
			t.Errorf("%s: generation %d, origin %s; want %d, %s", when, w.Generation, w.Origin, generation, origin)
		}
	}
	want("at first", "a both", 1, "config")
	if r := stockade(t, "policy", "apply", "--policy", "/policy/b.cedar", "agents"); r.code != 0 || !strings.HasPrefix(r.stdout, "agents: generation 2, policy sha256:") {
		t.Errorf("apply: exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	want("applied", "b both", 2, "applied")
	if r := stockade(t, "policy", "apply", "--policy", "/policy/bad.cedar", "agents"); r.code != 1 || !strings.Contains(r.stderr, "/policy/bad.cedar:1:30") {
		t.Errorf("bad policy: exit %d: %s", r.code, r.stderr)
	}
	want("after a bad policy", "b both", 2, "applied")
	if r := stockade(t, "policy", "rollback", "agents"); r.code != 0 {
		t.Errorf("rollback: exit %d: %s", r.code, r.stderr)
	}
	want("rolled back", "a both", 3, "config")
	if r := stockade(t, "policy", "rollback", "nobody"); r.code != 1 || !strings.Contains(r.stderr, "no such workload") {
		t.Errorf("unknown workload: exit %d: %s", r.code, r.stderr)
	}

	put(agentFile, permitting("b", "both"))
	awaitReads(t, agentGroup, "file changed", "b both")
	put(agentFile, "permit (principal, action, resource);\npermit (\n")
	for end := time.Now().Add(20 * time.Second); status(t).Error == "" && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
	}
	if s := status(t); !strings.Contains(s.Error, "/policy/agent.cedar:3:1") {
		t.Errorf("bad file: %q", s.Error)
	}
	want("bad file", "b both", 4, "config")
	put(agentFile, permitting("a", "both"))
	awaitReads(t, agentGroup, "file mended", "a both")
	if s := status(t); s.Error != "" {
		t.Errorf("mended file: %q", s.Error)
	}

	if r := stockade(t, "mode", "agents", "lockdown"); r.code != 0 {
		t.Errorf("lockdown: exit %d: %s", r.code, r.stderr)
	}
	out, err := in(agentGroup, "read -r x <"+agentDir+"/a")
	if err == nil || !strings.Contains(out, "Permission denied") {
		t.Errorf("lockdown: %v: %s", err, out)
	}
	if err := a.signal(syscall.SIGKILL); err == nil {
		t.Error("the agent survived SIGKILL")
	}
	a = startAgent(t)
	if w := status(t).Workloads[0]; w.Mode != "lockdown" || w.Generation != 5 {
		t.Errorf("after a crash: mode %s, generation %d", w.Mode, w.Generation)
	}
	if r := stockade(t, "mode", "agents", "audit"); r.code != 0 {
		t.Errorf("audit: exit %d: %s", r.code, r.stderr)
	}
	wantReads(t, agentGroup, "audit", "a b both none")
	if r := stockade(t, "mode", "agents", "enforce"); r.code != 0 {
		t.Errorf("enforce: exit %d: %s", r.code, r.stderr)
	}
	want("enforce again", "a both", 5, "config")
}

func TestKilledAgentLeavesEnforcementAndIsSucceeded(t *testing.T) {
	agentFixture(t)
	a := startAgent(t)
	defer removeAgent(t)
	must(os.MkdirAll("/tmp/out", 0o755))
	must(os.WriteFile("/tmp/out/canary", nil, 0o644))
	out, err := os.OpenFile("/tmp/out/canary", os.O_WRONLY|os.O_APPEND, 0)
	must(err)
	canary := exec.Command("/bin/bash", "-c", "echo $$ >"+agentGroup+"/cgroup.procs; while :; do cat "+agentDir+"/none 2>/dev/null; done")
	canary.Stdout = out
	must(canary.Start())
	exited := make(chan error, 1)
	go func() { exited <- canary.Wait() }()
	wantReads(t, agentGroup, "with the agent", "a both")
	if r := stockade(t, "uninstall"); r.code != 1 || !strings.Contains(r.stderr, "confined (") {
		t.Errorf("uninstall with tasks: exit %d: %s", r.code, r.stderr)
	}
	generation := status(t).Workloads[0].Generation
	for i, pause := range []time.Duration{0, 3, 30, 100, 300, 900} {
		must(a.cmd.Process.Kill())
		<-a.done
		wantReads(t, agentGroup, "without an agent", "a both")
		// One that is killed while it starts, at some moment.
		half := exec.Command(program, "agent", "--config", agentConf)
		must(half.Start())
		time.Sleep(pause * time.Millisecond)
		must(half.Process.Kill())
		half.Wait()
		wantReads(t, agentGroup, "after a start that was killed", "a both")
		a = startAgent(t)
		if s := status(t); !s.Adopted || s.Workloads[0].Generation != generation {
			t.Errorf("restart %d: adopted %v, generation %d, want %d", i, s.Adopted, s.Workloads[0].Generation, generation)
		}
	}
	if err := a.signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, a.said)
	}
	wantReads(t, agentGroup, "after SIGTERM", "a both")
	if r := stockade(t, "uninstall"); r.code != 1 || !strings.Contains(r.stderr, "confined (") {
		t.Errorf("uninstall with tasks and no agent: exit %d: %s", r.code, r.stderr)
	}
	if r := stockade(t, "uninstall", "--force"); r.code != 0 {
		t.Errorf("uninstall by force: exit %d: %s", r.code, r.stderr)
	}
	<-exited
	if leaked, err := os.ReadFile("/tmp/out/canary"); err != nil || len(leaked) > 0 {
		t.Errorf("the canary was read: %q, %v", leaked, err)
	}
}
