package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/inotify"
)

// Within reports whether a path relative to the mount is that of a group, or of one beneath:
// all are beneath the root, which is "". Slashes at the ends do not matter.
func Within(rel, group string) bool {
	rel, group = strings.Trim(rel, "/"), strings.Trim(group, "/")
	return group == "" || rel == group || strings.HasPrefix(rel, group+"/")
}

// Own returns the path of this process's group, relative to the mount of
// cgroup2, without a slash in front.
func Own() (string, error) { return Of("self") }

// Of is Own for another process, by its number.
func Of(pid string) (string, error) {
	text, err := readProc(pid + "/cgroup")
	if err != nil {
		return "", fmt.Errorf("cgroup: %w: the group of process %s is not known; mount /proc", err, pid)
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::/"); ok {
			return path, nil
		}
	}
	return "", fmt.Errorf("/proc/%s/cgroup: names no group of cgroup2: the group of the process is not known; mount cgroup2", pid)
}

// Children lists the groups right below a path relative to the mount, each with
// that path in front.
func Children(rel string) ([]string, error) {
	root, err := theRoot()
	if err != nil {
		return nil, err
	}
	var entries []os.DirEntry
	dir, err := root.dir(rel)
	if err == nil {
		defer dir.Close()
		entries, err = dir.ReadDir(-1)
	}
	if err != nil && !vanished(err) {
		return nil, fmt.Errorf("cgroup: %w: what lies below is not known; try again", err)
	}
	var list []string
	for _, e := range entries {
		if e.IsDir() {
			list = append(list, filepath.Join(rel, e.Name()))
		}
	}
	return list, nil
}

// Tree tells which groups appear.
type Tree struct {
	root    *root
	changes *inotify.Reader
	mu      sync.Mutex
	paths   map[int]string // by watch
}

// NewTree returns a tree that watches nothing yet.
func NewTree() (*Tree, error) {
	root, err := theRoot()
	if err != nil {
		return nil, err
	}
	changes, err := inotify.New()
	if err != nil {
		return nil, err
	}
	return &Tree{root: root, changes: changes, paths: map[int]string{}}, nil
}

// Watch tells of groups that are made right below a path from now on. A group
// that is gone is no error.
func (t *Tree) Watch(rel string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	group, err := t.root.stat(rel)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var n int
	if err == nil {
		path := filepath.Join(t.root.path, rel)
		if err = sameAt(path, &group); err == nil { // a watch is by a path: a group that is made anew is told of above
			n, err = t.changes.Watch(path, unix.IN_CREATE|unix.IN_MOVED_TO)
		}
	}
	if errors.Is(err, fs.ErrNotExist) && t.root.gone(rel) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cgroup %w", err)
	}
	t.paths[n] = rel
	return nil
}

// sameAt refuses a path that leads elsewhere: something is mounted there.
func sameAt(path string, group *unix.Stat_t) error {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	if err == nil && (st.Dev != group.Dev || st.Ino != group.Ino) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w: it is not watched, and new groups in it are found late; unmount what covers it", path, errors.Join(err, errors.New("another directory is there")))
	}
	return err
}

// Next waits for groups that appeared. all says that some were missed: look at
// the whole tree. The error is os.ErrClosed after Close.
func (t *Tree) Next() (paths []string, all bool, err error) {
	events, err := t.changes.Next()
	if err != nil {
		return nil, false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range events {
		parent, known := t.paths[e.Dir]
		switch {
		case e.Missed():
			all = true
		case e.Mask&unix.IN_IGNORED != 0:
			delete(t.paths, e.Dir)
		case known && e.Mask&unix.IN_ISDIR != 0:
			paths = append(paths, filepath.Join(parent, e.Name))
		}
	}
	return paths, all, nil
}

// Close ends the watch.
func (t *Tree) Close() error { return t.changes.Close() }

// ID returns the id of a group, by its path relative to the mount.
func ID(rel string) (uint64, error) {
	root, err := theRoot()
	if err != nil {
		return 0, err
	}
	st, err := root.stat(rel)
	if err != nil {
		return 0, fmt.Errorf("cgroup: %w: it has no id", err)
	}
	return st.Ino, nil
}
