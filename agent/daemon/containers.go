package daemon

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/container"
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/memory"
	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/bpf/fault"
	"github.com/stockade-dev/stockade/cgroup"
)

// fromContainer is the origin of a workload that a template made of a container.
const fromContainer = "container"

// originOf is that of a workload that follows the configuration.
func originOf(c *memory.Container) string {
	if c != nil {
		return fromContainer
	}
	return fromConfig
}

// contained lists the workloads that are containers, by name. Who calls it holds change.
func (k *keeper) contained() (list []*workload) {
	for _, w := range k.all.byName {
		if w.memory.Container != nil {
			list = append(list, w)
		}
	}
	slices.SortFunc(list, func(a, b *workload) int { return cmp.Compare(a.name, b.name) })
	return list
}

// containers holds those that the wrapper of a runtime starts.
type containers struct {
	*keeper
	hosts []string // processes that have the host's mounts
}

// StartContainer says whether a container may start, and confines one whose process is
// prepared. On an error nothing is confined that was not.
func (cs *containers) StartContainer(ask container.Start) (container.Started, error) {
	if err := ask.Check(); err != nil {
		return container.Started{}, err
	}
	cs.change.Lock()
	defer cs.change.Unlock()
	cs.awaitTemplate(&ask)
	started, err := cs.start(&ask)
	if err != nil {
		err = fmt.Errorf("%s: %w", &ask, err)
		cs.book.note(err.Error())
	}
	return started, err
}

func (cs *containers) start(ask *container.Start) (started container.Started, err error) {
	if cs.ending {
		return started, errors.New("agent: its enforcement was uninstalled: nothing was started; start an agent, then the container")
	}
	t, err := cs.templateFor(&ask.Facts)
	if err != nil {
		return started, err
	}
	started.Template, started.Unconfined = t.Name, t.Unconfined
	if t.Unconfined {
		return started, nil
	}
	if err := cs.admitted(canonical(t.input.Principal), t.Labels, nothingStarted); err != nil {
		return started, err
	}
	started.Workload = cs.nameFor(t, ask)
	if ask.Process == nil {
		return started, nil
	}
	w, err := cs.hold(t, ask, started.Workload)
	if err != nil {
		return started, err
	}
	started.Workload = w.name
	return started, nil
}

var unfit = regexp.MustCompile(`[^a-z0-9_.-]+`)

// nameFor is the name that a container's workload has, or gets: the template's, its id,
// and where that is taken what tells it apart.
func (cs *containers) nameFor(t *template, ask *container.Start) string {
	const longest, apart = 63, 5
	id := unfit.ReplaceAllString(strings.ToLower(ask.Short()), "-")
	name := t.Name + "." + id[:min(len(id), longest-apart-len(t.Name)-1)]
	w := cs.all.byName[name]
	if w == nil || ask.Process == nil || w.is(ask) {
		return name
	}
	if w.memory.Container != nil {
		if gone, _ := cs.awaitRelease(w); gone { // it is started again
			return name
		}
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d\x00%s", ask.Root, ask.ID, ask.Process.PID, ask.Process.Start))
	return name + "-" + hex.EncodeToString(sum[:])[:apart-1]
}

// is: was a workload made of a container that is prepared?
func (w *workload) is(ask *container.Start) bool {
	c := w.memory.Container
	return c != nil && c.Facts.ID == ask.ID && c.Facts.Root == ask.Root && ask.Process != nil && c.Process == *ask.Process
}

// hold makes a workload of a container whose process is prepared, and confines it.
func (cs *containers) hold(t *template, ask *container.Start, name string) (w *workload, err error) {
	c := &memory.Container{Template: t.Name, Facts: ask.Facts, Process: *ask.Process}
	c.Facts.Annotations, c.Facts.Labels = nil, nil // whatever they hold, it is selected
	if err := cs.locate(c, ask.Cgroup, name); err != nil {
		return nil, err
	}
	if err := t.fits(c); err != nil {
		return nil, err
	}
	if err := fault.At("agent.container-stage"); err != nil {
		return nil, fmt.Errorf("%w: nothing was started", err)
	}
	if w = cs.all.byName[name]; w == nil {
		s, err := cs.stageReading(t.workload(name, c), t.reading, c)
		if err != nil {
			return nil, err
		}
		if err := cs.commitOne(s, false); err != nil {
			return nil, cs.undo(name, err)
		}
		w = cs.all.byName[name]
	} else if !w.is(ask) || w.generation == 0 {
		return nil, fmt.Errorf("name %s: in use by a workload of the agent (origin %s): nothing was started; try again when that is over", name, w.memory.Origin)
	}
	if err = cs.confineAll(c, w.id); err == nil {
		err = stays(c)
	}
	if err != nil {
		return nil, cs.undo(name, err)
	}
	_ = fault.At("agent.container-confined")
	cs.remember(w, c.CgroupID)
	cs.holdAsks()
	return w, nil
}

// confineAll confines the cgroup of a container, and what its runtime has made beneath. That
// it is one is known before: of what its runtime does then, nothing is judged.
func (cs *containers) confineAll(c *memory.Container, id uint32) error {
	err := fault.At("agent.container-mark")
	if err == nil {
		err = cs.kernel.SetContainer(id, true)
	}
	if err == nil {
		err = fault.At("agent.container-confine")
	}
	if err != nil {
		return fmt.Errorf("%w: nothing was started", err)
	}
	if err := cs.kernel.Confine(c.CgroupID, id); err != nil {
		return err
	}
	ids, err := cgroup.IDs([]string{c.Cgroup}) // what is made from now on follows
	for group := range ids {
		err = errors.Join(err, cs.kernel.Confine(group, id))
	}
	return err
}

// sameIDs is the map of users of a namespace in which all have the host's numbers.
var sameIDs = []string{"0", "0", "4294967295"}

// fits refuses a container whose users have other numbers than the host's, where a policy
// tests them: the kernel compares the host's.
func (t *template) fits(c *memory.Container) error {
	if len(t.plan.Container.IDs) == 0 {
		return nil
	}
	for _, file := range []string{"uid_map", "gid_map"} {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(c.Process.PID), file))
		if err != nil {
			return fmt.Errorf("users of process %d: %w: nothing was started; create the container anew", c.Process.PID, err)
		}
		if !slices.Equal(strings.Fields(string(text)), sameIDs) {
			return fmt.Errorf("user namespace: policies test numbers of users or groups (%s), and mean the host's, where the container has others: nothing was started; leave the tests out of template %s, or start it without a user namespace",
				strings.Join(t.plan.Container.IDs, ", "), t.Name)
		}
	}
	return nil
}

// undo gives back what was made of a container that is not started.
func (cs *containers) undo(name string, err error) error {
	if w := cs.all.byName[name]; w != nil {
		cs.all.mu.Lock()
		w.declared = nil // what cannot be given back now is swept
		cs.all.mu.Unlock()
		_, failed := cs.release(w)
		err = errors.Join(err, failed)
	}
	return err
}

// locate finds the cgroup of a container that is prepared: the runtime's, in which what it
// executes later will be, too. It refuses what cannot be confined by that.
func (cs *containers) locate(c *memory.Container, recorded, name string) error {
	pid := strconv.Itoa(c.Process.PID)
	if err := stays(c); err != nil {
		return err
	}
	in, err := cgroup.Of(pid)
	if err != nil {
		return fmt.Errorf("cgroup of process %s: %w: nothing was started", pid, err)
	}
	mount, err := cgroup.Mountpoint()
	if err != nil {
		return err
	}
	rel := strings.Trim(strings.TrimPrefix(filepath.Clean("/"+recorded), mount), "/")
	if recorded == "" || !cgroup.Within(in, rel) {
		return fmt.Errorf("cgroup %q of its runtime: process %s is in /%s instead: nothing was started; have no hook move it", recorded, pid, in)
	}
	own, err := cgroup.Own()
	switch {
	case err != nil:
		return fmt.Errorf("the agent's cgroup: %w: nothing was started; mount /proc", err)
	case rel == "" || cgroup.Within(own, rel):
		return fmt.Errorf("cgroup %q: the agent is in it, too: nothing was started; have the engine make one for each container", "/"+rel)
	}
	if err := cs.free(rel, name); err != nil {
		return err
	}
	if err := alone(rel, c.Process.PID); err != nil {
		return err
	}
	if err := cs.apart(pid); err != nil {
		return err
	}
	c.Cgroup = rel
	c.CgroupID, err = cgroup.ID(rel)
	return err
}

// free refuses a cgroup that another workload has, by itself or by one above.
func (cs *containers) free(rel, name string) error {
	groups, err := cs.kernel.Groups()
	if err != nil {
		return err
	}
	for up := rel; up != "."; up = filepath.Dir(up) {
		id, err := cgroup.ID(up)
		if err != nil {
			return err
		}
		if w := cs.all.byID[groups[id]]; groups[id] != 0 && (w == nil || w.name != name) {
			who := "what an earlier workload left behind"
			if w != nil {
				who = "workload " + w.name
			}
			return fmt.Errorf("cgroup /%s: within /%s, which is confined as %s: nothing was started; have the engine make it elsewhere", rel, up, who)
		}
	}
	return nil
}

// stays refuses a process that is not the one it was.
func stays(c *memory.Container) error {
	pid := strconv.Itoa(c.Process.PID)
	if now := host.StartTime(pid); now == "" || now != c.Process.Start {
		return fmt.Errorf("process %s: gone, or another by now: nothing was started; create the container anew", pid)
	}
	return nil
}

// alone refuses a cgroup in which, or beneath which, others are than the one process that is
// prepared.
func alone(rel string, pid int) error {
	g, err := cgroup.OpenAt(rel)
	if err != nil {
		return err
	}
	pids, err := g.Procs()
	if err != nil {
		return err
	}
	if len(pids) != 1 || pids[0] != pid {
		return fmt.Errorf("cgroup /%s: has processes %v, where only process %d was expected: nothing was started; have the engine make one for each container", rel, pids, pid)
	}
	return nil
}

// apart refuses a container that shares the host's mounts: the paths of its policies would
// be the host's, and its runtime would be taken for it.
func (cs *containers) apart(pid string) error {
	space, err := os.Readlink(filepath.Join("/proc", pid, "ns/mnt"))
	if err != nil {
		return fmt.Errorf("mounts of process %s: %w: nothing was started", pid, err)
	}
	for _, other := range cs.hosts {
		if has, err := os.Readlink(filepath.Join("/proc", other, "ns/mnt")); err != nil || has == space {
			return fmt.Errorf("mounts of process %s: the host's own, or not known to be others: nothing was started; give it a mount namespace of its own", pid)
		}
	}
	return nil
}

// sweepContainers gives back what was made of containers that are gone. Who calls it holds
// change.
func (k *keeper) sweepContainers() {
	list := k.contained()
	if len(list) == 0 {
		return
	}
	groups, err := k.kernel.Groups()
	if err != nil {
		k.book.once("containers", err.Error())
		return
	}
	tasks, err := k.kernel.Tasks()
	if err != nil {
		k.book.once("containers", err.Error())
		return
	}
	used := map[uint32]bool{}
	for _, id := range groups {
		used[id] = true
	}
	for _, w := range list {
		if used[w.id] || tasks[w.id] > 0 {
			k.tellLeft(w, tasks[w.id])
			continue
		}
		if _, err := k.release(w); err != nil {
			k.book.once("release "+w.name, err.Error())
		}
	}
}

// tellLeft says why a container's workload outlives its cgroup: whoever waits for its end
// would look for it in vain.
func (k *keeper) tellLeft(w *workload, tasks int) {
	switch own, _ := w.ownGroups(); {
	case len(own) > 0:
		w.over = time.Time{}
	case w.over.IsZero():
		w.over = time.Now()
	case time.Since(w.over) >= rescan: // and not just while this looked
		k.book.once("left "+w.name, fmt.Sprintf("workload %s: its cgroup is gone, and it stays: %s of it live elsewhere, or a cgroup of it does; see `stockade inspect %s`",
			w.name, sink.Plural(tasks, "task"), w.name))
	}
}

// container says which one a workload is, nil for none.
func (w *workload) container() *api.Container {
	c := w.memory.Container
	if c == nil {
		return nil
	}
	return &api.Container{Template: c.Template, ID: c.Facts.ID, Name: c.Facts.Name, Image: c.Facts.Image, Pod: c.Facts.Pod, PID: c.Process.PID}
}

// ownGroups lists the outermost cgroups of a workload that no pattern finds: a run's, a
// container's.
func (w *workload) ownGroups() (list []string, ok bool) {
	switch c := w.memory.Container; {
	case w.run != nil:
		return groupOfRun(w.name), true
	case c == nil:
		return nil, false
	default:
		if id, err := cgroup.ID(c.Cgroup); errors.Is(err, fs.ErrNotExist) || err == nil && id != c.CgroupID {
			return []string{}, true
		}
		return []string{c.Cgroup}, true
	}
}
