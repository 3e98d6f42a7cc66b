package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// mounts are the places where distributions mount cgroup2: the second is that
// of hosts that still have version 1 beside it.
var mounts = []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}

// root is cgroup2 as it was found first. It is held open: what somebody mounts over its path
// later does not make a group seem to be gone.
type root struct {
	path string
	fd   int // only stands for the place
}

var (
	rootMu sync.Mutex
	held   *root
)

// theRoot returns the root, found once.
func theRoot() (*root, error) {
	rootMu.Lock()
	defer rootMu.Unlock()
	if held != nil {
		return held, nil
	}
	for _, path := range mounts {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		if isCgroup2(fd) {
			held = &root{path, fd}
			return held, nil
		}
		unix.Close(fd)
	}
	return nil, errors.New("/sys/fs/cgroup: cgroup2 is not mounted, or covered: nothing can be confined, and no group is known to be gone; mount -t cgroup2 none /sys/fs/cgroup, or unmount what covers it")
}

func isCgroup2(fd int) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// Mountpoint returns where cgroup2 is mounted, or was when it was found: for who reads it
// there, and for texts.
func Mountpoint() (string, error) {
	r, err := theRoot()
	if err != nil {
		return "", err
	}
	return r.path, nil
}

// open opens what is at a path relative to the mount. fs.ErrNotExist means that it is gone:
// what is mounted over a group, or over what is above it, is another error.
func (r *root) open(rel string, flags uint64) (*os.File, error) {
	if rel = strings.TrimPrefix(path.Clean("/"+rel), "/"); rel == "" {
		rel = "."
	}
	name := filepath.Join(r.path, rel)
	fd, err := unix.Openat2(r.fd, rel, &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS})
	if errors.Is(err, unix.EXDEV) {
		err = errCovered
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

var errCovered = errors.New("something is mounted over it: whether it is there is not known; unmount that")

// dir opens a group.
func (r *root) dir(rel string) (*os.File, error) {
	return r.open(rel, unix.O_RDONLY|unix.O_DIRECTORY)
}

// stat looks at a group.
func (r *root) stat(rel string) (st unix.Stat_t, err error) {
	dir, err := r.open(rel, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return st, err
	}
	defer dir.Close()
	err = unix.Fstat(int(dir.Fd()), &st)
	return st, err
}

// mkdir makes a group.
func (r *root) mkdir(rel string) error {
	above, err := r.open(path.Dir(rel), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer above.Close()
	if err := unix.Mkdirat(int(above.Fd()), path.Base(rel), 0o755); err != nil {
		return &fs.PathError{Op: "mkdir", Path: filepath.Join(r.path, rel), Err: err}
	}
	return nil
}

// rmdir removes a group.
func (r *root) rmdir(rel string) error {
	above, err := r.open(path.Dir(rel), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer above.Close()
	if err := unix.Unlinkat(int(above.Fd()), path.Base(rel), unix.AT_REMOVEDIR); err != nil {
		return &fs.PathError{Op: "rmdir", Path: filepath.Join(r.path, rel), Err: err}
	}
	return nil
}
