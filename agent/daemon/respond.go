package daemon

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/respond"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// Limits on a response: how long is waited until it is verified, if nothing is said, and
// at most.
const (
	respondLimit    = 10 * time.Second
	maxRespondLimit = 10 * time.Minute
)

// responses are those that go on. Who asks for what another asked for already gets the
// same answer.
type responses struct {
	mu   sync.Mutex
	open map[string]*responding // by verb and workload
}

type responding struct {
	done     chan struct{}
	response api.Response
	err      error
}

// Respond stops a workload, or undoes that, and says what of it was verified.
func (d *Daemon) Respond(name string, ask api.Respond) (api.Response, error) {
	do := map[string]func(context.Context, *workload) (api.Response, error){
		api.VerbLockdown: d.lockDown, api.VerbFreeze: d.freeze, api.VerbThaw: d.thaw, api.VerbKill: d.kill, api.VerbUnlock: d.unlock,
	}[ask.Verb]
	within := ask.Within
	switch {
	case do == nil:
		return api.Response{}, fmt.Errorf("respond %q: unknown: nothing was done; use lockdown, freeze, thaw, kill or unlock", ask.Verb)
	case within < 0 || within > maxRespondLimit:
		return api.Response{}, fmt.Errorf("within %v: not up to %v: nothing was done; choose another", within, maxRespondLimit)
	case within == 0:
		within = respondLimit
	}
	r, first := d.responses.join(ask.Verb + " " + name)
	if !first {
		<-r.done
		return r.response, r.err
	}
	defer d.responses.leave(ask.Verb+" "+name, r)
	w, err := d.engage(name)
	if err != nil {
		r.err = err
		return r.response, r.err
	}
	defer d.disengage(w)
	ctx, cancel := context.WithTimeout(context.Background(), within) // it goes on without who asked
	defer cancel()
	if r.response, r.err = do(ctx, w); r.err == nil {
		d.book.note(fmt.Sprintf("workload %s: %s: %s", name, ask.Verb, r.response.Outcome()))
	}
	return r.response, r.err
}

// join returns a response that goes on already, or begins one.
func (rs *responses) join(key string) (r *responding, first bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if r = rs.open[key]; r != nil {
		return r, false
	}
	r = &responding{done: make(chan struct{})}
	rs.open[key] = r
	return r, true
}

func (rs *responses) leave(key string, r *responding) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	delete(rs.open, key)
	close(r.done)
}

// engage keeps the number of a workload from being given back until disengage.
func (k *keeper) engage(name string) (*workload, error) {
	k.all.mu.Lock()
	defer k.all.mu.Unlock()
	w := k.all.byName[name]
	if w == nil {
		return nil, errUnknown(name)
	}
	w.responses++
	return w, nil
}

func (k *keeper) disengage(w *workload) {
	k.all.mu.Lock()
	defer k.all.mu.Unlock()
	w.responses--
}

// inResponse reports whether a response to a workload goes on.
func (k *keeper) inResponse(w *workload) bool {
	k.all.mu.Lock()
	defer k.all.mu.Unlock()
	return w.responses > 0
}

// lockNow locks a workload down at once, whatever change goes on. keep makes it stay.
func (d *Daemon) lockNow(w *workload) func() error {
	return func() error { return d.kernel.SetMode(w.id, abi.Lockdown) }
}

// keep notes the lockdown once the change that goes on, if any, has been made.
func (d *Daemon) keep(w *workload) error {
	_, err := d.SetMode(w.name, abi.Lockdown.String())
	return err
}

func (d *Daemon) lockDown(_ context.Context, w *workload) (api.Response, error) {
	err := d.lockNow(w)()
	if err == nil {
		err = d.keep(w)
	}
	r := api.NewResponse(w.name, api.VerbLockdown)
	r.Verified = err == nil
	return *r, err
}

func (d *Daemon) freeze(ctx context.Context, w *workload) (api.Response, error) {
	return d.kept(w, respond.Freeze(ctx, d.kernel, d.target(w), d.lockNow(w))), nil
}

func (d *Daemon) kill(ctx context.Context, w *workload) (api.Response, error) {
	return d.kept(w, respond.Kill(ctx, d.kernel, d.target(w), d.lockNow(w))), nil
}

// kept is keep for a response that locked the workload down.
func (d *Daemon) kept(w *workload, r api.Response) api.Response {
	if err := d.keep(w); err != nil {
		r.Steps = append(r.Steps, api.Step{Name: "keep the lockdown", At: time.Now().UTC(), Error: err.Error()})
	}
	return r
}

func (d *Daemon) thaw(ctx context.Context, w *workload) (api.Response, error) {
	return respond.Thaw(ctx, d.kernel, d.target(w)), nil
}

// unlock gives a workload back the mode that it was declared or started with, and thaws
// it.
func (d *Daemon) unlock(ctx context.Context, w *workload) (api.Response, error) {
	d.all.mu.Lock()
	mode := w.memory.BaseMode
	if w.declared != nil {
		mode = w.declared.Mode
	}
	d.all.mu.Unlock()
	if _, err := d.SetMode(w.name, mode.String()); err != nil {
		return api.Response{}, err
	}
	r := respond.Thaw(ctx, d.kernel, d.target(w))
	r.Verb = api.VerbUnlock
	return r, nil
}

// target is what a workload consists of. A cgroup beneath which another workload lives is
// left out: what is in it is found by its mark, one by one.
func (d *Daemon) target(w *workload) respond.Target {
	t := respond.Target{Name: w.name, ID: w.id}
	all := d.groups.of()
	d.all.mu.Lock()
	for name, other := range d.all.byName {
		if other.run != nil {
			all[name] = groupOfRun(name)
		}
	}
	d.all.mu.Unlock()
	shared := func(rel string) bool {
		for name, others := range all {
			for _, other := range others {
				if name != w.name && strings.HasPrefix(other+"/", rel+"/") {
					return true
				}
			}
		}
		return false
	}
	for _, rel := range all[w.name] {
		if !shared(rel) {
			t.Groups = append(t.Groups, rel)
		}
	}
	return t
}
