package daemon

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/container"
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/cgroup"
)

const boxConfig = `
socket: sock
log: {file: log, format: json}
containers:
  - {name: pause, unconfined: true, match: {annotation: {kind: sandbox}}}
  - name: box
    match: {annotation: {stockade.dev/policy: box}}
    principal: User::"one"
    policies: one.cedar
`

// crate is a process in a cgroup and a mount namespace of its own, as a runtime prepares one.
type crate struct {
	cmd   *exec.Cmd
	group *cgroup.Group
	ask   container.Start
}

func (y *yard) crate(id string, apart bool) *crate {
	y.t.Helper()
	c := &crate{}
	var err error
	if c.group, err = cgroup.Create(fmt.Sprintf("test-%d-%s", os.Getpid(), id)); err != nil {
		y.t.Skip(err)
	}
	y.t.Cleanup(c.end)
	dir, err := c.group.Dir()
	if err != nil {
		y.t.Fatal(err)
	}
	defer dir.Close()
	c.cmd = exec.Command("sleep", "1000")
	c.cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if apart {
		c.cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	}
	if err := c.cmd.Start(); err != nil {
		y.t.Fatal(err)
	}
	pid := c.cmd.Process.Pid
	c.ask = container.Start{Cgroup: "/" + cgroup.Parent + "/" + c.group.Name(), Facts: container.Facts{ID: id, Root: "/r", Name: "n", Annotations: map[string]string{container.PolicyAnnotation: "box"}},
		Process: &container.Process{PID: pid, Start: host.StartTime(strconv.Itoa(pid))}}
	return c
}

func (c *crate) end() {
	if c.cmd != nil {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
	_ = c.group.Remove()
}

// boxes starts a daemon for containers. Where process 1 does not show its mounts, as in a
// sandbox, this one's are the host's.
func (y *yard) boxes() (*Daemon, func()) {
	y.t.Helper()
	y.set.real = true
	y.write("agent.yaml", boxConfig)
	d, kill := y.up()
	if _, err := os.Readlink("/proc/1/ns/mnt"); err != nil {
		d.hosts = []string{"self"}
	}
	return d, kill
}

// box returns what a status says of one workload, nil if it has none of that name.
func (y *yard) box(d *Daemon, name string) *api.Workload {
	y.t.Helper()
	s := y.status(d)
	for i := range s.Workloads {
		if s.Workloads[i].Name == name {
			return &s.Workloads[i]
		}
	}
	return nil
}

func TestContainersAreHeldFromTheirStartToTheirEnd(t *testing.T) {
	y := newYard(t)
	d, kill := y.boxes()
	c := y.crate("c1", true)
	id, err := c.group.ID()
	if err != nil {
		t.Fatal(err)
	}
	only := c.ask
	only.Process = nil
	if got, err := d.StartContainer(only); err != nil || got != (container.Started{Template: "box", Workload: "box.c1"}) || y.box(d, "box.c1") != nil {
		t.Fatalf("a look: %+v, %v", got, err)
	}
	for range 2 { // as often as it is asked for
		if got, err := d.StartContainer(c.ask); err != nil || got.Workload != "box.c1" {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	w := y.box(d, "box.c1")
	if w == nil || w.Origin != fromContainer || w.Generation != 1 || w.Principal != `User::"one"` || fmt.Sprint(w.Cgroups) != "["+cgroup.Parent+"/"+c.group.Name()+"]" {
		t.Fatalf("%+v", w)
	}
	if w.Container == nil || *w.Container != (api.Container{Template: "box", ID: "c1", Name: "n", PID: c.ask.Process.PID}) {
		t.Errorf("%+v", w.Container)
	}
	number := d.all.byName["box.c1"].id
	if y.set.groups[id] != number || !y.set.container[number] {
		t.Errorf("the set: %v, %v", y.set.groups, y.set.container)
	}
	kill()

	d, kill = y.boxes() // the next agent knows it
	defer func() { kill() }()
	if w := y.box(d, "box.c1"); w == nil || w.Origin != fromContainer || w.Generation != 1 || w.Container == nil {
		t.Fatalf("%+v", w)
	}
	if got, err := d.StartContainer(c.ask); err != nil || got.Workload != "box.c1" {
		t.Errorf("asked again: %+v, %v", got, err)
	}
	d.sweep()
	if y.box(d, "box.c1") == nil {
		t.Error("swept while it runs")
	}
	c.end()
	d.sweep()
	if y.box(d, "box.c1") != nil {
		t.Error("still there after its end")
	}
}

// What has left a container's cgroup keeps its workload, and the agent says so.
func TestAContainerThatOutlivesItsCgroupIsToldOf(t *testing.T) {
	y := newYard(t)
	d, kill := y.boxes()
	defer kill()
	c := y.crate("c1", true)
	if _, err := d.StartContainer(c.ask); err != nil {
		t.Fatal(err)
	}
	w := d.all.byName["box.c1"]
	y.set.change(func() { y.set.tasks = map[uint32]int{w.id: 2} })
	const want = "workload box.c1: its cgroup is gone, and it stays: 2 tasks of it live elsewhere"
	d.sweep()
	c.end()
	d.sweep()
	if y.box(d, "box.c1") == nil || strings.Contains(y.said.String(), want) {
		t.Errorf("just gone: %s", y.said.String())
	}
	w.over = w.over.Add(-rescan)
	d.sweep()
	if y.box(d, "box.c1") == nil || !strings.Contains(y.said.String(), want) {
		t.Errorf("it says: %s", y.said.String())
	}
	y.set.change(func() { y.set.tasks = nil })
	d.sweep()
	if y.box(d, "box.c1") != nil {
		t.Error("still there after its end")
	}
}

func TestContainersFollowTheirTemplate(t *testing.T) {
	y := newYard(t)
	d, kill := y.boxes()
	defer func() { kill() }()
	c, other := y.crate("c1", true), y.crate("c2", true)
	for _, one := range []*crate{c, other} {
		if _, err := d.StartContainer(one.ask); err != nil {
			t.Fatal(err)
		}
	}
	if d.all.byName["box.c1"].plan != d.all.byName["box.c2"].plan {
		t.Error("one template has two plans")
	}
	c.end() // a process that is gone fails no reload
	y.write("one.cedar", permitB)
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	if w := y.box(d, "box.c2"); w.Generation != 2 || w.Origin != fromContainer {
		t.Errorf("after a reload: %+v", w)
	}
	if _, err := d.Apply("box.c2", api.Policy{Sources: []api.Source{{Name: "x", Text: permitA}}}); err != nil {
		t.Fatal(err)
	}
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	if w := y.box(d, "box.c2"); w.Generation != 3 || w.Origin != fromApply {
		t.Errorf("what was applied by hand: %+v", w)
	}
	kill()
	d, kill = y.boxes()
	if w := y.box(d, "box.c2"); w.Generation != 3 || w.Origin != fromApply || d.all.byName["box.c2"].plan.Digest == d.templates[1].plan.Digest {
		t.Errorf("what was applied by hand, in the next agent: %+v", w)
	}
	y.write("agent.yaml", strings.Replace(boxConfig, "name: box", "name: another", 1))
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	if w := y.box(d, "box.c2"); w.Generation != 3 || w.Origin != isRemoved || w.Container == nil {
		t.Errorf("without its template: %+v", w)
	}
	y.write("agent.yaml", strings.Replace(boxConfig, "policies: one.cedar", "policies: none.cedar", 1))
	if err := d.Reload(); err == nil || !strings.Contains(err.Error(), "agent.yaml:9:15: policies: ") {
		t.Errorf("a template whose policies are gone: %v", err)
	}
}

func TestContainersThatCannotBeConfinedDoNotStart(t *testing.T) {
	y := newYard(t)
	d, kill := y.boxes()
	defer kill()
	c := y.crate("c1", true)
	if d.SetMode("box.c1", "audit"); y.box(d, "box.c1") != nil {
		t.Fatal("there before it was started")
	}
	for _, one := range []struct {
		what   string
		change func(ask *container.Start)
		want   string
	}{
		{"no template", func(ask *container.Start) { ask.Annotations = nil }, `no template of ` + y.config() + ` selects it (name "n", image "")`},
		{"another template", func(ask *container.Start) { ask.Annotations = map[string]string{container.PolicyAnnotation: "x"} }, `stockade.dev/policy "x"): nothing was started`},
		{"no id", func(ask *container.Start) { ask.ID = "a/b" }, "not an id"},
		{"another process by now", func(ask *container.Start) { ask.Process = &container.Process{PID: ask.Process.PID, Start: "1"} }, "gone, or another by now"},
		{"the agent's cgroup", func(ask *container.Start) {
			own, err := cgroup.Own()
			if err != nil {
				t.Fatal(err)
			}
			ask.Cgroup, ask.Process = "/"+own, &container.Process{PID: os.Getpid(), Start: host.StartTime("self")}
		}, "the agent is in it, too"},
		{"no cgroup", func(ask *container.Start) { ask.Cgroup = "" }, `cgroup "" of its runtime`},
		{"another cgroup", func(ask *container.Start) { ask.Cgroup += "x" }, "is in /" + cgroup.Parent + "/" + c.group.Name() + " instead"},
		{"all cgroups", func(ask *container.Start) { ask.Cgroup = "/" }, "the agent is in it, too"},
		{"a cgroup above", func(ask *container.Start) { y.crate("c5", true); ask.Cgroup = cgroup.Parent }, "was expected: nothing was started"},
		{"the host's mounts", func(ask *container.Start) { *ask = y.crate("c3", false).ask }, "the host's own, or not known to be others"},
		{"others in its cgroup", func(ask *container.Start) {
			crowd := y.crate("c4", true)
			dir, err := crowd.group.Dir()
			if err != nil {
				t.Fatal(err)
			}
			defer dir.Close()
			more := exec.Command("sleep", "1000")
			more.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
			if err := more.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { more.Process.Kill(); more.Wait() })
			*ask = crowd.ask
		}, "was expected: nothing was started"},
		{"no table", func(*container.Start) { y.set.installErr = fmt.Errorf("the map is full") }, "the map is full"},
	} {
		ask := c.ask
		one.change(&ask)
		got, err := d.StartContainer(ask)
		y.set.installErr = nil
		if err == nil || !strings.Contains(err.Error(), one.want) {
			t.Errorf("%s: %+v, %v\nwant %s", one.what, got, err, one.want)
		}
		if n := len(y.set.groups); n > 0 {
			t.Errorf("%s: %d cgroups are confined", one.what, n)
		}
	}
	sandbox := container.Start{Facts: container.Facts{ID: "p", Annotations: map[string]string{"kind": "sandbox"}}}
	if got, err := d.StartContainer(sandbox); err != nil || got != (container.Started{Template: "pause", Unconfined: true}) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := d.StartContainer(c.ask); err != nil || got.Workload != "box.c1" { // the control
		t.Errorf("%+v, %v", got, err)
	}
	d.ending = true
	if _, err := d.StartContainer(c.ask); err == nil || !strings.Contains(err.Error(), "uninstalled") {
		t.Errorf("after an uninstall: %v", err)
	}
}

// What a hook has moved into a cgroup beneath is confined with the cgroup above, in which
// the runtime executes what comes later.
func TestContainersAreConfinedWithTheirRuntimesCgroup(t *testing.T) {
	y := newYard(t)
	d, kill := y.boxes()
	defer kill()
	c := y.crate("c1", true)
	sub := filepath.Join(c.group.Path(), "sub")
	if err := errors.Join(os.Mkdir(sub, 0o755), os.WriteFile(sub+"/cgroup.procs", []byte(strconv.Itoa(c.ask.Process.PID)), 0)); err != nil {
		t.Fatal(err)
	}
	y.set.real = false // which knows groups of runs alone
	if _, err := d.StartContainer(c.ask); err != nil {
		t.Fatal(err)
	}
	id, _ := c.group.ID()
	inner, _ := cgroup.ID(cgroup.Parent + "/" + c.group.Name() + "/sub")
	if y.set.groups[id] == 0 || y.set.groups[inner] == 0 || len(y.set.groups) != 2 {
		t.Errorf("confined: %v; want %d and %d", y.set.groups, id, inner)
	}
	c.cmd.Process.Kill()
	c.cmd.Wait()
	os.Remove(sub)
}

func TestContainersWithinAnothersCgroupDoNotStart(t *testing.T) {
	y := newYard(t)
	d, kill := y.boxes()
	defer kill()
	y.set.real = false // which knows groups of runs alone
	outer, inner := y.crate("outer", true), y.crate("inner", true)
	if _, err := d.StartContainer(outer.ask); err != nil {
		t.Fatal(err)
	}
	sub := filepath.Join(outer.group.Path(), "sub")
	pid := inner.ask.Process.PID
	if err := errors.Join(os.Mkdir(sub, 0o755), os.WriteFile(sub+"/cgroup.procs", []byte(strconv.Itoa(pid)), 0)); err != nil {
		t.Fatal(err)
	}
	own := inner.ask.Cgroup
	inner.ask.Cgroup = outer.ask.Cgroup + "/sub"
	want := "cgroup " + inner.ask.Cgroup + ": within " + outer.ask.Cgroup + ", which is confined as workload box.outer: nothing was started"
	if got, err := d.StartContainer(inner.ask); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%+v, %v", got, err)
	}
	if len(y.set.groups) != 1 || y.box(d, "box.inner") != nil {
		t.Errorf("confined: %v", y.set.groups)
	}
	inner.ask.Cgroup = own
	if err := errors.Join(os.WriteFile(inner.group.Path()+"/cgroup.procs", []byte(strconv.Itoa(pid)), 0), os.Remove(sub)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.StartContainer(inner.ask); err != nil { // the control
		t.Error(err)
	}
}

func TestContainersOfOneIdAreToldApart(t *testing.T) {
	y := newYard(t)
	d, kill := y.boxes()
	defer kill()
	first, second := y.crate("same", true), y.crate("other", true)
	second.ask.ID = "same" // of another engine
	second.ask.Root = "/elsewhere"
	names := map[string]bool{}
	for _, c := range []*crate{first, second, first, second} {
		got, err := d.StartContainer(c.ask)
		if err != nil || !strings.HasPrefix(got.Workload, "box.same") {
			t.Fatalf("%+v, %v", got, err)
		}
		names[got.Workload] = true
	}
	if len(names) != 2 || !names["box.same"] {
		t.Errorf("names: %v", names)
	}
	first.end()
	again := y.crate("again", true)
	again.ask.ID = "same"
	if got, err := d.StartContainer(again.ask); err != nil || got.Workload != "box.same" {
		t.Errorf("started again: %+v, %v", got, err)
	}
}

func TestAContainerWhoseAgentDiedInBetweenIsNotLeftHalf(t *testing.T) {
	y := newYard(t)
	d, kill := y.boxes()
	c := y.crate("c1", true)
	if _, err := d.StartContainer(c.ask); err != nil {
		t.Fatal(err)
	}
	kill()
	id, _ := c.group.ID()
	y.set.change(func() { delete(y.set.groups, id) }) // as if it had been killed before
	d, kill = y.boxes()
	if got, err := d.StartContainer(c.ask); err != nil || got.Workload != "box.c1" || y.set.groups[id] == 0 {
		t.Errorf("%+v, %v; the set: %v", got, err, y.set.groups)
	}
	memories := filepath.Join(d.memories(), "box.c1.json")
	nothing := func() {
		t.Helper()
		if left, err := filepath.Glob(memories + "*"); err != nil || len(left) > 0 || y.box(d, "box.c1") != nil {
			t.Errorf("half of it is left: %v, %+v", left, y.box(d, "box.c1"))
		}
	}
	kill()
	y.set.change(func() { delete(y.set.groups, id); y.set.list[0].Generation = 0 }) // and before its plan
	d, kill = y.boxes()
	nothing()
	if _, err := d.StartContainer(c.ask); err != nil {
		t.Fatal(err)
	}
	kill()
	y.set.change(func() { delete(y.set.groups, id); y.set.list[0].Generation = 0 }) // and before its memory
	if err := os.Rename(memories, memories+".new"); err != nil {
		t.Fatal(err)
	}
	d, kill = y.boxes()
	defer kill()
	nothing()
	if got, err := d.StartContainer(c.ask); err != nil || got.Workload != "box.c1" || y.set.groups[id] == 0 {
		t.Errorf("%+v, %v; the set: %v", got, err, y.set.groups)
	}
}

func TestContainersAreCountedByTheirTemplate(t *testing.T) {
	y := newYard(t)
	d, kill := y.boxes()
	defer kill()
	c := y.crate("c1", true)
	pod := y.crate("c2", true)
	pod.ask.Pod = "team/web/u"
	for _, one := range []*crate{c, pod} {
		if _, err := d.StartContainer(one.ask); err != nil {
			t.Fatal(err)
		}
	}
	y.set.Counts = abi.Counters{Denied: 5, Dropped: 5, Allowed: 7}
	y.set.change(func() { y.set.list[0].Counters = y.set.Counts })
	for range 2 {
		text := scraped(d)
		for _, want := range []string{`stockade_denied_total{workload="(containers of box)"} 5`, `stockade_allowed_total{workload="(containers of box)"} 7`, `stockade_denied_total{workload="(pods of team)"} `} {
			if !strings.Contains(text, want) {
				t.Errorf("%s is missing in\n%s", want, text)
			}
		}
		c.end()
		pod.end()
		d.sweep()
	}
	if text := scraped(d); !strings.Contains(text, "stockade_containers 0\n") || strings.Contains(text, `"box.c1"`) {
		t.Errorf("%s", text)
	}
}
