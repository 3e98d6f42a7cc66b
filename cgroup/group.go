// Package cgroup makes, watches, kills and removes the cgroups that hold
// workloads. It makes them by containerd's library, and reaches all of them from the
// root of cgroup2, which it holds open: a path leads to whatever somebody mounts there,
// and may be longer than the kernel takes.
package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/containerd/cgroups/v3/cgroup2"
	"golang.org/x/sys/unix"
)

// Parent is the group, right below the mount point, in which all others lie.
const Parent = "stockade"

// Group is one cgroup and what lies beneath it.
type Group struct {
	name, path string // path is for texts
	rel        string // to the root
	root       *root
}

// Create makes a fresh group. An empty leftover of that name is replaced: on
// Linux 6.12 a group that once saw cgroup.kill kills all that is cloned into
// it. One that holds processes is an error.
func Create(name string) (*Group, error) {
	g, err := at(name)
	if err != nil {
		return nil, err
	}
	if err := g.root.mkdir(Parent); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("cgroup %s: %w: nothing can be confined; run as root", filepath.Dir(g.path), err)
	}
	if _, err := g.root.stat(g.rel); !errors.Is(err, fs.ErrNotExist) {
		if err := g.discard(); err != nil {
			return nil, err
		}
	}
	if _, err = cgroup2.NewManager(fmt.Sprintf("/proc/self/fd/%d", g.root.fd), "/"+g.rel, &cgroup2.Resources{}); err != nil {
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
	if _, err := g.root.stat(g.rel); err != nil {
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
	root, err := theRoot()
	if err != nil {
		return nil, err
	}
	return &Group{name: path.Base(rel), path: filepath.Join(root.path, rel), rel: rel, root: root}, nil
}

// OpenAt is Open for any group, by its path below the mount point.
func OpenAt(rel string) (*Group, error) {
	g, err := handle(rel)
	if err != nil {
		return nil, err
	}
	if _, err := g.root.stat(rel); err != nil {
		return nil, fmt.Errorf("cgroup: %w: there is nothing to act on; check the name", err)
	}
	return g, nil
}

// Name returns the group's last path component.
func (g *Group) Name() string { return g.name }

// Path returns the group's directory.
func (g *Group) Path() string { return g.path }

// ID returns the group's id as the kernel knows it: its inode number.
func (g *Group) ID() (uint64, error) {
	st, err := g.root.stat(g.rel)
	if err != nil {
		return 0, fmt.Errorf("cgroup: %w: it has no id; create it first", err)
	}
	return st.Ino, nil
}

// Dir opens the group's directory, for syscall.SysProcAttr.CgroupFD.
func (g *Group) Dir() (*os.File, error) {
	dir, err := g.root.dir(g.rel)
	if err != nil {
		return nil, fmt.Errorf("cgroup: %w: nothing can be started in it; create it first", err)
	}
	return dir, nil
}

// Procs lists the processes of the group and of all beneath it. It is a
// snapshot: never kill by it, Kill does not.
func (g *Group) Procs() ([]int, error) { return g.list("processes", "cgroup.procs") }

// Threads lists the threads of the group and of all beneath it: of a process that was
// moved after its first thread ended, that one stays where it was, and the others are
// elsewhere.
func (g *Group) Threads() ([]int, error) { return g.list("threads", "cgroup.threads") }

// list reads a file of the group and of all beneath. The error stands beside what was read.
func (g *Group) list(what, file string) ([]int, error) {
	var pids []int
	dir, err := g.root.dir(g.rel)
	if err == nil {
		err = walk(dir, func(_ string, at int, _ uint64) error {
			some, err := numbers(at, file)
			if pids = append(pids, some...); vanished(err) { // under the listing
				return nil
			}
			return err
		})
	}
	slices.Sort(pids)
	if err != nil {
		err = fmt.Errorf("cgroup %s: %w: its %s are not known; try again", g.path, err, what)
	}
	return slices.Compact(pids), err
}

// numbers reads a file that has a number a line.
func numbers(dir int, file string) (list []int, err error) {
	fd, err := unix.Openat(dir, file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: file, Err: err}
	}
	f := os.NewFile(uintptr(fd), file)
	defer f.Close()
	text, err := io.ReadAll(f)
	for line := range bytes.Lines(text) {
		if n, failed := strconv.Atoi(string(bytes.TrimSpace(line))); failed == nil {
			list = append(list, n)
		}
	}
	return list, err
}

// removeLimit bounds how long Remove waits for dead processes to leave.
const removeLimit = 2 * time.Second

// Remove removes the group and all groups beneath it. They must be empty. A
// group that is gone already is no error.
func (g *Group) Remove() error {
	for end := time.Now().Add(removeLimit); ; time.Sleep(5 * time.Millisecond) {
		err := g.removeTree()
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EBUSY) || time.Now().After(end) {
			return fmt.Errorf("cgroup %s: %w: it stays behind; kill what is in it, then rmdir it", g.path, err)
		}
	}
}

// removeTree removes it and what is beneath, the deepest first. The files of cgroupfs go
// with their directory.
func (g *Group) removeTree() error {
	dir, err := g.root.dir(g.rel)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = removeBelow(dir, 0)
	}
	if err == nil {
		err = g.root.rmdir(g.rel)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// removeBelow removes what is in an open directory, which it closes: by names alone, since a
// path may be longer than the kernel takes.
func removeBelow(dir *os.File, depth int) error {
	defer dir.Close()
	fd := int(dir.Fd())
	list, err := dir.ReadDir(-1)
	if err != nil && !vanished(err) {
		return err
	}
	if depth == maxDepth {
		return errDeep
	}
	for _, e := range list {
		if !e.IsDir() {
			continue
		}
		below, err := openBelow(fd, e.Name())
		if err == nil {
			err = removeBelow(below, depth+1)
		}
		if err == nil {
			err = unix.Unlinkat(fd, e.Name(), unix.AT_REMOVEDIR)
		}
		if err != nil && !vanished(err) {
			return err
		}
	}
	return nil
}
