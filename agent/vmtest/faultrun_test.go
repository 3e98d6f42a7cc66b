package vmtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent"
)

const (
	faultProgram = "/usr/bin/stockade-faults" // built with the tag faults
	faultOrders  = "/run/stockade-faults"
	faultSaid    = "/var/log/stockade-faults"
	// faultConf is another name of agentConf, in a folder that no agent watches:
	// what is written to it is followed when a test says so.
	faultConf = "/srv/agent.yaml"
)

// setting is what the configuration says of the probes' workload, and the
// workloads that it declares beside.
type setting struct{ policy, mode, extra string }

func (s setting) yaml() string {
	mode := s.mode
	if mode == "lockdown" { // only by hand
		mode = "enforce"
	}
	text := fmt.Sprintf(`
log: {file: %s, format: json}
workloads:
  - {name: agents, match: {cgroup: [agents.slice, 'single-*']}, principal: 'User::"agents"', policies: %s.cedar, mode: %s}
  - {name: others, match: {cgroup: [others.slice]}, principal: 'User::"others"', policies: %[2]s.cedar}
`, agentLog, s.policy, mode)
	for name := range strings.FieldsSeq(s.extra) {
		text += fmt.Sprintf("  - {name: %s, match: {cgroup: [%[1]s.slice]}, principal: 'User::\"extra\"', policies: a.cedar}\n", name)
	}
	return text
}

// reads names the files that can be read under it.
func (s setting) reads() string {
	switch s.mode {
	case "lockdown":
		return ""
	case "audit":
		return " " + everything
	}
	return " " + s.policy + " both"
}

func (s setting) permits(name string) bool { return slices.Contains(strings.Fields(s.reads()), name) }

// faults is a test that lets agents fail.
type faults struct {
	t       *testing.T
	client  *agent.Client
	cmd     *exec.Cmd // the agent
	done    chan error
	crowd   *crowd
	now     setting
	load    string // the BPF programs to load, "" for all
	program string // the agent's
	orders  int
	seen    int // of faultSaid
	names   int // that were made up
	rows    []string
	last    time.Time // when the last row was added
	wrong   uint64    // operations that were wrongly allowed
	all     uint64    // operations
}

func newFaults(t *testing.T) *faults {
	agentFixture(t)
	if _, err := os.Stat(faultProgram); err != nil {
		t.Fatalf("%v: build it with `go build -tags faults ./cmd/stockade`", err)
	}
	f := &faults{t: t, program: faultProgram, last: time.Now(), client: agent.NewClient(agent.DefaultSocket), now: setting{"a", "enforce", ""}}
	for _, name := range []string{"a", "b"} {
		put("/policy/"+name+".cedar", permitting(name, "both"))
	}
	must(os.MkdirAll("/sys/fs/cgroup/others.slice", 0o755))
	put(agentConf, f.now.yaml())
	must(os.RemoveAll(faultConf))
	must(os.Link(agentConf, faultConf))
	must(os.WriteFile(faultSaid, nil, 0o600))
	f.order("")
	return f
}

// declare writes the configuration without telling the agent.
func (f *faults) declare(s setting) { must(os.WriteFile(faultConf, []byte(s.yaml()), 0o644)) }

// order says what is to go wrong next.
func (f *faults) order(text string) {
	f.orders++
	f.seen = len(f.said(0))
	must(os.WriteFile(faultOrders+".new", fmt.Appendf(nil, "%s#%d", text, f.orders), 0o600))
	must(os.Rename(faultOrders+".new", faultOrders))
}

// said returns what agents said from some point on.
func (f *faults) said(from int) string {
	text, err := os.ReadFile(faultSaid)
	must(err)
	return string(text[from:])
}

// fired reports whether what was ordered has happened.
func (f *faults) fired(point string) bool {
	return strings.Contains(f.said(f.seen), "fault: "+point+": ")
}

// begin starts an agent. It returns nil when it answers, or how it ended.
func (f *faults) begin() error {
	said, err := os.OpenFile(faultSaid, os.O_APPEND|os.O_WRONLY, 0)
	must(err)
	defer said.Close()
	f.cmd = exec.Command(f.program, "agent", "--config", agentConf)
	f.cmd.Env = append(os.Environ(), "STOCKADE_FAULT=@"+faultOrders)
	f.cmd.Env = append(f.cmd.Env, "STOCKADE_FAULT_PROGRAMS="+f.load)
	f.cmd.Stderr = said
	must(f.cmd.Start())
	f.done = make(chan error, 1)
	go func(cmd *exec.Cmd, done chan error) { done <- cmd.Wait() }(f.cmd, f.done)
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if s, err := f.status(); err == nil && s.PID == f.cmd.Process.Pid {
			return nil
		}
		select {
		case err := <-f.done:
			f.cmd = nil
			if err == nil {
				err = errors.New("it ended")
			}
			return err
		default:
		}
		if time.Now().After(end) {
			must(f.cmd.Process.Signal(syscall.SIGQUIT)) // shows where it is
			<-f.done
			f.t.Fatalf("the agent does not answer\n%s", f.said(f.seen))
		}
	}
}

// up starts an agent that nothing goes wrong with.
func (f *faults) up() {
	f.t.Helper()
	f.order("")
	if err := f.begin(); err != nil {
		f.t.Fatalf("an agent without faults does not start: %v\n%s", err, f.said(f.seen))
	}
}

func (f *faults) status() (agent.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return f.client.Status(ctx)
}

// workload returns what the agent shows of one.
func (f *faults) workload(name string) *agent.WorkloadStatus {
	f.t.Helper()
	s, err := f.status()
	if err != nil {
		f.t.Fatal(err)
	}
	for i := range s.Workloads {
		if s.Workloads[i].Name == name {
			return &s.Workloads[i]
		}
	}
	return nil
}

// ended waits for the agent's end.
func (f *faults) ended() error {
	f.t.Helper()
	select {
	case err := <-f.done:
		f.cmd = nil
		return err
	case <-time.After(time.Minute):
		f.t.Fatalf("the agent goes on\n%s", f.said(f.seen))
		return nil
	}
}

// kill ends the agent at once.
func (f *faults) kill() {
	if f.cmd != nil {
		must(f.cmd.Process.Kill())
		<-f.done
		f.cmd = nil
	}
}

func wasKilled(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// look lets the probes go round and returns the names of the files that they
// could read, all of them every time.
func (f *faults) look() string {
	f.t.Helper()
	before := f.crowd.rest(f.t)
	f.crowd.goOn(f.t)
	f.crowd.rounds(f.t, 2)
	names, err := f.crowd.rest(f.t).minus(before).reads()
	if err != nil {
		f.t.Errorf("nothing changes: %v", err)
	}
	return names
}

// counted waits until every denial is accounted for. The probes must rest.
func (f *faults) counted(what string) {
	f.t.Helper()
	var w *agent.WorkloadStatus
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if w = f.workload("agents"); w.Denied == w.Delivered+w.Dropped+w.Lost {
			return
		}
	}
	f.t.Errorf("%s: %d denied, %d delivered, %d dropped, %d lost", what, w.Denied, w.Delivered, w.Dropped, w.Lost)
}

// settle brings the workload to a setting, without faults.
func (f *faults) settle(what string, to setting) {
	f.t.Helper()
	f.order("")
	f.declare(to)
	if err := f.client.Reload(context.Background()); err != nil {
		f.t.Errorf("%s: the next reload: %v", what, err)
	}
	f.now = to
	if f.workload("agents").Mode != to.mode {
		if _, err := f.client.SetMode(context.Background(), "agents", to.mode); err != nil {
			f.t.Errorf("%s: mode %s: %v", what, to.mode, err)
		}
	}
	if w := f.workload("agents"); w.Mode != to.mode || w.Error != "" {
		f.t.Errorf("%s: the next reload: mode %s, want %s, error %q", what, w.Mode, to.mode, w.Error)
	}
	if got := f.look(); got != to.reads() {
		f.t.Errorf("%s: after the next reload the probes can read %q, want %q", what, got, to.reads())
	}
}

// wrong counts what neither setting permits and was allowed, and what both permit
// and was denied.
func wrong(from, to setting, met counts) (allowed, denied uint64) {
	for i, name := range raceFiles {
		if !from.permits(name) && !to.permits(name) {
			allowed += met[i][0]
		}
		if from.permits(name) && to.permits(name) {
			denied += met[i][1]
		}
	}
	return allowed, denied
}

// judge adds one line to the table: what the probes met while a setting was
// changed to another.
func (f *faults) judge(what, outcome string, from, to setting, met counts) {
	f.t.Helper()
	allowed, denied := met.sum()
	wronglyAllowed, wronglyDenied := wrong(from, to, met)
	f.all += allowed + denied
	f.wrong += wronglyAllowed
	f.row("%-38s %6d %6d %6d %6d  %s", what, allowed, denied, wronglyAllowed, wronglyDenied, outcome)
	if wronglyAllowed+wronglyDenied > 0 {
		f.t.Errorf("%s: wrongly allowed %d times, wrongly denied %d times: %v", what, wronglyAllowed, wronglyDenied, met)
	}
}

func (f *faults) row(format string, args ...any) {
	line := fmt.Sprintf(format, args...) + fmt.Sprintf(" (%.1f s)", time.Since(f.last).Seconds())
	f.last = time.Now()
	f.rows = append(f.rows, line)
	fmt.Printf("fault: %s %s\n", kernelVersion(), line) // scripts/verify keeps it
}

// pins lists what is pinned.
func pins() []string {
	list, err := filepath.Glob("/sys/fs/bpf/stockade/@agent/*")
	must(err)
	return list
}

// name makes up a name that was not there before.
func (f *faults) name(begin string) string {
	f.names++
	return fmt.Sprintf("%s-%d", begin, f.names)
}
