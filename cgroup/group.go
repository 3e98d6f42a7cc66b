// Package cgroup makes, watches, kills and removes the cgroups that hold
// workloads. It wraps containerd's library where that has no limits or waits
// for nothing.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/containerd/cgroups/v3/cgroup2"
)

// Parent is the group, right below the mount point, in which all others lie.
const Parent = "stockade"

// Group is one cgroup and what lies beneath it.
type Group struct {
	name, path string
	manager    *cgroup2.Manager
}

// Create makes a fresh group. An empty leftover of that name is replaced: on
// Linux 6.12 a group that once saw cgroup.kill kills all that is cloned into
// it. One that holds processes is an error.
func Create(name string) (*Group, error) {
	g, err := at(name)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(g.path), 0o755); err != nil {
		return nil, fmt.Errorf("cgroup %s: %w: nothing can be confined; run as root", filepath.Dir(g.path), err)
	}
	err = os.Mkdir(g.path, 0o755)
	if errors.Is(err, fs.ErrExist) {
		if err := g.discard(); err != nil {
			return nil, err
		}
		err = os.Mkdir(g.path, 0o755)
	}
	if err != nil {
		return nil, fmt.Errorf("cgroup %s: %w: it was not created; choose another name or run as root", g.path, err)
	}
	return g, nil
}

// discard removes an empty leftover.
func (g *Group) discard() error {
	populated, err := g.Populated()
	if err != nil {
		return fmt.Errorf("cgroup %s: exists and cannot be read: %w: it was not created; choose another name", g.path, err)
	}
	if populated {
		return fmt.Errorf("cgroup %s: holds processes: it was not created; choose another name or end them", g.path)
	}
	return g.Remove()
}

// Open returns a group that exists; the error is fs.ErrNotExist if it does not.
func Open(name string) (*Group, error) {
	g, err := at(name)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(g.path); err != nil {
		return nil, fmt.Errorf("cgroup: %w: there is nothing to act on; check the name", err)
	}
	return g, nil
}

// at returns the handle of a group, whether it exists or not.
func at(name string) (*Group, error) {
	if name == "" || name == "." || name == ".." || filepath.Base(name) != name {
		return nil, fmt.Errorf("cgroup %q: not a single path component: it is not used; choose another name", name)
	}
	return handle(path.Join(Parent, name))
}

// handle is at for any group.
func handle(rel string) (*Group, error) {
	mount, err := Mountpoint()
	if err != nil {
		return nil, err
	}
	manager, err := cgroup2.Load("/"+rel, cgroup2.WithMountpoint(mount))
	if err != nil {
		return nil, fmt.Errorf("cgroup %q: %w: it is not used; choose another name", rel, err)
	}
	return &Group{name: path.Base(rel), path: filepath.Join(mount, rel), manager: manager}, nil
}

// OpenAt is Open for any group, by its path below the mount point.
func OpenAt(rel string) (*Group, error) {
	g, err := handle(rel)
	if err != nil {
		return nil, err
	}
	if g.absent() {
		return nil, fmt.Errorf("cgroup %s: %w: there is nothing to act on; check the name", rel, fs.ErrNotExist)
	}
	return g, nil
}

// Name returns the group's last path component.
func (g *Group) Name() string { return g.name }

// Path returns the group's directory.
func (g *Group) Path() string { return g.path }

// ID returns the group's id as the kernel knows it: its inode number.
func (g *Group) ID() (uint64, error) {
	info, err := os.Stat(g.path)
	if err != nil {
		return 0, fmt.Errorf("cgroup: %w: it has no id; create it first", err)
	}
	return info.Sys().(*syscall.Stat_t).Ino, nil
}

// Dir opens the group's directory, for syscall.SysProcAttr.CgroupFD.
func (g *Group) Dir() (*os.File, error) {
	dir, err := os.OpenFile(g.path, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("cgroup: %w: nothing can be started in it; create it first", err)
	}
	return dir, nil
}

// Procs lists the processes of the group and of all beneath it. It is a
// snapshot: never kill by it, Kill does not.
func (g *Group) Procs() ([]int, error) { return g.list("processes", g.manager.Procs) }

// Threads lists the threads of the group and of all beneath it: of a process that was
// moved after its first thread ended, that one stays where it was, and the others are
// elsewhere.
func (g *Group) Threads() ([]int, error) { return g.list("threads", g.manager.Threads) }

func (g *Group) list(what string, read func(recursive bool) ([]uint64, error)) ([]int, error) {
	var list []uint64
	var err error
	for range 5 { // a child group may vanish under the listing
		list, err = read(true)
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENODEV) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cgroup %s: %w: its %s are not known; try again", g.path, err, what)
	}
	pids := make([]int, len(list))
	for i, pid := range list {
		pids[i] = int(pid)
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

// removeLimit bounds how long Remove waits for dead processes to leave.
const removeLimit = 2 * time.Second

// Remove removes the group and all groups beneath it. They must be empty. A
// group that is gone already is no error.
func (g *Group) Remove() error {
	for end := time.Now().Add(removeLimit); ; time.Sleep(5 * time.Millisecond) {
		err := removeTree(g.path)
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EBUSY) || time.Now().After(end) {
			return fmt.Errorf("cgroup %s: %w: it stays behind; kill what is in it, then rmdir it", g.path, err)
		}
	}
}

// removeTree removes directories, deepest first. The files of cgroupfs go with
// their directory.
func removeTree(root string) error {
	var dirs []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir():
			dirs = append(dirs, path)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, dir := range slices.Backward(dirs) {
		if err := syscall.Rmdir(dir); err != nil && err != syscall.ENOENT {
			return err
		}
	}
	return nil
}
