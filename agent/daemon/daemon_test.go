package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/bpf/abi"
)

func TestRestartAdoptsTheSameGeneration(t *testing.T) {
	y := newYard(t)
	d, kill := y.up()
	y.want(y.status(d), 1, "enforce", "config")
	kill()
	for range 2 {
		d, kill = y.up()
		y.want(y.status(d), 1, "enforce", "config")
		if !d.adopted || y.set.loaded != 1 {
			t.Errorf("adopted %v, loaded %d times", d.adopted, y.set.loaded)
		}
		kill()
	}
	y.write("one.cedar", permitB) // while no agent runs
	d, kill = y.up()
	defer kill()
	y.want(y.status(d), 2, "enforce", "config")
}

func TestWhatWasChangedByHandStays(t *testing.T) {
	y := newYard(t)
	d, kill := y.up()
	change, err := d.Apply("one", api.Policy{Sources: []api.Source{{Name: "b", Text: permitB}}})
	if err != nil || change.Generation != 2 {
		t.Fatalf("%+v, %v", change, err)
	}
	if _, err := d.SetMode("one", "lockdown"); err != nil {
		t.Fatal(err)
	}
	if err := d.Reload(); err != nil { // which has nothing new
		t.Fatal(err)
	}
	y.want(y.status(d), 2, "lockdown", "applied")
	kill()
	d, kill = y.up()
	y.want(y.status(d), 2, "lockdown", "applied")
	if _, err := d.Rollback("one"); err != nil {
		t.Fatal(err)
	}
	y.want(y.status(d), 3, "lockdown", "config")
	if _, err := d.Rollback("one"); err != nil {
		t.Fatal(err)
	}
	y.want(y.status(d), 4, "lockdown", "rolled back")
	kill()

	y.write("one.cedar", permitA+permitB) // the configuration says something new
	y.write("agent.yaml", yardConfig+"    mode: audit\n")
	d, kill = y.up()
	defer kill()
	y.want(y.status(d), 5, "lockdown", "config")
	if _, err := d.SetMode("one", "enforce"); err != nil { // by hand, too
		t.Fatal(err)
	}
	y.write("agent.yaml", yardConfig)
	if err := d.Reload(); err != nil { // which says another mode than before
		t.Fatal(err)
	}
	y.want(y.status(d), 5, "enforce", "config")
}

func TestLockdownOutlivesALostMemory(t *testing.T) {
	y := newYard(t)
	d, kill := y.up()
	if _, err := d.SetMode("one", "lockdown"); err != nil {
		t.Fatal(err)
	}
	kill()
	if err := os.RemoveAll(filepath.Join(y.dir, "state", "agent")); err != nil {
		t.Fatal(err)
	}
	d, kill = y.up()
	defer kill()
	y.want(y.status(d), 1, "lockdown", "config")
}

func TestReloadOfAMistakeChangesNothing(t *testing.T) {
	y := newYard(t)
	d, kill := y.up()
	defer kill()
	two := strings.Replace(yardConfig, "workloads:", "workloads:\n  - {name: two, match: {cgroup: stockade-test-two}, principal: 'User::\"two\"', policies: two.cedar}", 1)
	y.write("two.cedar", permitA)
	for what, c := range map[string]struct{ config, policy, want string }{
		"policy":          {yardConfig, "permit (\n", "one.cedar:"},
		"other policy":    {two, "forbid (\n", "one.cedar:"},
		"configuration":   {yardConfig + "    polcy: x\n", permitB, `agent.yaml:9:5: "polcy"`},
		"name":            {strings.Replace(yardConfig, "name: one", "name: ../one", 1), permitB, `agent.yaml:5:11: name "../one"`},
		"missing file":    {strings.Replace(yardConfig, "one.cedar", "none.cedar", 1), permitB, "agent.yaml:8:15: policies:"},
		"missing process": {yardConfig + "    root: 4194303\n", permitB, "agent.yaml:9:11: root"},
		"log":             {yardConfig + "    log: {file: /proc/none/log}\n", permitB, "agent.yaml:9:10: log:"},
		"hooks":           {yardConfig + "    handle: stat\n", permitB, "agent.yaml:9:13: handle stat: the pinned set has no hooks"},
	} {
		y.write("agent.yaml", c.config)
		y.write("one.cedar", c.policy)
		err := d.Reload()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", what, err, c.want)
		}
		s := y.status(d)
		if err != nil && s.Error != err.Error() {
			t.Errorf("%s: the status shows %q", what, s.Error)
		}
		y.want(s, 1, "enforce", "config")
	}
	y.write("agent.yaml", two)
	y.write("one.cedar", permitB)
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	if s := y.status(d); len(s.Workloads) != 2 || s.Workloads[0].Generation != 2 || s.Error != "" {
		t.Errorf("%+v", s)
	}
}

func TestFailedInstallChangesNothing(t *testing.T) {
	y := newYard(t)
	d, kill := y.up()
	digest := y.status(d).Workloads[0].Digest
	y.set.installErr = errors.New("arena full")
	if _, err := d.Apply("one", api.Policy{Sources: []api.Source{{Name: "b", Text: permitB}}}); !errors.Is(err, y.set.installErr) {
		t.Errorf("apply: %v", err)
	}
	y.write("one.cedar", permitB)
	if err := d.Reload(); !errors.Is(err, y.set.installErr) {
		t.Errorf("reload: %v", err)
	}
	s := y.status(d)
	if y.want(s, 1, "enforce", "config"); s.Workloads[0].Digest != digest || !strings.Contains(s.Workloads[0].Error, "arena full") {
		t.Errorf("%+v", s.Workloads[0])
	}
	y.set.installErr = nil
	if err := d.Reload(); err != nil { // is tried again
		t.Error(err)
	}
	y.want(y.status(d), 2, "enforce", "config")
	kill()
	d, kill = y.up()
	defer kill()
	y.want(y.status(d), 2, "enforce", "config")
}

func TestStartThatFailsLeavesNothing(t *testing.T) {
	y := newYard(t)
	y.write("one.cedar", "permit (\n")
	if _, err := y.machine.open(y.config(), &y.said); err == nil || y.set.loaded != 0 {
		t.Errorf("bad policy: %v, loaded %d times", err, y.set.loaded)
	}
	y.write("one.cedar", permitA)
	y.set.installErr = errors.New("arena full")
	if _, err := y.machine.open(y.config(), &y.said); !errors.Is(err, y.set.installErr) || !y.set.Closed {
		t.Errorf("no room: %v, closed %v", err, y.set.Closed)
	}
}

func TestSecondAgentIsRefused(t *testing.T) {
	y := newYard(t)
	_, kill := y.up()
	if _, err := y.machine.open(y.config(), &y.said); err == nil || !strings.Contains(err.Error(), "another agent runs on this host, process ") {
		t.Errorf("%v", err)
	}
	kill()
	_, kill = y.up()
	kill()
}

func TestRemovedWorkloadStaysWhileItConfines(t *testing.T) {
	y := newYard(t)
	d, kill := y.up()
	defer kill()
	y.set.change(func() { y.set.groups[77] = 1 })
	y.write("agent.yaml", "socket: sock\nworkloads: []\n")
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	d.sweep()
	y.want(y.status(d), 1, "enforce", "removed")
	if _, err := d.Apply("one", api.Policy{Sources: []api.Source{{Name: "b", Text: permitB}}}); err == nil {
		t.Error("applied to a removed workload")
	}
	y.set.change(func() { delete(y.set.groups, 77) })
	d.sweep()
	if s := y.status(d); len(s.Workloads) != 0 {
		t.Errorf("%+v", s.Workloads)
	}
	if left, _ := filepath.Glob(filepath.Join(y.dir, "state", "agent", "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestRootsOfProcessesThatEndedFailNoReload(t *testing.T) {
	y := newYard(t)
	sleeps := exec.Command("sleep", "1000")
	sleeps.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if err := sleeps.Start(); err != nil {
		t.Fatal(err)
	}
	end := sync.OnceFunc(func() { _ = sleeps.Process.Kill(); _ = sleeps.Wait() })
	defer end()
	y.write("agent.yaml", fmt.Sprintf("%s    root: %d\n", yardConfig, sleeps.Process.Pid))
	d, kill := y.up()
	end()
	y.write("one.cedar", permitB)
	if err := d.Reload(); err != nil {
		t.Error(err)
	}
	y.want(y.status(d), 2, "enforce", "config")
	kill()
	d, kill = y.up() // nor a start
	defer kill()
	y.want(y.status(d), 2, "enforce", "config")
}

func TestPeersThatMayNotCommandAreRefused(t *testing.T) {
	y := newYard(t)
	d, kill := y.up()
	defer kill()
	if err := d.allow(api.Peer{PID: os.Getpid(), UID: 0}); err != nil {
		t.Errorf("root: %v", err)
	}
	if err := d.allow(api.Peer{PID: os.Getpid(), UID: 12345}); err == nil {
		t.Error("another user is allowed")
	}
	if err := d.allow(api.Peer{PID: 4194303, UID: 0}); err == nil {
		t.Error("a process that is gone is allowed")
	}
	y.set.confined[os.Getpid()] = true
	if err := d.allow(api.Peer{PID: os.Getpid(), UID: 0}); err == nil || !strings.Contains(err.Error(), "is confined") {
		t.Errorf("a confined task: %v", err)
	}
}

func TestAPIAnswersAndStreams(t *testing.T) {
	y := newYard(t)
	client, stop := y.serving()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if info, err := os.Stat(filepath.Join(y.dir, "sock")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", info, err)
	}
	change, err := client.Apply(ctx, "one", api.Policy{Sources: []api.Source{{Name: "b", Text: permitB}}})
	if err != nil || change.Generation != 2 {
		t.Errorf("apply: %+v, %v", change, err)
	}
	if _, err := client.Apply(ctx, "one", api.Policy{Sources: []api.Source{{Name: "x/bad", Text: "permit (\n"}}}); err == nil || !strings.Contains(err.Error(), "x/bad:") {
		t.Errorf("bad policy: %v", err)
	}
	if _, err := client.Apply(ctx, "../one", api.Policy{}); err == nil || !strings.Contains(err.Error(), "no such workload") {
		t.Errorf("unknown workload: %v", err)
	}
	if _, err := client.SetMode(ctx, "one", "open"); err == nil {
		t.Error("unknown mode is accepted")
	}
	if err := client.Reload(ctx); err != nil {
		t.Error(err)
	}
	s, err := client.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	y.want(s, 2, "enforce", "applied")

	listening := make(chan string, 10)
	go func() { _ = client.Events(ctx, lineWriter(listening)) }()
	event := abi.Event{Seq: 1, Workload: 1, Generation: 2, Missing: abi.MaskOf(abi.Read), Action: abi.Read, Path: "/c", PathStatus: abi.PathOK}
	for got := ""; got == ""; { // until the stream is open
		y.set.pending <- event
		select {
		case got = <-listening:
		case <-time.After(50 * time.Millisecond):
			continue
		}
		var d struct{ Workload, Path, Policy_digest string }
		if err := json.Unmarshal([]byte(got), &d); err != nil || d.Workload != "one" || d.Path != "/c" || d.Policy_digest != change.Digest {
			t.Errorf("%s: %v", got, err)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("stop: %v\n%s", err, y.said.String())
	}
	if _, err := client.Status(ctx); !errors.Is(err, api.ErrNoAgent) {
		t.Errorf("after the end: %v", err)
	}
	if y.set.Closed {
		t.Error("the end of the agent ended enforcement")
	}
	if text, err := os.ReadFile(filepath.Join(y.dir, "log")); err != nil || uint64(strings.Count(string(text), "\n")) != y.set.now(1).Delivered {
		t.Errorf("log: %d delivered: %s %v", y.set.now(1).Delivered, text, err)
	}
}

type lineWriter chan string

func (w lineWriter) Write(p []byte) (int, error) {
	w <- string(p)
	return len(p), nil
}

func TestFilesThatChangeAreReadAgain(t *testing.T) {
	y := newYard(t)
	client, stop := y.serving()
	defer stop()
	await := func(what string, ok func(api.Status) bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			s, err := client.Status(context.Background())
			if err == nil && ok(s) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %+v, %v", what, s, err)
			}
		}
	}
	y.write("one.cedar", permitB)
	await("policy", func(s api.Status) bool { return s.Workloads[0].Generation == 2 })
	y.write("one.cedar", "permit (\n")
	await("bad policy", func(s api.Status) bool { return strings.Contains(s.Error, "one.cedar:") })
	y.write("one.cedar", permitA)
	await("mended policy", func(s api.Status) bool { return s.Workloads[0].Generation == 3 && s.Error == "" })
	y.write("agent.yaml", yardConfig+"    mode: audit\n")
	await("configuration", func(s api.Status) bool { return s.Workloads[0].Mode == "audit" && s.Workloads[0].Generation == 3 })
}

func TestDenialsAreExplainedByTheirGeneration(t *testing.T) {
	y := newYard(t)
	d, kill := y.up()
	defer kill()
	forbid := `@id("keys") forbid (principal, action, resource in file_system::Dir::"/k");` + "\n"
	if _, err := d.Apply("one", api.Policy{Sources: []api.Source{{Name: "k", Text: forbid}}}); err != nil {
		t.Fatal(err)
	}
	lines, end := d.out.hub.Subscribe()
	defer end()
	for generation, want := range map[uint32]int{1: 0, 2: 1, 9: 0} {
		deliver(d, abi.Event{Workload: 1, Generation: generation, Missing: abi.MaskOf(abi.Read), Action: abi.Read, Path: "/k/x", PathStatus: abi.PathOK})
		var got struct{ Policies []sink.Policy }
		if err := json.Unmarshal([]byte(<-lines), &got); err != nil || len(got.Policies) != want {
			t.Errorf("generation %d: %+v, %v; want %d policies", generation, got, err, want)
		}
	}
}

func TestAgentWaitsForTheLockOfOneThatEnds(t *testing.T) {
	y := newYard(t)
	_, kill := y.up()
	kill()
	file, err := os.Open(filepath.Join(y.dir, "state", host.AgentLock)) // as a child that has yet to execute holds it
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(100*time.Millisecond, func() { file.Close() })
	_, kill = y.up()
	kill()
}
