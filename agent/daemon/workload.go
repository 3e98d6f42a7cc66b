package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stockade-dev/stockade/agent/config"
	"github.com/stockade-dev/stockade/agent/explain"
	"github.com/stockade-dev/stockade/agent/hold"
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/memory"
	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/fault"
	"github.com/stockade-dev/stockade/compiler"
)

// Where the policy set of a workload comes from.
const (
	fromConfig   = "config"
	fromApply    = "applied"
	fromRollback = "rolled back"
	fromAnswer   = "answered"
	isRemoved    = "removed" // from the configuration; it stays while it confines
)

// installation is what answers for one plan of a workload: for its denials, and for
// what it asks.
type installation struct {
	explain *explain.Explainer
	judge   *hold.Judge
	wired   bool // a policy says how to respond
}

func newInstallation(name string, plan *compiler.Plan) *installation {
	return &installation{explain.New(plan), hold.NewJudge(name, plan), explain.Wired(plan)}
}

// workload is one that the kernel side has.
type workload struct {
	name          string
	id            uint32
	declared      *config.Workload // nil: no longer
	memory        memory.Memory
	known         bool           // memory is that of the installed plan
	plan          *compiler.Plan // nil: not known
	generation    uint32
	mode          abi.Mode
	installations map[uint32]*installation // by generation
	recent        sink.Recent
	past          map[uint64]bool // ids of cgroups that were beneath its own
	outlet        outlet          // nowhere if it is not declared
	run           *runQueue       // of one that a run asked for, else nil
	over          time.Time       // when its process, or the cgroup of a container, was found to be gone
	responses     int             // that go on: its number stays
	last          uint64          // where on the ring its last denial ends at most, 0: not known yet
	err           string
}

// restore learns what the adopted kernel side has.
func (k *keeper) restore() error {
	list, err := k.kernel.Workloads()
	if err != nil {
		return err
	}
	for _, has := range list {
		w := &workload{name: has.Name, id: has.ID, generation: has.Generation, mode: has.Mode}
		m, err := memory.Recall(k.memories(), has.Name)
		if err != nil {
			return err
		}
		if m != nil {
			w.memory, w.known = *m, true
		}
		k.all.add(w)
		if w.generation == 0 && (w.memory.Container != nil || !w.known) { // nothing of it was confined yet
			if _, err := k.release(w); err != nil {
				return err
			}
		}
		if w.known && w.memory.Origin == fromRun {
			w.run = adoptedRunQueue(has.Delivered+has.Lost, has.Lost)
			if _, err := k.release(w); err != nil { // it may have ended meanwhile
				return err
			}
		}
	}
	return nil
}

// commit makes staged changes. At the start, a plan that is installed already
// stays, with its generation.
func (k *keeper) commit(d *draft, start bool) error {
	k.out.spare.turn(d.log)
	declared := map[string]bool{}
	var follow, not []string
	var errs []error
	for _, s := range d.list {
		declared[s.declared.Name] = true
		if err := k.commitOne(s, start); err != nil {
			not, errs = append(not, s.declared.Name), append(errs, err)
		} else {
			follow = append(follow, s.declared.Name)
		}
	}
	k.all.mu.Lock()
	if k.config == nil || k.config.Disarm != d.config.Disarm || !start {
		k.wires.SetDisarm(d.config.Disarm)
	}
	k.config, k.templates = d.config, d.templates
	warn := d.warnings()
	for _, w := range k.all.byName {
		if declared[w.name] {
			continue
		}
		w.declared = nil
		if w.run == nil {
			w.memory.Origin = isRemoved
		}
		if start && w.known { // its denials can still be explained
			if plan, err := compiler.Compile(w.memory.Input); err == nil {
				w.plan, w.installations = plan, map[uint32]*installation{w.generation: newInstallation(w.name, plan)}
			}
		}
	}
	k.all.mu.Unlock()
	for _, text := range warn {
		k.book.once(text, text)
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("configuration: not changed: %s; in force: %s; mend what follows and reload: %w",
		strings.Join(not, ", "), cmp.Or(strings.Join(follow, ", "), "none"), errors.Join(errs...))
}

// unsettled is the base mode in the memory of a workload whose mode is about to
// change: whoever is killed then did not change it by hand.
const unsettled = ^abi.Mode(0)

func (k *keeper) commitOne(s *staged, start bool) error {
	if err := fault.At("agent.commit"); err != nil {
		s.close()
		return fmt.Errorf("workload %s: %w", s.declared.Name, err)
	}
	w, err := k.claimed(s)
	if err != nil {
		s.close()
		return err
	}
	changed := w.plan == nil || s.follow || w.generation == 0
	if start && w.generation > 0 && (!w.known || !s.follow) {
		same, err := k.installed(w, s.plan)
		if err != nil {
			s.close()
			return err
		}
		changed = !same
	}
	during := s.memory
	if w.mode != s.mode || w.generation == 0 {
		during.BaseMode = unsettled
	}
	if err := during.Keep(k.memories(), w.name); err != nil {
		s.close()
		return err
	}
	if changed && s.follow {
		err = k.held.DropGrants(w.name)
	}
	if err != nil {
		s.close()
		return err
	}
	if changed {
		err = k.install(w, s.plan, s.mode)
	} else {
		k.settle(w, s)
	}
	if err == nil {
		s.mode, err = k.kernel.Shift(w.id, s.mode) // what is locked down meanwhile stays so
	}
	if err == nil {
		err = errors.Join(k.kernel.SetStrict(w.id, s.declared.Strict), k.kernel.Grant(w.id, s.declared.Grants))
	}
	if err != nil && w.known { // what is installed is what it was
		err = errors.Join(err, w.memory.Keep(k.memories(), w.name))
	}
	if err == nil && during.BaseMode == unsettled {
		if err := s.memory.Keep(k.memories(), w.name); err != nil {
			k.book.note(err.Error() + ": its mode is in force; an agent that is started anew will follow the configuration")
		}
	}
	w.outlet.turn(s.sinks)
	k.all.mu.Lock()
	w.declared, w.last = s.declared, 0
	if err == nil {
		w.plan, w.memory, w.known, w.mode, w.err = s.plan, s.memory, true, s.mode, ""
	} else {
		w.err = err.Error()
	}
	k.all.mu.Unlock()
	return err
}

// settle applies what is left to apply where the plan stays.
func (k *keeper) settle(w *workload, s *staged) {
	k.all.mu.Lock()
	defer k.all.mu.Unlock()
	if w.plan != s.plan {
		w.installations = map[uint32]*installation{w.generation: newInstallation(w.name, s.plan)}
	}
}

// claimed returns the workload of a change, with its root registered.
func (k *keeper) claimed(s *staged) (_ *workload, err error) {
	w := k.all.byName[s.declared.Name]
	if w == nil {
		id, err := k.kernel.Claim(s.declared.Name)
		if err != nil {
			return nil, err
		}
		w = &workload{name: s.declared.Name, id: id}
		k.all.add(w)
	}
	if w.generation == 0 || w.known && w.memory.Root != s.declared.Root {
		if err = host.RegisterRoot(k.kernel, w.id, s.declared.Root); err != nil {
			return nil, s.declared.Errorf("root", "%w", err)
		}
		if s.memory.RootID, err = host.RootIdentity(s.declared.Root); err != nil {
			return nil, s.declared.Errorf("root", "%w", err)
		}
	} else {
		s.memory.RootID = w.memory.RootID
	}
	return w, nil
}

// installed reports whether a plan is what the kernel walks already.
func (k *keeper) installed(w *workload, plan *compiler.Plan) (bool, error) {
	words, err := k.kernel.Table(w.id)
	return slices.Equal(words, plan.Table.Words()), err
}

// install makes a plan that of a workload. Who explains the denials of the new
// generation is there before the first of them.
func (k *keeper) install(w *workload, plan *compiler.Plan, mode abi.Mode) error {
	next := newInstallation(w.name, plan)
	k.all.mu.Lock()
	now := w.generation
	old := maps.Clone(w.installations)
	w.installations = map[uint32]*installation{now + 1: next}
	if e := old[now]; e != nil {
		w.installations[now] = e
	}
	k.all.mu.Unlock()
	generation, err := uint32(0), fault.At("agent.install")
	if err == nil {
		generation, err = k.kernel.Install(w.id, plan.Table.Words(), mode)
	}
	_ = fault.At("agent.installed")
	k.all.mu.Lock()
	defer k.all.mu.Unlock()
	if err != nil {
		w.installations = old
		return fmt.Errorf("workload %s: %w", w.name, err)
	}
	w.generation = generation
	return nil
}

// sweep gives back the numbers of workloads that are no longer declared and
// confine nothing any more. A run that is followed ends by itself: its last denials and
// its counts go by its number until then.
func (k *keeper) sweep() {
	k.change.Lock()
	defer k.change.Unlock()
	k.learnLocked()
	if err := k.kernel.Guard(k.machine.Own()); err != nil { // somebody may have made them anew
		k.book.once("own directories", err.Error())
	}
	k.sweepContainers()
	k.all.mu.Lock()
	var gone []*workload
	for _, w := range k.all.byName {
		if w.declared == nil && w.memory.Container == nil && (w.run == nil || !w.run.followed()) {
			gone = append(gone, w)
		}
	}
	k.all.mu.Unlock()
	for _, w := range gone {
		gone, err := k.release(w)
		if gone && w.run == nil {
			k.book.note(fmt.Sprintf("workload %s: not declared any more and confines nothing: released", w.name))
		}
		if err != nil {
			k.book.once("release "+w.name, err.Error())
			k.look(w)
		}
	}
}

// learnLocked learns what was locked down in the kernel: by a tripwire whose denial, which
// is responded to as it is read, found no room; or while this agent did not answer.
func (k *keeper) learnLocked() {
	k.all.mu.Lock()
	var list []*workload
	for _, w := range k.all.byName {
		if w.mode != abi.Lockdown && w.generation > 0 && w.responses == 0 {
			list = append(list, w)
		}
	}
	k.all.mu.Unlock()
	for _, w := range list {
		if now, err := k.kernel.Mode(w.id); err != nil || now != abi.Lockdown {
			continue
		}
		k.all.mu.Lock()
		w.mode = abi.Lockdown
		k.all.mu.Unlock()
		by := "by a tripwire, whose denial was lost or is yet to be read"
		if past := k.past().Past(w.name); len(past) > 0 && past[len(past)-1].Unattended {
			by = past[len(past)-1].String()
		}
		k.book.note(fmt.Sprintf("workload %s: locked down in the kernel: %s; look at it, then kill or unlock it", w.name, by))
	}
}

// look learns what is left of a workload that was not released to the end: its
// plan may be gone.
func (k *keeper) look(w *workload) {
	list, _ := k.kernel.Workloads()
	k.all.mu.Lock()
	defer k.all.mu.Unlock()
	w.generation = 0 // declared again, it is installed anew
	for _, has := range list {
		if has.ID == w.id {
			w.generation, w.mode = has.Generation, has.Mode
		}
	}
}
