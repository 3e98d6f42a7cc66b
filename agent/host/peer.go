package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/cgroup"
)

// Confiner is what knows who is confined by a set: Kernel, or Enforcer.
type Confiner interface {
	Confined(pid int) (bool, error)
	Groups() (map[uint64]uint32, error)
}

// MayCommand refuses who may not command what confines by a set: other users, and tasks
// of any workload, whatever user they are. Policies decide who may connect at all; this
// holds even where one permits it.
func (m Machine) MayCommand(set Confiner, pid int, uid uint32) error {
	if uid != 0 && int(uid) != os.Geteuid() {
		return fmt.Errorf("process %d: user %d may not command the agent: nothing was done; ask as root", pid, uid)
	}
	confined, err := m.confined(set, pid)
	if err != nil {
		return fmt.Errorf("%w: nothing was done; try again", err)
	}
	if confined {
		return fmt.Errorf("process %d: is confined: it may not command the agent: nothing was done; ask from outside", pid)
	}
	return nil
}

// confined reports whether a process is a task of a workload of the agent or of
// a run, by its mark or by its cgroup.
func (m Machine) confined(set Confiner, pid int) (bool, error) {
	if yes, err := set.Confined(pid); yes || err != nil {
		return yes, err
	}
	rel, err := cgroup.Of(strconv.Itoa(pid))
	if err != nil {
		return false, err
	}
	if strings.HasPrefix(rel, cgroup.Parent+"/") {
		return true, nil
	}
	groups, err := set.Groups()
	if err != nil {
		return false, err
	}
	if id, err := cgroup.ID(rel); err != nil || groups[id] != 0 {
		return true, nil // a group that cannot be looked at is not trusted
	}
	pins, err := filepath.Glob(filepath.Join(m.RunPins, "*"))
	if err != nil {
		return false, err
	}
	for _, dir := range pins {
		if yes, err := bpf.ConfinedBy(dir, pid); yes || err != nil {
			return yes, err
		}
	}
	return false, nil
}
