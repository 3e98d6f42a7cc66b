package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/lock"
	"github.com/stockade-dev/stockade/agent/respond"
	"github.com/stockade-dev/stockade/agent/tripwire"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/cgroup"
)

// closeLimit is how long the end of a run waits for responses that go on: what is left of
// a kill when its processes are gone is to verify that, and to sign the evidence.
const closeLimit = respond.DefaultWithin + respond.SealLimit

// controlSocket is where a run that has a set of its own can be told to stop: the names of
// runs have no @.
func controlSocket(name string) string { return filepath.Join(host.StateRoot, "@"+name+".sock") }

// ControlSockets lists those of all runs, also of some that are gone.
func ControlSockets() []string {
	list, _ := filepath.Glob(filepath.Join(host.StateRoot, "@*.sock")) // the pattern is none that is wrong
	return list
}

// Pinned lists the sockets of runs whose sets are pinned, whether there is a socket or not:
// somebody may have removed it, or the run is being made ready.
func Pinned() (list []string) {
	pins, _ := filepath.Glob(filepath.Join(host.PinRoot, "*"))
	for _, dir := range pins {
		name := strings.ReplaceAll(filepath.Base(dir), ",", ".") // see host.PinDir
		if host.CheckName(name) == nil {
			list = append(list, controlSocket(name))
		}
	}
	return list
}

// ControlSocket returns that of a run, and whether there is one.
func ControlSocket(name string) (socket string, ok bool) {
	if host.CheckName(name) != nil {
		return "", false
	}
	_, err := os.Lstat(controlSocket(name))
	return controlSocket(name), err == nil
}

// control answers for a run that has a set of its own, as an agent does for its workloads.
type control struct {
	s   *session
	own host.Enforcer
	// tripping are responses to denials that go on.
	tripping sync.WaitGroup
	desk     respond.Desk
	server   *http.Server
	started  time.Time
}

func newControl(s *session, own host.Enforcer) *control {
	c := &control{s: s, own: own, started: time.Now(), desk: respond.Desk{Custody: respond.NewCustody(host.This.Evidence(), host.This.Key),
		Done: func(r *api.Response) { s.note(r.Note()) }}} // who typed the run is to know who stopped it
	c.desk.Book = s.past()
	return c
}

// listen lets it be asked.
func (c *control) listen() error {
	listener, err := api.Listen(controlSocket(c.s.cfg.Name))
	if err != nil {
		return fmt.Errorf("%w: nothing was started", err)
	}
	c.server = api.NewResponder(c, func(p api.Peer) error { return host.This.MayCommand(c.own, p.PID, p.UID) })
	go func(l net.Listener) { _ = c.server.Serve(l) }(listener)
	return nil
}

// tripped responds to a denial: all is denied from now on, and the rest takes its time.
func (c *control) tripped(r tripwire.Response) {
	name := c.s.cfg.Name
	if err := c.setMode(abi.Lockdown); err != nil {
		c.s.cfg.Sink.Note(name, fmt.Sprintf("%s: lockdown: %v: it is NOT locked down; kill it", r.Why, err))
	}
	c.tripping.Go(func() {
		err := respond.Survive(func() error { // nobody else's recover is above it
			_, err := c.respond(lock.Actor{UID: os.Getuid(), PID: os.Getpid(), Login: -1, Name: r.Why}, name, api.Respond{Verb: r.Verb})
			return err
		})
		if err != nil {
			c.s.cfg.Sink.Note(name, fmt.Sprintf("%s by %s: %v", r.Verb, r.Why, err))
		}
	})
}

// settle lets responses end, for a while.
func (c *control) settle() {
	if c != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
		defer cancel()
		c.tripping.Wait() // they end as responses do
		c.desk.Wait(ctx)
	}
}

// close lets responses end, for a while: who asked for one is to know how it ended.
func (c *control) close() {
	if c == nil || c.server == nil {
		return
	}
	c.settle()
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	if c.server.Shutdown(ctx) != nil {
		c.server.Close()
	}
	_ = c.s.past().Forget(c.s.cfg.Name)
	_ = os.Remove(controlSocket(c.s.cfg.Name)) // the next of that name does
}

// Status says what there is.
func (c *control) Status() (api.Status, error) {
	counters, err := c.own.Counters(workloadID)
	if err != nil {
		return api.Status{}, err
	}
	marked, err := c.own.Roll()
	if err != nil {
		return api.Status{}, err
	}
	mode, err := c.own.Mode(workloadID)
	if err != nil {
		return api.Status{}, err
	}
	cfg := c.s.cfg
	w := api.Workload{Name: cfg.Name, Mode: mode.String(), Generation: c.s.generation, Digest: cfg.Plan.DigestName(), Origin: "run",
		Principal: cfg.Plan.Principal, Labels: cfg.Labels, Cgroups: []string{path.Join(cgroup.Parent, cfg.Name)}, Tasks: len(marked),
		Allowed: counters.Allowed, Denied: counters.Denied, Delivered: c.s.watch.written.Load(), Dropped: counters.Dropped, Lost: c.s.watch.lost.Load(), Withheld: counters.Withheld}
	w.Frozen, _ = c.s.group.Frozen() // it may be gone
	w.Responses = c.s.past().Past(cfg.Name)
	for _, a := range cfg.Plan.Handled.Actions() {
		w.Handled = append(w.Handled, a.String())
	}
	return api.Status{PID: os.Getpid(), Started: c.started.UTC(), Kernel: host.This.Identity, Workloads: []api.Workload{w}}, nil
}

// Respond stops the workload, or undoes that, and says what of it was verified.
func (c *control) Respond(by api.Peer, name string, ask api.Respond) (api.Response, error) {
	return c.respond(lock.ActorOf(by.PID, int(by.UID)), name, ask)
}

func (c *control) respond(by lock.Actor, name string, ask api.Respond) (api.Response, error) {
	return c.desk.Respond(c.own, by, name, ask, func() (t respond.Target, release func(), err error) {
		t, err = c.target(name)
		return t, func() {}, err
	})
}

// target is what the workload consists of, if it has that name.
func (c *control) target(name string) (t respond.Target, err error) {
	if name != c.s.cfg.Name {
		return t, fmt.Errorf("workload %q: %w: nothing was done; this is the run %s", name, api.ErrNotFound, c.s.cfg.Name)
	}
	return respond.Target{Name: name, ID: workloadID, Unlocked: c.s.cfg.Mode.String(), Groups: []string{path.Join(cgroup.Parent, name)},
		Lock: func() error { return c.setMode(abi.Lockdown) }, Keep: func() error { return nil }, Unlock: c.unlock, Papers: c.papers,
		Run: true, OwnSet: true, Locks: c.s.cfg.locks}, nil
}

// Inspect tells what can be known of the workload now.
func (c *control) Inspect(ctx context.Context, name string) (i api.Inspection, err error) {
	t, err := c.target(name)
	if err != nil {
		return i, err
	}
	s, err := c.Status()
	if err != nil {
		return i, err
	}
	return c.desk.Inspect(ctx, c.own, t, s.Workloads[0], c.s.watch.recent.Last())
}

// papers is what the run knows of itself, for evidence.
func (c *control) papers() []respond.Paper {
	return append(respond.PolicyPapers(c.s.cfg.Input), respond.Paper{Name: "workload.json", Method: "the run's status", Write: func(w io.Writer) error {
		s, err := c.Status()
		if err != nil {
			return err
		}
		return json.NewEncoder(w).Encode(s.Workloads[0])
	}}, respond.DenialPaper(c.s.watch.recent.Last()))
}

func (c *control) setMode(mode abi.Mode) error {
	err := c.own.SetMode(workloadID, mode)
	if err == nil && mode != abi.Lockdown {
		c.s.watch.wires.Rearm(c.s.cfg.Name)
		err = c.s.past().Forget(c.s.cfg.Name)
	}
	return err
}

// unlock gives the workload its mode back, unless it is locked.
func (c *control) unlock() error {
	if err := c.s.cfg.admitted("its mode stays"); err != nil {
		return err
	}
	return c.setMode(c.s.cfg.Mode)
}

// locks are those on the run.
func (cfg *Config) locks() []lock.Lock {
	list, _ := lock.Book(host.This.LockBook()).AllOn(cfg.Plan.Principal, cfg.Labels) // what cannot be read is told by unlock
	return list
}

// admitted refuses a run that is locked.
func (cfg *Config) admitted(follows string) error {
	l, err := lock.Book(host.This.LockBook()).On(cfg.Plan.Principal, cfg.Labels)
	if err == nil && l != nil {
		err = errors.New(l.String())
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", cfg.Name, err, follows)
	}
	return nil
}
