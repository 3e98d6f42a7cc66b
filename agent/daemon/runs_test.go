package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/host/hosttest"
	"github.com/stockade-dev/stockade/agent/memory"
	"github.com/stockade-dev/stockade/agent/run"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/cgroup"
	"github.com/stockade-dev/stockade/compiler"
)

var emptyInput = compiler.Input{Principal: `User::"test"`}

// heldRun is a host whose runs an agent holds: they load nothing.
func heldRun(t *testing.T) *run.Host {
	return &run.Host{
		Check: func() error { return nil },
		Load: func(bpf.Options) (host.Enforcer, error) {
			t.Error("a set was loaded")
			return nil, errors.New("loaded")
		},
		Reaper: []string{"/proc/self/exe", "reap"},
	}
}

func (y *yard) runConfig(name string, rec *hosttest.Recorder, args ...string) run.Config {
	return run.Config{Name: name, Plan: hosttest.EmptyPlan(), Input: emptyInput, Agent: run.AgentRequire, Socket: filepath.Join(y.dir, "sock"), Args: args, Sink: rec}
}

// deny puts denials of a workload on the ring once it is confined.
func (y *yard) deny(name string, n int) {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		list, _ := y.set.Workloads()
		groups, _ := y.set.Groups()
		for _, w := range list {
			for _, of := range groups {
				if w.Name == name && of == w.ID {
					for i := range n {
						y.seq++
						y.set.pending <- abi.Event{Seq: y.seq, Workload: w.ID, Generation: 1, Missing: abi.MaskOf(abi.Read), Action: abi.Read,
							Path: fmt.Sprintf("/k/\xff%d", i), PathStatus: abi.PathOK}
					}
					return
				}
			}
		}
	}
	y.t.Error("the run was not confined")
}

func TestRunIsHeldByTheAgent(t *testing.T) {
	name := hosttest.TestName(t)
	y := newYard(t)
	y.set.real, y.set.Counts = true, abi.Counters{Allowed: 9, Denied: 7, Dropped: 2}
	client, stop := y.serving()
	rec := &hosttest.Recorder{}
	go y.deny(name, 5)
	shown := make(chan api.Status, 1)
	rec.OnDenial = func() {
		if len(rec.Denials) == 1 {
			s, _ := client.Status(context.Background())
			shown <- s
		}
	}
	result, err := heldRun(t).Run(context.Background(), y.runConfig(name, rec, "sh", "-c", "exit 7"))
	if err != nil || result.ExitCode != 7 || len(rec.Notes) > 0 {
		t.Fatalf("exit %d, %v, notes %q", result.ExitCode, err, rec.Notes)
	}
	if len(rec.Denials) != 5 || rec.Denials[4].Path != "/k/\xff4" || rec.Denials[0].Workload != name || rec.Denials[0].Digest != hosttest.EmptyPlan().Digest {
		t.Errorf("%d denials: %+v", len(rec.Denials), rec.Denials)
	}
	if s := rec.Result; s.Counters != y.set.Counts || s.Received != 5 || !s.Exact() || s.Generation != 1 {
		t.Errorf("%+v", s)
	}
	if s := <-shown; len(s.Workloads) != 2 {
		t.Errorf("while it ran: %+v", s.Workloads)
	} else {
		for _, w := range s.Workloads {
			if w.Name == name && (w.Origin != fromRun || w.Cgroups[0] != "stockade/"+name || w.Principal != `User::"test"`) {
				t.Errorf("while it ran: %+v", w)
			}
		}
	}
	s, err := client.Status(context.Background())
	if err != nil || len(s.Workloads) != 1 {
		t.Errorf("afterwards: %+v, %v", s.Workloads, err)
	}
	if _, err := os.Stat(memory.Path(filepath.Join(y.dir, "state", "agent"), name)); err == nil {
		t.Error("its memory is left")
	}
	hosttest.WantGone(t, name)
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestRunOutlivesItsAgent(t *testing.T) {
	name := hosttest.TestName(t)
	y := newYard(t)
	y.set.real, y.set.Counts = true, abi.Counters{Denied: 5}
	_, stop := y.serving()
	rec := &hosttest.Recorder{}
	go y.deny(name, 3)
	first, again := make(chan bool), make(chan bool)
	rec.OnDenial = func() {
		if len(rec.Denials) == 3 {
			close(first)
			<-again
		}
	}
	flag := filepath.Join(y.dir, "go")
	ended := make(chan error, 1)
	go func() {
		result, err := heldRun(t).Run(context.Background(), y.runConfig(name, rec, "sh", "-c", "while [ ! -e "+flag+" ]; do sleep 0.05; done; exit 4"))
		if result.ExitCode != 4 {
			err = fmt.Errorf("exit %d, %w", result.ExitCode, err)
		}
		ended <- err
	}()
	<-first
	if err := stop(); err != nil {
		t.Error(err)
	}
	close(again)
	client, stop := y.serving()
	y.deny(name, 2)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if y.set.now(2).Delivered == 5 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("delivered %d", y.set.now(2).Delivered)
		}
	}
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if len(rec.Denials) != 5 || !rec.Result.Exact() || rec.Result.Received != 5 {
		t.Errorf("%d denials, %+v", len(rec.Denials), rec.Result)
	}
	if len(rec.Notes) != 1 || !strings.Contains(rec.Notes[0], "the agent ended: the command goes on") {
		t.Errorf("notes %q", rec.Notes)
	}
	if s, err := client.Status(context.Background()); err != nil || len(s.Workloads) != 1 {
		t.Errorf("afterwards: %+v, %v", s.Workloads, err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// runRequest is a request for a run whose group exists.
func runRequest(t *testing.T) (api.Run, api.Peer) {
	t.Helper()
	name := hosttest.TestName(t)
	group, err := cgroup.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { group.Remove() })
	id, err := group.ID()
	if err != nil {
		t.Fatal(err)
	}
	return api.Run{Name: name, Cgroup: id, Principal: emptyInput.Principal, Mode: "enforce", Digest: hosttest.EmptyPlan().Digest}, api.Peer{PID: os.Getpid()}
}

func TestAgentRefusesRunsItCannotHold(t *testing.T) {
	y := newYard(t)
	y.set.real = true
	d, kill := y.up()
	defer kill()
	for what, c := range map[string]struct {
		change func(*api.Run, *api.Peer)
		want   string
	}{
		"declared name": {func(r *api.Run, _ *api.Peer) { r.Name = "one" }, "name one: in use by a workload of the agent (origin config)"},
		"bad name":      {func(r *api.Run, _ *api.Peer) { r.Name = "../x" }, "not a workload's name"},
		"other cgroup":  {func(r *api.Run, _ *api.Peer) { r.Cgroup++ }, "not that of the run"},
		"other plan":    {func(r *api.Run, _ *api.Peer) { r.Digest = "x" }, "makes another plan"},
		"bad policy": {func(r *api.Run, _ *api.Peer) { r.Sources = []api.Text{{Name: "p.cedar", Text: []byte("permit (")}} },
			"p.cedar:1:"},
		"strict":   {func(r *api.Run, _ *api.Peer) { r.Strict = true }, "strict: the agent's set has no hooks for it"},
		"clock":    {func(r *api.Run, _ *api.Peer) { r.Grants.Caps = abi.SysTime }, "cap SYS_TIME: without effect under an agent"},
		"lockdown": {func(r *api.Run, _ *api.Peer) { r.Mode = "lockdown" }, `mode "lockdown": not one of a run`},
		"peer":     {func(_ *api.Run, p *api.Peer) { p.PID = 0 }, "its process is not seen from here"},
		"dead":     {func(_ *api.Run, p *api.Peer) { p.PID = 4194303 }, "root of process 4194303"},
	} {
		r, peer := runRequest(t)
		c.change(&r, &peer)
		if _, err := d.StartRun(peer, r); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", what, err, c.want)
		}
		if s := y.status(d); len(s.Workloads) != 1 {
			t.Errorf("%s: left %+v", what, s.Workloads)
		}
	}
	y.set.installErr = errors.New("no room")
	r, peer := runRequest(t)
	if _, err := d.StartRun(peer, r); err == nil || len(y.status(d).Workloads) != 1 {
		t.Errorf("no room: %v, %+v", err, y.status(d).Workloads)
	}
	y.set.installErr = nil
	if _, err := d.StartRun(peer, r); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if _, err := d.StartRun(peer, r); err == nil || !strings.Contains(err.Error(), "(origin run)") {
		t.Errorf("twice: %v", err)
	}
	if _, err := d.Apply(r.Name, api.Policy{Sources: []api.Source{{Name: "b", Text: permitB}}}); err == nil || !strings.Contains(err.Error(), "belongs to a run") {
		t.Errorf("apply: %v", err)
	}
	y.write("agent.yaml", strings.Replace(yardConfig, "name: one", "name: "+r.Name, 1))
	if err := d.Reload(); err == nil || !strings.Contains(err.Error(), "agent.yaml:5:11: name "+r.Name+": in use by a run") {
		t.Errorf("reload: %v", err)
	}
}

func TestUninstallWaitsForARunThatStarts(t *testing.T) {
	m := host.Machine{State: t.TempDir()}
	first, err := m.KeepSet(false)
	if err != nil {
		t.Fatal(err)
	}
	second, err := m.KeepSet(false) // runs start side by side
	if err != nil {
		t.Fatal(err)
	}
	alone := make(chan func(), 1)
	go func() {
		release, err := m.KeepSet(true)
		if err != nil {
			t.Error(err)
		}
		alone <- release
	}()
	first()
	select {
	case <-alone:
		t.Fatal("uninstall did not wait")
	case <-time.After(100 * time.Millisecond):
	}
	second()
	(<-alone)()
}

func TestQueueOfARunIsBoundedAndOrdered(t *testing.T) {
	q := newRunQueue(false)
	var kept, missed uint64
	for i := range 3 * maxQueue / (eventSize + 1000) {
		lost, ok := q.put(abi.Event{Seq: uint64(i), Path: strings.Repeat("x", 1000)})
		if !ok {
			t.Fatal("refused")
		}
		if lost {
			missed++
		} else {
			kept++
		}
	}
	if missed == 0 || kept != maxQueue/(eventSize+1000) || q.counted != kept+missed {
		t.Errorf("kept %d, missed %d, came %d", kept, missed, q.counted)
	}
	done := q.finish(abi.Counters{Denied: kept + missed})
	next := uint64(0)
	for {
		events, end, settled := q.take()
		for _, e := range events {
			if e.Seq != next {
				t.Fatalf("got %d, want %d", e.Seq, next)
			}
			next++
		}
		if settled {
			t.Fatal("settled before its end")
		}
		if end != nil {
			if end.Missed != missed || end.Counters.Denied != kept+missed {
				t.Errorf("%+v", end)
			}
			break
		}
	}
	if _, _, settled := q.take(); next != kept || q.bytes == 0 || settled {
		t.Errorf("took %d of %d, %d bytes are left; settled: %v", next, kept, q.bytes, settled)
	}
	if written, lost := q.settle(api.RunTaken{Denials: kept - 1, Lost: 2}); written != kept-3 || lost != 2 {
		t.Errorf("%d written, %d lost", written, lost)
	}
	if _, _, settled := q.take(); settled {
		t.Error("settled with one that nobody knows of")
	}
	if written, lost := q.settle(api.RunTaken{Denials: kept + 1000, Lost: 2}); written != 1 || lost != 0 {
		t.Errorf("%d written, %d lost", written, lost)
	}
	if _, end, settled := q.take(); q.bytes != 0 || end != nil || !settled {
		t.Errorf("%d bytes are left; end %v; settled: %v", q.bytes, end, settled)
	}
	q.detach()
	<-done
	if _, _, ok := q.attach(nil, 0); ok {
		t.Error("attached to a run that is over")
	}
}

// heldByAgent starts an agent on real cgroups, and has it hold a run.
func heldByAgent(t *testing.T) (*yard, *Daemon, api.Run) { return heldRunThat(t, false) }

// heldRunThat is heldByAgent for a run that tells what it dealt with, or does not.
func heldRunThat(t *testing.T, acknowledges bool) (*yard, *Daemon, api.Run) {
	t.Helper()
	y := newYard(t)
	y.set.real = true
	r, peer := runRequest(t)
	r.Acknowledges = acknowledges
	d, kill := y.up()
	t.Cleanup(kill) // before its group goes
	if _, err := d.StartRun(peer, r); err != nil {
		t.Fatal(err)
	}
	return y, d, r
}

// removeGroup ends the empty group of a run.
func removeGroup(t *testing.T, name string) {
	t.Helper()
	group, err := cgroup.Open(name)
	if err == nil {
		err = group.Remove()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestDenialsOfARunThatIsGoneAreLogged(t *testing.T) {
	y, d, r := heldByAgent(t)
	id := d.all.byName[r.Name].id
	event := abi.Event{Workload: id, Generation: 1, Missing: abi.MaskOf(abi.Read), Action: abi.Read, Path: "/k", PathStatus: abi.PathOK}
	deliver(d, event)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	d.FollowRun(ctx, r.Name, func([]api.RunLine) error { t.Error("written"); return nil })
	deliver(d, event)
	if n := y.logged(r.Name, "/k"); n != 2 {
		t.Errorf("%d of 2 denials in the log", n)
	}
	if w := y.set.now(id); w == nil || w.Delivered != 2 {
		t.Errorf("%+v", w)
	}
	removeGroup(t, r.Name)
	d.sweep()
	if s := y.status(d); len(s.Workloads) != 1 {
		t.Errorf("left %+v", s.Workloads)
	}
}

// What is left of a run's denials comes when its group is gone already: its number is
// not given back before the run has its counts.
func TestSweepLeavesARunThatTakesItsLastDenials(t *testing.T) {
	y, d, r := heldByAgent(t)
	id := d.all.byName[r.Name].id
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var took, ended atomic.Int32
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		d.FollowRun(ctx, r.Name, func(lines []api.RunLine) error {
			for _, l := range lines {
				switch {
				case l.Denial != nil:
					took.Add(1)
				case l.End != nil:
					ended.Add(1)
				}
			}
			return nil
		})
	}()
	for end := time.Now().Add(10 * time.Second); !d.all.byName[r.Name].run.followed(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody follows the run")
		}
	}
	removeGroup(t, r.Name)
	d.sweep()
	deliver(d, abi.Event{Workload: id, Generation: 1, Missing: abi.MaskOf(abi.Read), Action: abi.Read, Path: "/k", PathStatus: abi.PathOK})
	if err := d.EndRun(r.Name); err != nil {
		t.Fatal(err)
	}
	<-followed
	if n := y.logged(r.Name, "/k"); took.Load() != 1 || ended.Load() != 1 || n != 0 {
		t.Errorf("%d denials, %d ends; %d in the log", took.Load(), ended.Load(), n)
	}
	if s := y.status(d); len(s.Workloads) != 1 {
		t.Errorf("left %+v", s.Workloads)
	}
}

// A run that ended while no agent was there is over for the next one.
func TestNextAgentReleasesARunThatIsOver(t *testing.T) {
	y := newYard(t)
	d, kill := y.up()
	id, err := y.set.Claim("over")
	if err == nil {
		m := memory.Memory{Origin: fromRun, Input: emptyInput}
		err = m.Keep(d.memories(), "over")
	}
	if err != nil {
		t.Fatal(err)
	}
	kill()
	d, kill = y.up()
	defer kill()
	left := y.set.now(id)
	if _, err := memory.Recall(d.memories(), "over"); left != nil || err != nil {
		t.Errorf("workload %v, %v", left, err)
	}
	if s := y.status(d); len(s.Workloads) != 1 {
		t.Errorf("workloads %+v", s.Workloads)
	}
}

// A run that is over and left its group behind gives its number back; one that lives
// keeps it, whoever listens to it.
func TestRunThatLeftItsGroupGivesItsNumberBack(t *testing.T) {
	y := newYard(t)
	y.set.real = true
	d, kill := y.up()
	r, _ := runRequest(t)
	process := exec.Command("sleep", "1000")
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	end := func() { process.Process.Kill(); process.Wait() }
	defer end()
	if _, err := d.StartRun(api.Peer{PID: process.Process.Pid}, r); err != nil {
		t.Fatal(err)
	}
	id := d.all.byName[r.Name].id
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	d.FollowRun(ctx, r.Name, func([]api.RunLine) error { return nil })
	kill() // the next agent knows as much
	d, kill = y.up()
	defer kill()
	look := func(ago time.Duration) (there bool, of uint32) {
		t.Helper()
		if w := d.all.byName[r.Name]; w != nil && !w.over.IsZero() {
			w.over = time.Now().Add(-ago)
		}
		d.sweep()
		groups, err := y.set.Groups()
		if err != nil {
			t.Fatal(err)
		}
		return d.all.byName[r.Name] != nil, groups[r.Cgroup]
	}
	if there, of := look(0); !there || of != id || !d.all.byName[r.Name].over.IsZero() {
		t.Error("a run that lives is over")
	}
	end()
	if there, of := look(0); !there || of != id || d.all.byName[r.Name].over.IsZero() {
		t.Error("it is over at once, or never")
	}
	if there, of := look(retireAfter - time.Second); !there || of != id {
		t.Error("it is over too soon")
	}
	if there, of := look(retireAfter); there || of != fakeEnded {
		t.Errorf("there: %v; its group belongs to %d", there, of)
	}
	if _, err := memory.Recall(d.memories(), r.Name); err != nil || !strings.Contains(y.said.String(), "run "+r.Name+": over") {
		t.Errorf("%v\n%s", err, y.said.String())
	}
}
