package daemon

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stockade-dev/stockade/agent/config"
	"github.com/stockade-dev/stockade/agent/container"
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/memory"
)

// template is one for containers, as it was read and compiled once for all of them.
type template struct {
	*config.Template
	reading
	broken error // what is wrong with one that is apart: its containers do not start
}

// workload is what the template declares of a container.
func (t *template) workload(name string, c *memory.Container) *config.Workload {
	w := t.Workload
	w.Name, w.Root = name, strconv.Itoa(c.Process.PID)
	return &w
}

// stageContainers checks the templates of a draft, and stages them for the containers that
// are there. Nothing hangs on whether these live.
func (k *keeper) stageContainers(d *draft) error {
	var errs []error
	for i := range d.config.Containers {
		declared := &d.config.Containers[i]
		t, err := k.stageTemplate(declared)
		if err != nil && declared.Apart {
			t, err = &template{Template: declared, broken: err}, nil
		}
		errs = append(errs, err)
		d.templates = append(d.templates, t)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, w := range k.contained() {
		t := templateNamed(d.templates, w.memory.Container.Template)
		if t == nil || t.Unconfined || t.broken != nil {
			continue // it stays as it is
		}
		s, err := k.stageReading(t.workload(w.name, w.memory.Container), t.reading, w.memory.Container)
		if err != nil && t.Apart {
			t.broken = err
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		d.list = append(d.list, s)
	}
	return errors.Join(errs...)
}

func (k *keeper) stageTemplate(declared *config.Template) (*template, error) {
	t := &template{Template: declared}
	if declared.Broken != nil {
		return nil, declared.Broken
	}
	if err := host.CheckName(declared.Name); err != nil {
		return nil, declared.Errorf("name", "%w", err)
	}
	if declared.Unconfined {
		return t, nil
	}
	progress("compiling the policies of containers, " + declared.Name)
	var err error
	if t.reading, err = read(&declared.Workload); err != nil {
		return nil, err
	}
	if now := templateNamed(k.templates, declared.Name); now != nil && now.base == t.base {
		t.plan = now.plan
	} else if t.plan, err = compileFor(&declared.Workload, t.input); err != nil {
		return nil, err
	}
	if err := k.hooksFor(t.plan); err != nil {
		return nil, declared.Errorf("handle", "%w", err)
	}
	if err := k.hooksForStrict(&declared.Workload); err != nil {
		return nil, err
	}
	trial := &staged{declared: &declared.Workload}
	defer trial.close()
	return t, trial.open(k.std)
}

func templateNamed(list []*template, name string) *template {
	for _, t := range list {
		if t != nil && t.Name == name {
			return t
		}
	}
	return nil
}

// templateLimit is how long a pod's container waits for a template that is written as it
// starts.
const templateLimit = 10 * time.Second

// awaitTemplate waits for one, where a program writes them, for a container that is made.
// Who calls it holds change, which others get meanwhile.
func (cs *containers) awaitTemplate(ask *container.Start) {
	for end := time.Now().Add(templateLimit); cs.config.ContainersFrom != "" && ask.Pod != "" && ask.Process == nil && !cs.ending && time.Now().Before(end); {
		if slices.ContainsFunc(cs.templates, func(t *template) bool { return t.Match.Selects(&ask.Facts) }) {
			return
		}
		cs.change.Unlock()
		time.Sleep(settling / 2)
		cs.change.Lock()
	}
}

// templateFor returns the first template that selects a container.
func (cs *containers) templateFor(f *container.Facts) (*template, error) {
	for _, t := range cs.templates {
		if !t.Match.Selects(f) {
			continue
		}
		if t.broken != nil {
			return nil, fmt.Errorf("template %s: %w: nothing was started", t.Name, t.broken)
		}
		return t, nil
	}
	from := cs.config.File
	if cs.config.ContainersFrom != "" {
		from += " and " + cs.config.ContainersFrom
	}
	has := []string{"name " + strconv.Quote(f.Name), "image " + strconv.Quote(f.Image)}
	if f.Pod != "" {
		has = append(has, "pod "+strconv.Quote(f.Pod))
	}
	if policy, ok := f.Annotations[container.PolicyAnnotation]; ok {
		has = append(has, container.PolicyAnnotation+" "+strconv.Quote(policy))
	}
	return nil, fmt.Errorf("no template of %s selects it (%s): nothing was started; add one to `containers:`, or start it with another runtime",
		from, strings.Join(has, ", "))
}
