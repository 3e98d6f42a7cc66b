package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// returned is the group beneath a workload's in which processes are that left it and were
// brought back: one that has others beneath it may hold no process itself.
const returned = "stockade-returned"

// Take moves a process, by its number, into a group beneath this one. It stays there until
// it ends, or is moved again.
func (g *Group) Take(pid int) error {
	dir := filepath.Join(g.path, returned)
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
	}
	if err != nil {
		return fmt.Errorf("process %d: not moved into cgroup %s: %w: it stays where it is; move it there by hand", pid, dir, err)
	}
	return nil
}

// Forget removes the group that Take makes, if it is empty.
func (g *Group) Forget() { _ = os.Remove(filepath.Join(g.path, returned)) }
