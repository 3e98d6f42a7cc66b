package daemon

import "github.com/stockade-dev/stockade/agent/api"

// allow refuses peers that may not command the agent.
func (d *Daemon) allow(p api.Peer) error {
	return d.machine.MayCommand(d.kernel, p.PID, p.UID)
}
