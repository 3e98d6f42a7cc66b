// Package deputy stops workloads whose keeper, the agent or a run, does not answer: what
// enforces is pinned, and who may open that needs nobody to lock down, freeze and kill.
package deputy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/lock"
	"github.com/stockade-dev/stockade/agent/memory"
	"github.com/stockade-dev/stockade/agent/respond"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/cgroup"
)

// Set is what is pinned.
type Set interface {
	respond.Kernel
	Workloads() ([]bpf.Workload, error)
	Workload(id uint32) (bpf.Workload, error)
	Groups() (map[uint64]uint32, error)
	LockDown(id uint32, name string) error
	Close() error
}

// Deputy acts for one keeper.
type Deputy struct {
	set      Set
	memories string // folder of what an agent remembers; "" for a run
	run      string // its name, if it is a run's
	book     memory.Book
	desk     respond.Desk
}

// OfAgent is that of this host's agent. The error is fs.ErrNotExist if it has no set.
func OfAgent() (*Deputy, error) {
	return open(host.This.Pins, memory.Dir(host.This.State), "", memory.BookOfAgent(host.This.State))
}

// OfRun is that of a run that has a set of its own.
func OfRun(name string) (*Deputy, error) {
	return open(host.PinDir(name), "", name, memory.BookOfRuns(host.This.State))
}

func open(pins, memories, run string, book memory.Book) (*Deputy, error) {
	set, err := bpf.OpenDeputy(pins)
	if errors.Is(err, fs.ErrNotExist) {
		if hidden := host.PinsHidden(pins); hidden != nil {
			return nil, hidden
		}
	}
	if err != nil {
		return nil, err
	}
	return newDeputy(set, memories, run, book), nil
}

func newDeputy(set Set, memories, run string, book memory.Book) *Deputy {
	return &Deputy{set: set, memories: memories, run: run, book: book, desk: respond.Desk{Custody: respond.NewCustody(host.This.Evidence(), host.This.Key), Book: book}}
}

// Close lets go of what is pinned.
func (d *Deputy) Close() error { return d.set.Close() }

// kept is a set as long as a workload has its number: an agent that comes back meanwhile
// may give that to another once nothing of it is left.
type kept struct {
	Set
	of bpf.Workload
}

func (k kept) holds() (bool, error) {
	now, err := k.Set.Workload(k.of.ID)
	return now.Name == k.of.Name, err
}

func (k kept) Roll() ([]bpf.Marked, error) {
	list, err := k.Set.Roll()
	holds, err2 := k.holds()
	if !holds {
		list = nil
	}
	return list, errors.Join(err, err2)
}

func (k kept) Mode(id uint32) (abi.Mode, error) {
	mode, err := k.Set.Mode(id)
	if holds, err2 := k.holds(); !holds {
		err = errors.Join(err, err2, fs.ErrNotExist)
	}
	return mode, err
}

func (k kept) Tasks() (map[uint32]int, error) {
	tasks, err := k.Set.Tasks()
	holds, err2 := k.holds()
	if !holds {
		tasks = nil
	}
	return tasks, errors.Join(err, err2)
}

func (k kept) SetEnding(id uint32, ending bool) error {
	if mode, err := k.Mode(id); err != nil || mode != abi.Lockdown { // it was unlocked meanwhile
		return err
	}
	if err := k.Set.SetEnding(id, ending); err != nil || !ending {
		return err
	}
	mode, err := k.Mode(id)
	if err != nil || mode != abi.Lockdown {
		err = errors.Join(err, k.Set.SetEnding(id, false))
	}
	return err
}

// one is a workload, and what its keeper remembered of it.
type one struct {
	bpf.Workload
	shown  string         // its name, which the set of a run does not know
	memory *memory.Memory // nil: nothing
	err    error          // why
}

func (d *Deputy) all() (list []one, err error) {
	if d.run != "" { // its set has no names
		w, err := d.set.Workload(host.RunWorkload)
		return []one{{Workload: w, shown: d.run}}, err
	}
	set, err := d.set.Workloads()
	for _, w := range set {
		m, err := memory.Recall(d.memories, w.Name)
		list = append(list, one{w, w.Name, m, err})
	}
	return list, err
}

// Workloads lists them as their keeper would, as far as that can be known.
func (d *Deputy) Workloads() (list []api.Workload, err error) {
	all, err := d.all()
	if err != nil {
		return nil, err
	}
	tasks, err := d.set.Tasks()
	if err != nil {
		return nil, err
	}
	g, err := d.groups()
	if err != nil {
		return nil, err
	}
	for _, w := range all {
		list = append(list, d.status(&w, d.targetIn(w, g), tasks[w.ID]))
	}
	return list, nil
}

// status is what can be said of one.
func (d *Deputy) status(w *one, t respond.Target, tasks int) api.Workload {
	s := api.Workload{Name: w.shown, Mode: w.Mode.String(), Generation: w.Generation, Origin: api.OriginUnknown, Cgroups: t.Groups, Tasks: tasks, Frozen: cgroup.AnyFrozen(t.Groups),
		Allowed: w.Allowed, Denied: w.Denied, Delivered: w.Delivered, Dropped: w.Dropped, Lost: w.Lost, Withheld: w.Withheld}
	if w.err != nil {
		s.Error = w.err.Error()
	}
	s.Responses = d.book.Past(w.shown)
	if m := w.memory; m != nil {
		s.Origin, s.Principal, s.Labels = m.Origin, m.Input.Principal, m.Labels
		for _, a := range m.Input.Handled.Actions() {
			s.Handled = append(s.Handled, a.String())
		}
	}
	return s
}

func (d *Deputy) named(name string) (w one, err error) {
	all, err := d.all()
	if err != nil {
		return w, err
	}
	for _, w := range all {
		if w.shown == name {
			return w, nil
		}
	}
	return w, fmt.Errorf("workload %q: %w: nothing was done; see `stockade ps`", name, api.ErrNotFound)
}

// errKeeper is why a workload is not unlocked.
var (
	errKeeper = errors.New("no agent answers, which knows its mode: it stays locked down; start the agent (systemctl restart stockade) and type it again")
	errOver   = errors.New("its run does not answer, and nothing of it lives: nothing is to be unlocked; let the run come to its end (kill -CONT, if it was stopped), or kill that process, too")
	errRun    = errors.New("its run does not answer, which knows its mode: it stays locked down; let the run go on (kill -CONT, if it was stopped) and type it again, or kill what is left of it")
)

// Respond stops a workload, and says what of it was verified.
func (d *Deputy) Respond(by lock.Actor, name string, ask api.Respond) (api.Response, error) {
	w, err := d.named(name)
	if err != nil {
		return *api.NewResponse(name, ask.Verb), err
	}
	return d.desk.Respond(kept{d.set, w.Workload}, by, name, ask, func() (t respond.Target, release func(), err error) {
		t, err = d.target(w)
		return t, func() {}, err
	})
}

// Inspect tells what can be known of a workload now: the denials are with its keeper.
func (d *Deputy) Inspect(ctx context.Context, name string) (i api.Inspection, err error) {
	w, err := d.named(name)
	if err != nil {
		return i, err
	}
	t, err := d.target(w)
	if err != nil {
		return i, err
	}
	tasks, err := d.set.Tasks()
	if err != nil {
		return i, err
	}
	return d.desk.Inspect(ctx, kept{d.set, w.Workload}, t, d.status(&w, t, tasks[w.ID]), nil)
}

// target is what a workload consists of.
func (d *Deputy) target(w one) (respond.Target, error) {
	g, err := d.groups()
	if err != nil {
		return respond.Target{}, err
	}
	return d.targetIn(w, g), nil
}

// targetIn is target, by what is known of cgroups.
func (d *Deputy) targetIn(w one, g groups) respond.Target {
	nothing := func() error { return nil } // its keeper learns it from the kernel
	t := respond.Target{Name: w.shown, ID: w.ID, Unattended: true, Lock: func() error { return d.set.LockDown(w.ID, w.Name) }, Keep: nothing,
		Unlock: func() error { return errKeeper }, Papers: func() []respond.Paper { return d.papers(w) }}
	if m := w.memory; m != nil {
		t.Unlocked, t.Run = m.BaseMode.String(), m.Origin == api.OriginRun
		t.Locks = func() []lock.Lock {
			list, _ := lock.Book(host.This.LockBook()).AllOn(m.Input.Principal, m.Labels)
			return list
		}
	}
	if d.run != "" {
		t.Run, t.OwnSet = true, true
		t.Unlock = func() error { return d.errRun(w.ID) }
		t.Groups = []string{path.Join(cgroup.Parent, d.run)}
		return t
	}
	t.Groups = outermost(w.ID, g.of, g.paths)
	for id, of := range g.of {
		if _, there := g.paths[id]; of == w.ID && !there {
			t.Past = append(t.Past, id)
		}
	}
	return t
}

// errRun is why a run is not unlocked.
func (d *Deputy) errRun(id uint32) error {
	if tasks, err := d.set.Tasks(); err == nil && tasks[id] == 0 {
		return errOver
	}
	return errRun
}

// papers is what is known of it, for evidence. What its keeper alone has is named, with why
// it is not there: an auditor is not to take it for nothing.
func (d *Deputy) papers(w one) []respond.Paper {
	list := []respond.Paper{{Name: respond.PoliciesName, Method: "what the agent remembered", Missing: d.noPolicies(w)}}
	if w.memory != nil {
		list = respond.PolicyPapers(w.memory.Input)
	}
	keeper, waits := "agent", "denials wait for the agent: the next one's log has them"
	if d.run != "" {
		keeper, waits = "run", "denials wait for the run: it prints them if it goes on; without it they are lost"
	}
	return append(list, respond.Paper{Name: respond.DenialsName, Method: "asking the " + keeper, Missing: "nobody answered: " + waits}, respond.Paper{Name: "workload.json", Method: fmt.Sprintf("what is pinned; no %s answered", keeper), Write: func(to io.Writer) error {
		all, err := d.Workloads()
		for _, s := range all {
			if s.Name == w.shown {
				return json.NewEncoder(to).Encode(s)
			}
		}
		return errors.Join(err, fmt.Errorf("workload %s: %w", w.shown, api.ErrNotFound))
	}})
}

// noPolicies says why the policies of one are not known, where they are not.
func (d *Deputy) noPolicies(w one) string {
	const what = ": neither its policies (policies/N.cedar) nor its principal, entities and handled actions are known"
	switch {
	case d.run != "":
		return "the run did not answer, and it alone has them" + what
	case w.err != nil:
		return "the agent did not answer, and its memory cannot be read (" + w.err.Error() + ")" + what
	}
	return "the agent did not answer, and remembered nothing of it" + what
}
