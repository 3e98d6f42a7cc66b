package respond

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/lock"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/cgroup"
)

// Limits on a response: how long is waited until it is verified, if nothing is said, and
// at most.
const (
	DefaultWithin = 10 * time.Second
	MaxWithin     = 10 * time.Minute
)

// Desk takes what is asked for. Who asks for what another asked for already gets the
// same answer.
type Desk struct {
	// Custody is that of the evidence of those that are killed; nil: none is taken.
	Custody *Custody
	// Book, if there is one, keeps what was done.
	Book Book
	// Done, if there is one, is told of each once it is done, by whom, before anybody else.
	Done func(r *api.Response)

	mu   sync.Mutex
	open map[string]*answer // by verb and workload
}

// Book keeps what was done to workloads since they were last unlocked.
type Book interface {
	Past(name string) []api.Past
	Remember(name string, p api.Past) error
}

type answer struct {
	ask      api.Respond
	done     chan struct{}
	response api.Response
	err      error
}

// Respond does what by asks of a workload, unless it is being done. find returns the
// workload, which stays what it is until release.
func (d *Desk) Respond(k Kernel, by lock.Actor, name string, ask api.Respond, find func() (t Target, release func(), err error)) (api.Response, error) {
	do := verbs[ask.Verb]
	switch {
	case do == nil && ask.Verb != api.VerbKill:
		return api.Response{}, fmt.Errorf("respond %q: unknown: nothing was done; use lockdown, freeze, thaw, kill or unlock", ask.Verb)
	case ask.Within < 0 || ask.Within > MaxWithin:
		return api.Response{}, fmt.Errorf("within %v: not up to %v: nothing was done; choose another", ask.Within, MaxWithin)
	case ask.Evidence != "" && (ask.NoEvidence || !filepath.IsAbs(ask.Evidence)):
		return api.Response{}, fmt.Errorf("evidence %q: not the whole path of a file, or none is wanted: nothing was done; begin it with a slash", ask.Evidence)
	case ask.Evidence != "" && d.Custody == nil:
		return api.Response{}, fmt.Errorf("evidence %q: none is taken here: nothing was done; leave it out", ask.Evidence)
	case ask.Within == 0:
		ask.Within = DefaultWithin
	}
	key := ask.Verb + " " + name
	a, first, err := d.join(key, name, &ask)
	if err != nil {
		return api.Response{}, err
	}
	if !first {
		<-a.done
		return a.response, a.err
	}
	defer d.leave(key, a)
	t, release, err := find()
	if err != nil {
		a.err = err
		return a.response, a.err
	}
	defer release()
	ctx, cancel := context.WithTimeout(context.Background(), ask.Within) // it goes on without who asked
	defer cancel()
	r := begin(k, t, ask.Verb)
	r.By = &by // the evidence says so, too
	r.lookBefore()
	if d.Book != nil {
		r.Before = d.Book.Past(name)
		r.Already = r.before()
	}
	if d.Book != nil && !r.again() {
		r.begun = func() { // whoever ends this: what it leaves behind is not without a name
			p := past(r.Response)
			p.Unfinished = true
			_ = d.Book.Remember(name, p) // the end tells what fails
		}
	}
	a.err = Survive(func() error { // each step does: this is for what is between them
		if do == nil {
			return r.end(ctx, d.Custody, &ask)
		}
		return do(r, ctx)
	})
	r.look()
	if a.err == nil && !(r.again() && r.Verified) {
		d.remember(r.Response)
	}
	if a.response = *r.Response; a.err == nil {
		if d.Done != nil {
			d.Done(r.Response)
		}
	}
	return a.response, a.err
}

// before is what had done already what is asked for, which the kernel must bear out. What
// the same command did, or one that did not end, is none.
func (r *response) before() *api.Past {
	mode, err := r.kernel.Mode(r.target.ID)
	switch {
	case err != nil || mode != abi.Lockdown:
		return nil
	case r.Verb == api.VerbFreeze && !cgroup.AnyFrozen(r.target.Groups):
		return nil
	case r.Verb != api.VerbFreeze && r.Verb != api.VerbLockdown:
		return nil
	}
	var other *api.Past
	for i := range r.Before {
		p := &r.Before[i]
		switch {
		case p.Unfinished || p.By == *r.By:
		case p.Verb == r.Verb && r.Verb == api.VerbFreeze:
			other = p // the last one: it may have been thawed in between
		case p.Verb == r.Verb:
			return p
		case r.Verb == api.VerbLockdown && other == nil:
			other = p // which began with a lockdown
		}
	}
	return other
}

// again: is it what was done already, by the same verb? Then the first one is remembered.
func (r *response) again() bool { return r.Already != nil && r.Already.Verb == r.Verb }

// look says of what was locked down whether it still is: an agent that came back, or who
// declared another mode, may have undone it meanwhile.
func (r *response) look() {
	if r.undone() {
		r.Steps = append(r.Steps, api.Step{Name: api.StepKeep, At: time.Now().UTC(), Error: errUndone.Error()})
	}
}

var errUndone = errors.New("it was unlocked meanwhile: nothing more is done to it; type it again if it is to end")

// undone: is it not locked down any more?
func (r *response) undone() bool {
	mode, err := r.kernel.Mode(r.target.ID)
	return err == nil && mode != abi.Lockdown && r.LockedDown()
}

// remember keeps what was done to a workload, but for what undoes it.
func (d *Desk) remember(r *api.Response) {
	if len(r.Steps) == 0 || r.Verb == api.VerbThaw || r.Verb == api.VerbUnlock || d.Book == nil {
		return
	}
	if err := d.Book.Remember(r.Workload, past(r)); err != nil {
		r.Steps = append(r.Steps, api.Step{Name: "remember", At: time.Now().UTC(), Error: err.Error()})
	}
}

// past is what is remembered of a response.
func past(r *api.Response) api.Past {
	p := api.Past{Verb: r.Verb, By: *r.By, At: r.Steps[0].At, Verified: r.Verified, Unattended: r.Unattended}
	if r.Evidence != nil {
		p.Evidence, p.Incomplete = r.Evidence.Path, len(r.Evidence.Missing) > 0
	}
	return p
}

// Wait waits until nothing is being done, at most until ctx ends.
func (d *Desk) Wait(ctx context.Context) {
	for {
		d.mu.Lock()
		var one *answer
		for _, one = range d.open {
			break
		}
		d.mu.Unlock()
		if one == nil {
			return
		}
		select {
		case <-one.done:
		case <-ctx.Done():
			return
		}
	}
}

// join returns an answer that is being made already, or begins one. What is killed is not
// let go meanwhile, and evidence that is asked for is not dropped.
func (d *Desk) join(key, name string, ask *api.Respond) (a *answer, first bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	const wait = "nothing was done; wait for its end"
	switch a = d.open[key]; {
	case a != nil && ask.Evidence != "" && ask.Evidence != a.ask.Evidence:
		return nil, false, fmt.Errorf("workload %s: a kill with other evidence goes on: %s", name, wait)
	case a != nil:
		return a, false, nil
	case d.open[api.VerbKill+" "+name] != nil && (ask.Verb == api.VerbUnlock || ask.Verb == api.VerbThaw):
		return nil, false, fmt.Errorf("workload %s: a kill goes on: %s", name, wait)
	}
	if d.open == nil {
		d.open = map[string]*answer{}
	}
	a = &answer{ask: *ask, done: make(chan struct{})}
	d.open[key] = a
	return a, true, nil
}

func (d *Desk) leave(key string, a *answer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, key)
	close(a.done)
}
