package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/cgroup"
)

// allow refuses peers that may not command the agent: other users, and tasks of
// any workload, whatever user they are. Policies decide who may connect at all;
// this holds even where one permits it.
func (d *Daemon) allow(p api.Peer) error {
	if p.UID != 0 && int(p.UID) != os.Geteuid() {
		return fmt.Errorf("process %d: user %d may not command the agent: nothing was done; ask as root", p.PID, p.UID)
	}
	confined, err := d.confined(p.PID)
	if err != nil {
		return fmt.Errorf("%w: nothing was done; try again", err)
	}
	if confined {
		return fmt.Errorf("process %d: is confined: it may not command the agent: nothing was done; ask from outside", p.PID)
	}
	return nil
}

// confined reports whether a process is a task of a workload of the agent or of
// a run, by its mark or by its cgroup.
func (d *Daemon) confined(pid int) (bool, error) {
	if yes, err := d.kernel.Confined(pid); yes || err != nil {
		return yes, err
	}
	rel, err := cgroup.Of(strconv.Itoa(pid))
	if err != nil {
		return false, err
	}
	if strings.HasPrefix(rel, cgroup.Parent+"/") {
		return true, nil
	}
	groups, err := d.kernel.Groups()
	if err != nil {
		return false, err
	}
	if id, err := cgroup.ID(rel); err != nil || groups[id] != 0 {
		return true, nil // a group that cannot be looked at is not trusted
	}
	pins, err := filepath.Glob(filepath.Join(d.machine.RunPins, "*"))
	if err != nil {
		return false, err
	}
	for _, dir := range pins {
		if dir == d.machine.Pins {
			continue
		}
		if yes, err := bpf.ConfinedBy(dir, pid); yes || err != nil {
			return yes, err
		}
	}
	return false, nil
}
