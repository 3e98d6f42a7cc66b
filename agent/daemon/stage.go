package daemon

import (
	"errors"
	"fmt"

	"github.com/stockade-dev/stockade/agent/config"
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/memory"
	"github.com/stockade-dev/stockade/agent/policies"
	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/fault"
	"github.com/stockade-dev/stockade/compiler"
)

// staged is a change that was checked and not made yet.
type staged struct {
	declared *config.Workload
	memory   memory.Memory
	plan     *compiler.Plan
	mode     abi.Mode
	sinks    *sink.Fan
	follow   bool // the configuration says something new
}

// draft is a configuration that was checked and not made yet.
type draft struct {
	config    *config.Config
	log       *sink.Fan // of denials that no workload takes
	list      []*staged
	templates []*template
}

// close closes what was opened for a draft that is not made.
func (d *draft) close() {
	d.log.Discard()
	for _, s := range d.list {
		s.close()
	}
}

// warnings are about what is in order, and may not do what it seems to.
func (d *draft) warnings() (list []string) {
	for _, t := range d.templates {
		switch {
		case t.broken != nil:
			list = append(list, t.broken.Error())
		case !t.Unconfined:
			list = append(list, t.plan.Container.Warnings...)
		}
	}
	return list
}

// stage checks a configuration to the end: every policy set compiles, every log
// opens. Nothing is changed.
func (k *keeper) stage(cfg *config.Config) (*draft, error) {
	log, err := openLog(cfg.Log, k.std)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cfg.File, err)
	}
	d := &draft{config: cfg, log: &sink.Fan{First: log}}
	var errs []error
	for i := range cfg.Workloads {
		progress(fmt.Sprintf("compiling the policies of %s, %d of %d", cfg.Workloads[i].Name, i+1, len(cfg.Workloads)))
		s, err := k.stageOne(&cfg.Workloads[i])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		d.list = append(d.list, s)
	}
	errs = append(errs, k.stageContainers(d))
	if err := errors.Join(errs...); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// reading is what the files of a workload came to.
type reading struct {
	input compiler.Input
	base  string
	plan  *compiler.Plan // nil: not compiled yet
}

func read(declared *config.Workload) (r reading, err error) {
	if r.input, err = policies.InputOf(declared); err == nil {
		r.base = policies.DigestOf(r.input)
	}
	return r, err
}

func (k *keeper) stageOne(declared *config.Workload) (*staged, error) {
	if err := fault.At("agent.stage"); err != nil {
		return nil, declared.Errorf("name", "%w", err)
	}
	if err := host.CheckName(declared.Name); err != nil {
		return nil, declared.Errorf("name", "%w", err)
	}
	if w := k.all.byName[declared.Name]; declared.Root != "" && !w.rooted(declared.Root) {
		if _, err := host.RootProcess(declared.Root); err != nil {
			return nil, declared.Errorf("root", "%w", err)
		}
	}
	r, err := read(declared)
	if err != nil {
		return nil, err
	}
	return k.stageReading(declared, r, nil)
}

// stageReading is stageOne for what was read, of a workload that is a container, or none.
func (k *keeper) stageReading(declared *config.Workload, r reading, of *memory.Container) (*staged, error) {
	s := &staged{declared: declared, mode: declared.Mode,
		memory: memory.Memory{Base: r.base, BaseMode: declared.Mode, Root: declared.Root, Origin: originOf(of), Input: r.input, Labels: declared.Labels, Budget: declared.Budget, Container: of}}
	w := k.all.byName[declared.Name]
	switch {
	case w != nil && w.memory.Container != of:
		return nil, declared.Errorf("name", "name %s: in use by a container: nothing is changed; wait for its end, or choose another", w.name)
	case w != nil && w.run != nil:
		return nil, declared.Errorf("name", "name %s: in use by a run: nothing is changed; wait for its end, or choose another", w.name)
	case w == nil || !w.known:
		s.follow = true
	case w.memory.Base == r.base:
		s.memory.Input, s.memory.Previous, s.memory.Origin = w.memory.Input, w.memory.Previous, w.memory.Origin
		if s.memory.Origin == isRemoved {
			s.memory.Origin = originOf(of)
		}
		s.plan = w.plan
	default:
		s.follow = true
		before := w.memory.Input // a copy: w gets this memory
		s.memory.Previous = &before
	}
	if w != nil && (w.mode == abi.Lockdown || w.known && w.memory.BaseMode == declared.Mode) {
		s.mode = w.mode // changed by hand, or not at all; a lockdown ends with an unlock
	}
	if l, err := k.locks().On(canonical(r.input.Principal), declared.Labels); err != nil {
		return nil, declared.Errorf("name", "%w: nothing is changed", err)
	} else if l != nil {
		s.mode = abi.Lockdown
	}
	if w != nil && w.known && w.memory.Root != declared.Root {
		if err := k.unused(w); err != nil {
			return nil, declared.Errorf("root", "root: %w: it cannot change while the workload confines anything", err)
		}
	}
	if s.plan == nil && s.memory.Origin == fromContainer {
		s.plan = r.plan
	}
	if s.plan == nil {
		var err error
		if s.plan, err = compileFor(declared, s.memory.Input); err != nil {
			return nil, err
		}
	}
	if err := k.hooksFor(s.plan); err != nil {
		return nil, declared.Errorf("handle", "%w", err)
	}
	if err := k.hooksForStrict(declared); err != nil {
		return nil, err
	}
	return s, s.open(k.std)
}

// compileFor compiles what is declared.
func compileFor(declared *config.Workload, input compiler.Input) (*compiler.Plan, error) {
	plan, err := compiler.Compile(input)
	if texts := (compiler.Errors)(nil); err != nil && !errors.As(err, &texts) { // those have their place
		err = declared.Errorf("principal", "workload %s: %w", declared.Name, err)
	}
	return plan, err
}

// rooted: was the root of a process registered? Whether that lives does not matter then.
func (w *workload) rooted(of string) bool {
	return w != nil && w.known && w.generation > 0 && w.memory.Root == of
}

// hooksFor refuses a plan whose actions no attached hook decides.
func (k *keeper) hooksFor(plan *compiler.Plan) error {
	if k.kernel == nil {
		return nil // not loaded yet
	}
	if lack := plan.Handled &^ k.kernel.Handled(); lack != 0 {
		return fmt.Errorf("handle %s: the pinned set has no hooks for it: nothing is changed; end the workloads, run `stockade uninstall` and start again", lack)
	}
	return nil
}

// hooksForStrict refuses what is to be strict where no hooks for that are attached.
func (k *keeper) hooksForStrict(declared *config.Workload) error {
	if !declared.Strict || k.kernel == nil || k.kernel.Strict() {
		return nil
	}
	return declared.Errorf("strict", "strict: the pinned set has no hooks for it: nothing is changed; write `strict: true` at the top of the configuration, end the workloads, run `stockade uninstall` and start again")
}

// unused returns an error if a workload has tasks or cgroups.
func (k *keeper) unused(w *workload) error {
	tasks, err := k.kernel.Tasks()
	if err != nil {
		return err
	}
	groups, err := k.kernel.Groups()
	if err != nil {
		return err
	}
	n := 0
	for _, id := range groups {
		if id == w.id {
			n++
		}
	}
	if n+tasks[w.id] > 0 {
		return fmt.Errorf("workload %s: has %s and %s", w.name, sink.Plural(tasks[w.id], "task"), sink.Plural(n, "cgroup"))
	}
	return nil
}
