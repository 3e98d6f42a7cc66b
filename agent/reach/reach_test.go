package reach

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/inspect"
	"github.com/stockade-dev/stockade/agent/label"
	"github.com/stockade-dev/stockade/agent/lock"
)

// fakeRun answers as a run that has a set of its own.
type fakeRun struct {
	api.Workload
	doc   inspect.ProcessDocument
	asked []string
	fails error
	// unseen is why its processes cannot be looked at.
	unseen error
}

func (f *fakeRun) Status() (api.Status, error) {
	return api.Status{Workloads: []api.Workload{f.Workload}}, nil
}

func (f *fakeRun) Inspect(context.Context, string) (api.Inspection, error) {
	text, err := json.Marshal(f.doc)
	return api.Inspection{Workload: f.Workload, Processes: text}, errors.Join(err, f.unseen)
}

func (f *fakeRun) Respond(_ api.Peer, name string, r api.Respond) (api.Response, error) {
	f.asked = append(f.asked, r.Verb)
	response := api.NewResponse(name, r.Verb)
	response.Verified = true
	return *response, f.fails
}

// newHost is a host without an agent, and with runs; one socket is left of a dead one.
func newHost(t *testing.T, runs ...*fakeRun) *Host {
	t.Helper()
	dir := t.TempDir()
	sockets := []string{filepath.Join(dir, "@dead.sock")}
	for _, f := range runs {
		socket := filepath.Join(dir, "@"+f.Name+".sock")
		listener, err := api.Listen(socket)
		if err != nil {
			t.Fatal(err)
		}
		server := api.NewResponder(f, func(api.Peer) error { return nil })
		go server.Serve(listener)
		t.Cleanup(func() { server.Close() })
		sockets = append(sockets, socket)
	}
	return &Host{Socket: filepath.Join(dir, "none"), Runs: func() []string { return sockets }, Book: lock.Book(filepath.Join(dir, "locks.json"))}
}

var blue = label.Selection{Labels: label.Set{"team": "blue"}}

func runNamed(name, principal string, labels label.Set) *fakeRun {
	return &fakeRun{Workload: api.Workload{Name: name, Principal: principal, Labels: labels}}
}

func asked(f *fakeRun) string { return strings.Join(f.asked, " ") }

func TestRunsAreReachedWithoutAnAgent(t *testing.T) {
	a, b := runNamed("a", `User::"ci"`, blue.Labels), runNamed("b", `User::"ci"`, nil)
	h := newHost(t, a, b)
	ctx := t.Context()
	if all, err := h.Respond(ctx, "b", api.Respond{Verb: api.VerbFreeze}); err != nil || len(all.Responses) != 1 || all.Responses[0].Workload != "b" {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := h.Respond(ctx, "c", api.Respond{Verb: api.VerbKill}); !errors.Is(err, api.ErrNoAgent) && (err == nil || !strings.Contains(err.Error(), "no agent listens at")) {
		t.Errorf("%v", err)
	}
	for want, s := range map[string]label.Selection{"a": blue, "a b": {Principal: ` User::"ci"`}} {
		all, err := h.RespondMany(ctx, s, api.Respond{Verb: api.VerbThaw})
		var names []string
		for _, r := range all.Responses {
			names = append(names, r.Workload)
		}
		if got := strings.Join(names, " "); got != want || err != nil {
			t.Errorf("%s: %s, %v", s, got, err)
		}
	}
	none := newHost(t)
	if _, err := none.RespondMany(ctx, label.Selection{All: true}, api.Respond{Verb: api.VerbKill}); !errors.Is(err, api.ErrNotFound) || !strings.Contains(err.Error(), "there is none") {
		t.Errorf("%v", err)
	}
	if _, err := h.RespondMany(ctx, label.Selection{Principal: `User::"x"`}, api.Respond{Verb: api.VerbKill}); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("%v", err)
	}
	if s, err := h.Status(ctx); err != nil || len(s.Workloads) != 2 {
		t.Errorf("%+v, %v", s, err)
	}
	if i, err := h.Inspect(ctx, "b"); err != nil || i.Workload.Name != "b" {
		t.Errorf("%+v, %v", i, err)
	}
	if _, err := h.Inspect(ctx, "c"); err == nil {
		t.Error("what there is not is inspected")
	}
	if h.Runs = nil; asked(a) != "thaw thaw" || asked(b) != "freeze thaw" {
		t.Errorf("%s; %s", asked(a), asked(b))
	}
	if _, err := h.Status(ctx); !errors.Is(err, api.ErrNoAgent) {
		t.Errorf("who asks the agent alone: %v", err)
	}
}

func TestLocksHoldWithoutAnAgent(t *testing.T) {
	a, b := runNamed("a", `User::"ci"`, blue.Labels), runNamed("b", `User::"ci"`, nil)
	h := newHost(t, a, b)
	ctx := t.Context()
	all, err := h.Lock(ctx, blue, "INC-1")
	if err != nil || len(all.Responses) != 1 || asked(a) != "lockdown" || asked(b) != "" {
		t.Errorf("%+v, %v; %s; %s", all, err, asked(a), asked(b))
	}
	list, err := h.Locks(ctx)
	if err != nil || len(list) != 1 || list[0].Reason != "INC-1" || list[0].By.PID != os.Getpid() {
		t.Fatalf("%+v, %v", list, err)
	}
	if _, err := h.Unlock(ctx, label.Selection{Principal: `User::"x"`}); !errors.Is(err, lock.ErrNone) {
		t.Errorf("%v", err)
	}
	if all, err := h.Unlock(ctx, blue); err != nil || len(all.Responses) != 1 || asked(a) != "lockdown unlock" || asked(b) != "" {
		t.Errorf("%+v, %v; %s; %s", all, err, asked(a), asked(b))
	}
	if list, err := h.Locks(ctx); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

// A run that fails to do it is one that is not verified, beside others that are.
func TestOneThatFailsIsNotVerified(t *testing.T) {
	a, b := runNamed("a", "", blue.Labels), runNamed("b", "", blue.Labels)
	a.fails = errors.New("locked by another")
	all, err := newHost(t, a, b).RespondMany(t.Context(), blue, api.Respond{Verb: api.VerbUnlock})
	if err != nil || len(all.Responses) != 2 || all.Responses[0].Verified || !all.Responses[1].Verified || !strings.Contains(all.Responses[0].Steps[0].Error, "locked by another") {
		t.Errorf("%+v, %v", all, err)
	}
}
