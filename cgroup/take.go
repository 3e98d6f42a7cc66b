package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
)

// returned is the group beneath a workload's in which processes are that left it and were
// brought back: one that has others beneath it may hold no process itself.
const returned = "stockade-returned"

// Take moves a process, by its number, into a group beneath this one. It stays there until
// it ends, or is moved again.
func (g *Group) Take(pid int) error {
	to := &Group{name: returned, path: path.Join(g.path, returned), rel: path.Join(g.rel, returned), root: g.root}
	err := g.root.mkdir(to.rel)
	if err == nil || errors.Is(err, fs.ErrExist) {
		err = to.write("cgroup.procs", strconv.Itoa(pid))
	}
	if err != nil {
		return fmt.Errorf("process %d: not moved into cgroup %s: %w: it stays where it is; move it there by hand", pid, to.path, err)
	}
	return nil
}

// Forget removes the group that Take makes, if it is empty.
func (g *Group) Forget() { _ = g.root.rmdir(path.Join(g.rel, returned)) }
