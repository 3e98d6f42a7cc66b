package daemon

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/stockade-dev/stockade/agent/config"
	"github.com/stockade-dev/stockade/agent/hold"
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/memory"
	"github.com/stockade-dev/stockade/agent/run"
	"github.com/stockade-dev/stockade/agent/tripwire"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/fault"
	"github.com/stockade-dev/stockade/cgroup"
)

// keeper makes, changes and gives back the workloads of the kernel side.
type keeper struct {
	machine machine
	std     io.Writer // what the agent says, and denials where no log is named
	kernel  host.Kernel
	adopted bool

	all     *registry
	book    *notebook
	figures *figures
	tickets *tickets
	held    *hold.Answerer // what waits
	out     *deliverer     // what is denied
	wires   tripwire.Wires // and how to respond to that

	change    sync.Mutex // held by whoever changes anything, see registry; what follows is under it
	config    *config.Config
	templates []*template // for containers
	ending    bool        // enforcement was uninstalled
}

// memories is the folder of the memories.
func (k *keeper) memories() string { return memory.Dir(k.machine.State) }

// past is what was done to workloads.
func (k *keeper) past() memory.Book { return memory.BookOfAgent(k.machine.State) }

// rearmed is told of who was unlocked, or is over.
func (k *keeper) rearmed(name string) {
	if err := k.past().Forget(name); err != nil {
		k.book.note(err.Error())
	}
}

// confine puts one cgroup under a workload.
func (k *keeper) confine(rel, name string) error {
	w := k.all.named(name)
	if w == nil {
		return fmt.Errorf("cgroup %s: workload %s is gone: it is not confined; reload", rel, name)
	}
	id, err := cgroup.ID(rel)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = fault.At("agent.confine")
	}
	if err == nil {
		err = k.kernel.Confine(id, w.id)
	}
	if err == nil {
		k.remember(w, id)
		k.tellLocked(rel, w)
	}
	if err != nil {
		text := fmt.Sprintf("cgroup %s: workload %s: %v", rel, name, err)
		k.all.mu.Lock()
		w.err = text
		k.all.mu.Unlock()
		k.book.once(rel, text)
	}
	return nil // the others are not left out
}

// maxPast bounds the cgroups that are remembered of a workload.
const maxPast = 1 << 16

// remember notes a cgroup of a workload: sockets that were made in it bear its id when it is
// gone.
func (k *keeper) remember(w *workload, id uint64) {
	k.all.mu.Lock()
	defer k.all.mu.Unlock()
	if w.past == nil {
		w.past = map[uint64]bool{}
	}
	if len(w.past) < maxPast {
		w.past[id] = true
	}
}

// closeSinks hands over what waits for them; none waits for another's end.
func (k *keeper) closeSinks() error {
	var all sync.WaitGroup
	errs := make(chan error, len(k.all.byName)+1)
	for _, w := range k.all.byName {
		all.Go(func() { errs <- w.outlet.close() })
	}
	if k.out != nil {
		all.Go(func() { errs <- k.out.spare.close() })
	}
	all.Wait()
	close(errs)
	var list []error
	for err := range errs {
		list = append(list, err)
	}
	return errors.Join(list...)
}

// release gives the number of a workload back if it confines nothing any more.
// Who calls it holds change.
func (k *keeper) release(w *workload) (gone bool, err error) {
	if k.all.byID[w.id] != w || k.ending {
		return true, nil
	}
	if k.inResponse(w) {
		return false, nil
	}
	if w.run != nil {
		if w.run.followed() {
			return false, nil // its last denials and its counts go by its number
		}
		gone := w.memory.Process == "" || k.isGone(w)
		if w.run.expected() && !gone {
			return false, nil
		}
		if k.out != nil && gone { // k.out: not yet, while a start looks at what is left
			k.out.log(w) // who was to come back for them does not
		}
	}
	if unread, err := k.unread(w); unread || err != nil {
		return false, err
	}
	var last abi.Counters
	if w.ephemeral() != "" {
		if last, err = k.kernel.Counters(w.id); err != nil {
			return false, err
		}
	}
	if err = k.drop(w, last); err != nil {
		if errors.Is(err, bpf.ErrInUse) {
			err = nil
		}
		return false, err
	}
	err = memory.Forget(k.memories(), w.name)
	if k.held != nil {
		k.holdAsks() // without it
		err = errors.Join(err, k.held.Forget(w.id, w.name))
	}
	return true, err
}

// unread: are there denials of a workload that confines nothing, and of which nothing
// lives, that nobody read yet? They need its name, and its policies. Who calls it holds
// change.
func (k *keeper) unread(w *workload) (bool, error) {
	if w.last == 0 {
		groups, err := k.kernel.Groups()
		if err != nil {
			return false, err
		}
		for _, id := range groups {
			if id == w.id {
				return false, nil // it is in use, or left behind
			}
		}
		tasks, err := k.kernel.Tasks()
		if err != nil || tasks[w.id] > 0 {
			return false, err
		}
		if w.last, _, err = k.kernel.Position(); err != nil {
			return false, err
		}
	}
	if w.run != nil { // its own may all have come, whatever else is on the ring
		counters, err := k.kernel.Counters(w.id)
		if err != nil || w.run.unread(counters) == 0 {
			return false, err
		}
	}
	_, read, err := k.kernel.Position()
	return read < w.last, err
}

// drop gives a number back, and counts what a run came to: for who reads the
// figures both happen at once.
func (k *keeper) drop(w *workload, last abi.Counters) error {
	k.figures.mu.Lock()
	defer k.figures.mu.Unlock()
	delivered, lost := k.kernel.Accounted(w.id)
	err := k.kernel.Release(w.id)
	if errors.Is(err, bpf.ErrInUse) && k.isOver(w) {
		if err = k.kernel.Retire(w.id); err == nil {
			k.book.note(fmt.Sprintf("run %s: over, and not all of it is gone: what is left is denied everything; end its processes and remove its cgroup", w.name))
		}
	}
	if err != nil {
		return err
	}
	k.all.remove(w)
	k.wires.Rearm(w.name)
	if sum := w.ephemeral(); sum != "" {
		// All was read: what nobody told of is gone with an agent or a run that was killed.
		k.figures.ended(sum, last, delivered, lost+since(last.Denied, last.Dropped+delivered+lost))
	}
	return nil
}

// retireAfter is how long what a run has left may take to go before its number is given
// back without.
const retireAfter = 2 * run.WipeLimit

// isGone reports whether the process of a run is.
func (k *keeper) isGone(w *workload) bool {
	pid, _, known := strings.Cut(w.memory.Process, " ")
	return known && (host.ProcessOf(pid) != w.memory.Process || host.Zombie(pid))
}

// isOver reports whether the process of a run is gone for so long. Who calls it holds
// change.
func (k *keeper) isOver(w *workload) bool {
	if w.run == nil || !k.isGone(w) {
		w.over = time.Time{}
		return false
	}
	if w.over.IsZero() {
		w.over = time.Now()
	}
	return time.Since(w.over) >= retireAfter
}
