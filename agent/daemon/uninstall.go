package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/memory"
	"github.com/stockade-dev/stockade/agent/run"
	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/fault"
	"github.com/stockade-dev/stockade/cgroup"
)

// Uninstall ends all enforcement of this agent, and the agent. While workloads
// have tasks it refuses, unless force kills them first.
func (d *Daemon) Uninstall(force bool) (api.Removed, error) {
	removed := api.Removed{Workloads: []string{}}
	unlock, err := d.machine.KeepSet(true) // first: a run that starts waits for change
	if err != nil {
		return removed, err
	}
	defer unlock()
	d.change.Lock()
	defer d.change.Unlock()
	removed.Workloads = append(removed.Workloads, d.all.names()...)
	if removed.Killed, err = d.machine.empty(force); err != nil {
		return removed, err
	}
	if err := d.machine.remove(); err != nil {
		return removed, err
	}
	d.ending = true
	d.book.note("uninstalled: nothing is enforced any more; the agent ends")
	d.fail(nil)
	return removed, nil
}

// Uninstall ends all enforcement of the agent behind a socket and waits for the
// agent's end; where none runs, it removes what dead ones left, of runs as well.
// note is told what else it found.
func Uninstall(ctx context.Context, socket string, force bool, note func(string)) (killed int, err error) {
	removed, err := api.NewClient(socket).Uninstall(ctx, force)
	if err != nil && !errors.Is(err, api.ErrNoAgent) {
		return 0, err
	}
	for end := time.Now().Add(detachLimit); ; time.Sleep(20 * time.Millisecond) {
		killed, err = thisMachine.uninstall(force, note)
		if !errors.Is(err, host.ErrRuns) || time.Now().After(end) {
			return killed + removed.Killed, err
		}
	}
}

func (m machine) uninstall(force bool, note func(string)) (killed int, err error) {
	lock, err := m.TakeLock()
	if err != nil {
		return 0, err
	}
	defer lock.Close()
	free, err := m.KeepSet(true)
	if err != nil {
		return 0, err
	}
	defer free()
	if killed, err = m.empty(force); err != nil {
		return killed, err
	}
	if err := m.remove(); err != nil {
		return killed, err
	}
	unlock, err := host.LockStarts()
	if err != nil {
		return killed, err
	}
	defer unlock()
	run.Sweep(func(name, text string) { note(name + ": " + text) })
	left, err := filepath.Glob(filepath.Join(m.RunPins, "*"))
	if err != nil {
		return killed, err
	}
	for _, dir := range left {
		note(dir + ": belongs to a `stockade run` that goes on, and ends with it")
	}
	return killed, nil
}

// sets are the folders of the agent's sets: that beside the other may be there, if an upgrade
// was interrupted, and does not count.
func (m machine) sets() []string { return []string{bpf.Beside(m.Pins), m.Pins} }

// members counts the tasks of all sets.
func (m machine) members() (n int, err error) {
	for _, dir := range m.sets() {
		in, err := bpf.Members(dir)
		if err != nil {
			return 0, err
		}
		n = max(n, in) // most are in both
	}
	return n, nil
}

// confined lists the cgroups of all sets.
func (m machine) confined() (map[uint64]uint32, error) {
	all := map[uint64]uint32{}
	for _, dir := range m.sets() {
		in, err := bpf.Groups(dir)
		if err != nil {
			return nil, err
		}
		maps.Copy(all, in)
	}
	return all, nil
}

// marked reports whether a process is a task of a workload of any set.
func (m machine) marked(pid int) (bool, error) {
	for _, dir := range m.sets() {
		if yes, err := bpf.ConfinedBy(dir, pid); yes || err != nil {
			return yes, err
		}
	}
	return false, nil
}

// remove removes what the agent pinned and what it remembers. The workloads are
// empty.
func (m machine) remove() error {
	for _, dir := range m.sets() {
		if err := bpf.Remove(dir); err != nil {
			return err
		}
	}
	if err := os.Remove(m.RunPins); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return fmt.Errorf("pins: %w: remove the folder by hand", err)
	}
	if err := fault.At("agent.forget-all"); err != nil {
		return fmt.Errorf("memories: %w: remove them by hand", err)
	}
	if err := os.RemoveAll(memory.Dir(m.State)); err != nil {
		return fmt.Errorf("memories: %w: remove them by hand", err)
	}
	return nil
}

// detachLimit bounds how long an agent may take to end after an uninstall: the
// kernel waits for all processors at each of a hundred hooks.
const detachLimit = 2 * time.Minute

// emptyLimit bounds how long the tasks of all workloads may take to die.
const emptyLimit = 10 * time.Second

// empty makes sure that no task is confined any more. Only what is pinned is
// looked at, so it works whatever build pinned it.
func (m machine) empty(force bool) (killed int, err error) {
	if err := fault.At("agent.empty"); err != nil {
		return 0, fmt.Errorf("workloads: %w: whether they are empty is not known; try again", err)
	}
	for end := time.Now().Add(emptyLimit); ; time.Sleep(20 * time.Millisecond) {
		groups, pids, err := m.occupied()
		if err != nil {
			return killed, err
		}
		members, err := m.members()
		if err != nil {
			return killed, err
		}
		if len(pids) == 0 && members == 0 {
			return killed, nil
		}
		switch {
		case !force:
			return 0, fmt.Errorf("%s confined (%s): nothing is removed, they would be free; end them, or let `stockade uninstall --force` kill them",
				sink.Plural(max(len(pids), 1), "process"), first(pids))
		case time.Now().After(end):
			return killed, fmt.Errorf("%s live %v after their kill (%s): nothing is removed; look for processes in state D", sink.Plural(max(len(pids), 1), "process"), emptyLimit, first(pids))
		}
		killed = max(killed, len(pids))
		for _, rel := range groups {
			if g, err := cgroup.OpenAt(rel); err == nil {
				_, _ = g.Kill(time.Second) // seen above, if it did not work
			}
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL) // likewise
		}
	}
}

// occupied lists the confined groups that hold processes, and every process that
// is confined by its group or by its mark.
func (m machine) occupied() (groups []string, pids []int, err error) {
	confined, err := m.confined()
	if err != nil {
		return nil, nil, err
	}
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, nil, fmt.Errorf("processes: %w: whether any is confined is not known; mount /proc", err)
	}
	seen := map[string]bool{}
	for _, entry := range procs {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		rel, err := cgroup.Of(entry.Name())
		if err != nil {
			continue // it ended
		}
		id, err := cgroup.ID(rel)
		inside := err == nil && confined[id] != 0
		if inside && !seen[rel] {
			seen[rel] = true
			groups = append(groups, rel)
		}
		if !inside {
			inside, err = m.marked(pid)
			if err != nil && !errors.Is(err, unix.ESRCH) {
				return nil, nil, err
			}
		}
		if inside && !host.Zombie(entry.Name()) {
			pids = append(pids, pid)
		}
	}
	return groups, pids, nil
}

// first names the first few processes.
func first(pids []int) string {
	var list []string
	for _, pid := range pids[:min(len(pids), 10)] {
		list = append(list, strconv.Itoa(pid))
	}
	if len(pids) > 10 {
		list = append(list, "…")
	}
	if len(list) == 0 {
		return "threads or processes that are ending"
	}
	return strings.Join(list, ", ")
}
