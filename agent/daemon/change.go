package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/config"
	"github.com/stockade-dev/stockade/agent/lock"
	"github.com/stockade-dev/stockade/agent/policies"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/fault"
	"github.com/stockade-dev/stockade/cgroup"
	"github.com/stockade-dev/stockade/compiler"
)

// Reload reads the configuration and all policies again. On an error nothing is
// changed, and the status shows the error.
func (d *Daemon) Reload() error {
	d.change.Lock()
	defer d.change.Unlock()
	cfg, err := config.Read(d.file)
	if failed := fault.At("agent.reload"); failed != nil {
		err = fmt.Errorf("configuration %s: %w: nothing is changed", d.file, failed)
	}
	var next *draft
	if err == nil {
		next, err = d.stage(cfg)
	}
	if err != nil {
		d.reloaded(err)
		return err
	}
	if was := d.config; was.Socket != cfg.Socket || was.Limits.Tables != cfg.Limits.Tables || was.Limits.Events != cfg.Limits.Events ||
		was.Strict != cfg.Strict || was.Metrics != cfg.Metrics {
		d.book.note("socket, metrics, tables, events, strict: changed in the configuration: they stay as they are until the agent is started again (tables, events, strict: until `stockade uninstall`)")
	}
	err = d.commit(next, false)
	d.holdAsks()
	d.expectAsks()
	err = errors.Join(err, d.groups.set(patternsOf(cfg.Workloads)))
	if d.watchFiles != nil {
		d.watchFiles(d.watched())
	}
	d.reloaded(err)
	return err
}

// reloaded counts and notes how a reload ended.
func (d *Daemon) reloaded(err error) {
	d.figures.reload(err)
	d.book.reloaded(err)
	notify(d.statusLine())
}

// watched lists the files and folders that a reload reads.
func (d *Daemon) watched() []string {
	list := []string{d.file}
	if from := d.config.ContainersFrom; from != "" {
		_ = os.MkdirAll(filepath.Dir(from), 0o700) // who watches it tells
		list = append(list, from)
	}
	for _, w := range d.config.All() {
		list = append(list, w.Policies...)
		if w.Entities != "" {
			list = append(list, w.Entities)
		}
	}
	return list
}

// find returns a workload by its name.
func (k *keeper) find(name string) (*workload, error) {
	if w := k.all.byName[name]; w != nil {
		return w, nil
	}
	return nil, errUnknown(name)
}

// errUnknown is an error about a name that no workload has.
func errUnknown(name string) error {
	return fmt.Errorf("workload %q: %w: nothing was done; see `stockade ps`", name, api.ErrNotFound)
}

// changeable returns a workload whose policies can change.
func (k *keeper) changeable(name string) (*workload, error) {
	w, err := k.find(name)
	if err == nil && w.run != nil {
		return nil, errOfRun(name)
	}
	return w, err
}

// Apply makes a policy set that of a workload, until the configuration says
// something new.
func (d *Daemon) Apply(name string, p api.Policy) (api.Change, error) {
	d.change.Lock()
	defer d.change.Unlock()
	w, err := d.changeable(name)
	if err != nil {
		return api.Change{}, err
	}
	if w.declared == nil {
		return api.Change{}, fmt.Errorf("workload %s: removed from the configuration: nothing was done; declare it again", name)
	}
	input, err := applied(w, p)
	if err != nil {
		return api.Change{}, err
	}
	return d.replace(w, input, fromApply)
}

// applied merges what is to be applied with what the workload has.
func applied(w *workload, p api.Policy) (compiler.Input, error) {
	in := w.memory.Input
	in.Sources = nil
	for _, s := range p.Sources {
		in.Sources = append(in.Sources, compiler.Source{Name: s.Name, Text: []byte(s.Text)})
	}
	if len(in.Sources) == 0 {
		return in, errors.New("policies: none given: nothing was done; name at least one file")
	}
	if p.Entities != nil {
		in.EntitiesName, in.Entities = p.Entities.Name, []byte(p.Entities.Text)
	}
	if p.Principal != nil {
		in.Principal = *p.Principal
	}
	for _, action := range p.Handle {
		a, ok := abi.ParseEnforced(action)
		if !ok {
			return in, fmt.Errorf("handle %q: no action that can be enforced: nothing was done; use one of %s", action, abi.EnforcedActions)
		}
		in.Handled |= abi.MaskOf(a)
	}
	name := w.declared.Baseline
	if p.Baseline != nil {
		name = *p.Baseline
	}
	return in, policies.AddBaseline(&in, name)
}

// Rollback makes the policy set before the present one that of a workload.
func (d *Daemon) Rollback(name string) (api.Change, error) {
	d.change.Lock()
	defer d.change.Unlock()
	w, err := d.changeable(name)
	if err != nil {
		return api.Change{}, err
	}
	if w.memory.Previous == nil || w.declared == nil {
		return api.Change{}, fmt.Errorf("workload %s: has no policy set before the present one: nothing was done; apply one", name)
	}
	return d.replace(w, *w.memory.Previous, fromRollback)
}

// replace compiles an input and installs it; the present one becomes the one
// before. On an error nothing is changed.
func (k *keeper) replace(w *workload, input compiler.Input, origin string) (api.Change, error) {
	plan, err := compiler.Compile(input)
	if err == nil {
		err = k.hooksFor(plan)
	}
	if err != nil {
		return api.Change{}, err
	}
	next := w.memory
	next.Input, next.Previous, next.Origin = input, &w.memory.Input, origin
	if policies.DigestOf(input) == next.Base {
		next.Origin = originOf(next.Container)
	}
	if origin != fromAnswer {
		if err := k.held.DropGrants(w.name); err != nil {
			return api.Change{}, err
		}
	}
	before := w.memory
	next.Previous = &before.Input
	if err := next.Keep(k.memories(), w.name); err != nil {
		return api.Change{}, err
	}
	if err := k.install(w, plan, w.mode); err != nil {
		return api.Change{}, errors.Join(err, before.Keep(k.memories(), w.name))
	}
	k.all.mu.Lock()
	w.plan, w.memory, w.known, w.err = plan, next, true, ""
	generation := w.generation
	k.all.mu.Unlock()
	k.holdAsks()
	return api.Change{Name: w.name, Generation: generation, Digest: plan.DigestName(), Warnings: plan.Warnings}, nil
}

// SetMode changes the mode of a workload: until the configuration says another, but for a
// lockdown, which stays until it is undone.
func (d *Daemon) SetMode(name, text string) (api.Change, error) {
	d.change.Lock()
	defer d.change.Unlock()
	w, err := d.find(name)
	if err != nil {
		return api.Change{}, err
	}
	mode, ok := map[string]abi.Mode{"enforce": abi.Enforce, "audit": abi.Audit, "lockdown": abi.Lockdown}[text]
	if !ok {
		return api.Change{}, fmt.Errorf("mode %q: unknown: nothing was done; use enforce, audit or lockdown", text)
	}
	if mode != abi.Lockdown {
		if l, err := d.lockedBy(w); err != nil {
			return api.Change{}, err
		} else if l != nil {
			return api.Change{}, fmt.Errorf("workload %s: %s: its mode stays", name, l)
		}
	}
	if err := d.kernel.SetMode(w.id, mode); err != nil {
		return api.Change{}, err
	}
	_ = fault.At("agent.mode")
	if mode != abi.Lockdown {
		d.wires.Rearm(name)
	}
	d.all.mu.Lock()
	defer d.all.mu.Unlock()
	w.mode = mode
	change := api.Change{Name: name, Generation: w.generation}
	if w.plan != nil {
		change.Digest = w.plan.DigestName()
	}
	return change, nil
}

// Status says what there is.
func (d *Daemon) Status() (api.Status, error) {
	list, err := d.kernel.Workloads()
	if err != nil {
		return api.Status{}, err
	}
	tasks, err := d.kernel.Tasks()
	if err != nil {
		return api.Status{}, err
	}
	groups := d.groups.of()
	locks, err := d.locks().All()
	if err != nil {
		d.book.once("locks", err.Error())
	}
	notes, failed := d.book.last()
	since, disarmed := d.wires.Disarmed()
	d.all.mu.Lock()
	defer d.all.mu.Unlock()
	s := api.Status{PID: os.Getpid(), Started: d.started.UTC(), Adopted: d.adopted, Kernel: d.machine.Identity, Config: d.file,
		Error: failed, Notes: notes, Workloads: []api.Workload{}}
	if disarmed {
		s.Disarmed = &since
	}
	for _, k := range list {
		one := api.Workload{Name: k.Name, Mode: k.Mode.String(), Generation: k.Generation, Cgroups: groups[k.Name], Tasks: tasks[k.ID],
			Allowed: k.Allowed, Denied: k.Denied, Delivered: k.Delivered, Dropped: k.Dropped, Lost: k.Lost, Withheld: k.Withheld}
		if one.Cgroups == nil {
			one.Cgroups = []string{}
		}
		if w := d.all.byID[k.ID]; w != nil {
			if own, ok := w.ownGroups(); ok {
				one.Cgroups = own
			}
			one.Container = w.container()
			var principal string
			principal, one.Labels = w.traits()
			one.Frozen = cgroup.AnyFrozen(one.Cgroups)
			one.Locked = lock.First(locks, principal, one.Labels)
			one.Responses = d.past().Past(k.Name)
			one.Origin, one.Error, one.Held, one.Sinks = w.memory.Origin, w.err, d.held.Status(k.ID), w.sinkStatus()
			if w.plan != nil {
				one.Digest, one.Principal = w.plan.DigestName(), w.plan.Principal
				for _, a := range w.plan.Handled.Actions() {
					one.Handled = append(one.Handled, a.String())
				}
			}
		}
		s.Workloads = append(s.Workloads, one)
	}
	slices.SortFunc(s.Workloads, func(a, b api.Workload) int { return cmp.Compare(a.Name, b.Name) })
	return s, nil
}

// Subscribe returns denials as they come.
func (d *Daemon) Subscribe() (<-chan string, func()) { return d.out.hub.Subscribe() }

// folders lists the folders in which something must be watched, for a list of
// files and folders.
func folders(paths []string) []string {
	set := map[string]bool{}
	for _, path := range paths {
		set[filepath.Dir(path)] = true
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			set[strings.TrimSuffix(path, "/")] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}
