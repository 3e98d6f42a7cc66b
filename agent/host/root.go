package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/thread"
)

// RegisterRoot makes the root directory of a process that of a workload: its
// number, a file that holds one, or "" for this process.
func RegisterRoot(k Enforcer, id uint32, of string) error {
	if of == "" {
		return k.RegisterRoot(id)
	}
	pid, err := RootProcess(of)
	if err != nil {
		return err
	}
	root, err := os.OpenFile("/proc/"+pid+"/root", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return RootError(pid, err)
	}
	defer root.Close()
	space, err := os.Open("/proc/" + pid + "/ns/mnt")
	if err != nil {
		return RootError(pid, err)
	}
	defer space.Close()
	return thread.Do(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return RootError(pid, err)
		}
		if err := unix.Setns(int(space.Fd()), unix.CLONE_NEWNS); err != nil {
			return RootError(pid, err)
		}
		if err := unix.Fchdir(int(root.Fd())); err != nil {
			return RootError(pid, err)
		}
		if err := unix.Chroot("."); err != nil {
			return RootError(pid, err)
		}
		return k.RegisterRoot(id)
	})
}

var errNotThere = errors.New("no such process")

// RootProcess returns the process that a root names.
func RootProcess(of string) (string, error) {
	pid := of
	if strings.Trim(of, "0123456789") != "" {
		text, err := os.ReadFile(of)
		if err != nil {
			return "", fmt.Errorf("root: %w: nothing is changed; name a file that holds the number of a process", err)
		}
		pid = strings.TrimSpace(string(text))
	}
	if pid == "" || strings.Trim(pid, "0123456789") != "" {
		return "", fmt.Errorf("root %q: holds no number of a process: nothing is changed; name a file that does", of)
	}
	if _, err := os.Stat("/proc/" + pid + "/root"); err != nil {
		return "", RootError(pid, err)
	}
	return pid, nil
}

// RootError says that the root directory of a process cannot be had.
func RootError(pid string, err error) error {
	var in *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = errNotThere
	case errors.As(err, &in):
		err = in.Err
	}
	return fmt.Errorf("root of process %s: %w: nothing is changed; name a process that runs", pid, err)
}

// RootIdentity tells the root directory of a process, and its mounts, from
// others.
func RootIdentity(of string) (string, error) {
	process := "self"
	if of != "" {
		var err error
		if process, err = RootProcess(of); err != nil {
			return "", err
		}
	}
	var root, space unix.Stat_t
	if err := errors.Join(unix.Stat("/proc/"+process+"/root", &root), unix.Stat("/proc/"+process+"/ns/mnt", &space)); err != nil {
		return "", RootError(process, err)
	}
	return fmt.Sprintf("%d:%d:%d", space.Ino, root.Dev, root.Ino), nil
}
