package run

import (
	"context"
	"crypto/ed25519"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/evidence"
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/host/hosttest"
	"github.com/stockade-dev/stockade/agent/label"
	"github.com/stockade-dev/stockade/agent/lock"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/cgroup"
)

// started is a run with a set of its own, that is to be stopped from outside.
type started struct {
	name   string
	client *api.Client
	told   hosttest.Recorder
	result chan Result
	err    error
}

func startRun(t *testing.T, name string, labels label.Set, denials ...abi.Event) *started {
	t.Helper()
	k := &hosttest.Kernel{Name: name, Denials: denials, Counts: abi.Counters{Denied: uint64(len(denials))}}
	r := &started{name: name, client: api.NewClient(controlSocket(name)), result: make(chan Result, 1)}
	cfg := Config{Name: name, Plan: hosttest.EmptyPlan(), Args: []string{"/bin/sh", "-c", "sleep 60 & sleep 60"}, Sink: &r.told, Labels: labels}
	go func() {
		var result Result
		result, r.err = hostOf(k).Run(context.Background(), cfg)
		r.result <- result
	}()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if group, err := cgroup.Open(name); err == nil && r.client.Listens() {
			if pids, _ := group.Procs(); len(pids) > 1 {
				return r
			}
		}
	}
	t.Fatalf("it does not start: %v", r.err)
	return nil
}

func (r *started) ask(t *testing.T, verb string) api.Response {
	t.Helper()
	response, err := r.client.Respond(t.Context(), r.name, api.Respond{Verb: verb})
	if err != nil {
		t.Fatalf("%s: %v", verb, err)
	}
	return response
}

func hostKey(t *testing.T) ed25519.PublicKey {
	t.Helper()
	key, err := host.This.Key()
	if err != nil {
		t.Fatal(err)
	}
	return key.Public().(ed25519.PublicKey)
}

// A run that no agent holds is stopped by its own socket, by nobody else's name.
func TestARunIsStoppedFromOutside(t *testing.T) {
	const name = "stockade-test-control"
	r := startRun(t, name, label.Set{"team": "blue"})
	s, err := r.client.Status(t.Context())
	if err != nil || len(s.Workloads) != 1 || s.PID != os.Getpid() {
		t.Fatalf("%+v, %v", s, err)
	}
	if w := s.Workloads[0]; w.Name != name || w.Principal != `User::"test"` || w.Labels["team"] != "blue" || w.Mode != "enforce" || w.Origin != "run" {
		t.Errorf("%+v", w)
	}
	if _, err := r.client.Respond(t.Context(), "another", api.Respond{Verb: api.VerbKill}); err == nil || !strings.Contains(err.Error(), "no such workload") {
		t.Errorf("another: %v", err)
	}
	if f := r.ask(t, api.VerbFreeze); !f.Verified {
		t.Errorf("%+v", f)
	}
	if s, err := r.client.Status(t.Context()); err != nil || s.Workloads[0].Mode != "lockdown" || len(s.Workloads[0].Responses) != 1 || s.Workloads[0].Responses[0].Verb != api.VerbFreeze {
		t.Errorf("%+v, %v", s, err)
	}
	if f := r.ask(t, api.VerbUnlock); !f.Verified {
		t.Errorf("%+v", f)
	}
	k := r.ask(t, api.VerbKill)
	if !k.Verified || k.Processes < 2 || k.By == nil || k.By.PID != os.Getpid() {
		t.Errorf("%+v", k)
	}
	select {
	case result := <-r.result:
		if result.ExitCode != 128+9 || r.err != nil {
			t.Errorf("exit %d, %v", result.ExitCode, r.err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it does not end")
	}
	if _, ok := ControlSocket(name); ok {
		t.Error("its socket is left")
	}
	by := lock.ActorOf(os.Getpid(), os.Getuid()).String()
	for _, says := range []string{": freeze by " + by + ": verified", ": unlock by " + by + ": verified", ": kill by " + by + ": verified: no process of it lives, and no socket of it is left; evidence " + k.Evidence.Path} {
		if !strings.Contains(strings.Join(r.told.Notes, "\n"), name+says) {
			t.Errorf("who started it is not told of %q: %q", says, r.told.Notes)
		}
	}
	// The run has ended: its evidence is there, and signed.
	if report, err := evidence.VerifyFile(k.Evidence.Path, hostKey(t)); err != nil || report.Workload != name {
		t.Errorf("%+v, %v", report, err)
	}
}

// The status of a run, which is in its evidence, counts the denials that it printed.
func TestARunCountsWhatItPrinted(t *testing.T) {
	r := startRun(t, "stockade-test-counts", nil, abi.Event{Seq: 1, Path: "/a", PathStatus: abi.PathOK}, abi.Event{Seq: 2, Path: "/b", PathStatus: abi.PathOK})
	var w api.Workload
	for end := time.Now().Add(10 * time.Second); w.Delivered < 2 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		s, err := r.client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w = s.Workloads[0]
	}
	if w.Denied != 2 || w.Delivered != 2 || w.Lost != 0 {
		t.Errorf("%+v", w)
	}
	if k := r.ask(t, api.VerbKill); k.ModeBefore != "enforce" {
		t.Errorf("%+v", k)
	}
	<-r.result
}

// A run like a locked one does not start, and one that was locked down by a lock is not
// unlocked by its name.
func TestALockedRunDoesNotStart(t *testing.T) {
	const name = "stockade-test-locked"
	blue := label.Set{"team": "blue"}
	r := startRun(t, name, blue)
	book := lock.Book(host.This.LockBook())
	if err := book.Add(lock.Lock{Selection: label.Selection{Labels: blue}, By: lock.ActorOf(os.Getpid(), 0), At: time.Now(), Reason: "INC-1"}); err != nil {
		t.Fatal(err)
	}
	if u := r.ask(t, api.VerbUnlock); u.Verified || u.Outcome() != "NOT UNLOCKED" || !strings.Contains(u.About(), `"INC-1"`) {
		t.Errorf("unlock: %+v", u)
	}
	for want, labels := range map[string]label.Set{"locked by root": blue, "": {"team": "red"}} {
		cfg := Config{Name: name + "-2", Plan: hosttest.EmptyPlan(), Args: []string{"/bin/true"}, Sink: &hosttest.Recorder{}, Labels: labels}
		_, err := hostOf(new(hosttest.Kernel)).Run(t.Context(), cfg)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "nothing was started")) {
			t.Errorf("%v: %v", labels, err)
		}
	}
	if _, err := book.Remove(label.Selection{Labels: blue}); err != nil {
		t.Fatal(err)
	}
	if u := r.ask(t, api.VerbUnlock); !u.Verified {
		t.Errorf("%+v", u)
	}
	r.ask(t, api.VerbKill)
	<-r.result
}
