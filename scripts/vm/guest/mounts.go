//go:build linux

package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/stockade-dev/stockade/scripts/vm/wire"
)

const newRoot = "/newroot"

type mountPoint struct {
	source, target, kind string
	data                 string
	optional             bool // a kernel may lack it
}

var early = []mountPoint{
	{"proc", "/proc", "proc", "", false},
	{"sysfs", "/sys", "sysfs", "", false},
	{"devtmpfs", "/dev", "devtmpfs", "mode=0755", false},
}

// scratch is mounted before the files are copied: some may go there.
var scratch = []mountPoint{
	{"tmpfs", newRoot + "/tmp", "tmpfs", "mode=1777", false},
	{"tmpfs", newRoot + "/run", "tmpfs", "mode=0755", false},
}

var late = []mountPoint{
	{"devpts", "/dev/pts", "devpts", "gid=5,mode=620,ptmxmode=666", false},
	{"tmpfs", "/dev/shm", "tmpfs", "mode=1777", false},
	{"mqueue", "/dev/mqueue", "mqueue", "", true},
	{"cgroup2", "/sys/fs/cgroup", "cgroup2", "", false},
	{"bpf", "/sys/fs/bpf", "bpf", "mode=0700", true},
	{"securityfs", "/sys/kernel/security", "securityfs", "", true},
	{"tracefs", "/sys/kernel/tracing", "tracefs", "", true},
	{"debugfs", "/sys/kernel/debug", "debugfs", "", true},
}

func mountAll(points []mountPoint) error {
	for _, point := range points {
		if err := os.MkdirAll(point.target, 0o755); err != nil && !point.optional {
			return err
		}
		err := syscall.Mount(point.source, point.target, point.kind, 0, point.data)
		if err != nil && !point.optional {
			return fmt.Errorf("%s: mounting %s failed: %w", point.target, point.kind, err)
		}
	}
	return nil
}

func mountEarly() error { return mountAll(early) }

// prepare switches to the root that the command will see and mounts the rest.
func prepare(config *wire.Config) error {
	if err := mountRoot(config.Disk); err != nil {
		return err
	}
	if err := mountAll(scratch); err != nil {
		return err
	}
	if err := copyTree(wire.FilesDir, newRoot); err != nil {
		return err
	}
	if err := switchRoot(); err != nil {
		return err
	}
	os.Chown("/home/user", 1000, 1000) // the archive knows root only
	if config.Systemd {
		return nil // it does the rest itself
	}
	if err := mountAll(late); err != nil {
		return err
	}
	for name, target := range map[string]string{
		"fd": "fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2",
	} {
		if err := os.Symlink("/proc/self/"+target, "/dev/"+name); err != nil {
			return err
		}
	}
	if err := syscall.Sethostname([]byte("vm")); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	if err := setLoopbackUp(); err != nil {
		return err
	}
	files := syscall.Rlimit{Cur: 1024, Max: 524288}
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files)
}

func mountRoot(disk string) error {
	if err := os.MkdirAll(newRoot, 0o755); err != nil {
		return err
	}
	if disk == "" {
		if err := syscall.Mount("root", newRoot, "tmpfs", 0, "mode=0755,size=80%"); err != nil {
			return fmt.Errorf("%s: mounting a tmpfs failed: %w", newRoot, err)
		}
		return nil
	}
	for tries := 0; ; tries++ {
		err := syscall.Mount(disk, newRoot, "ext4", 0, "")
		if err == nil {
			return nil
		}
		if tries == 200 { // the disk may appear late
			return fmt.Errorf("%s: mounting %s failed: %w", newRoot, disk, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// switchRoot leaves the initial rootfs, which pivot_root cannot do, and
// empties it to give its memory back.
func switchRoot() error {
	for _, point := range early {
		target := newRoot + point.target
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(point.target, target, "", syscall.MS_MOVE, ""); err != nil {
			return fmt.Errorf("%s: moving the mount failed: %w", point.target, err)
		}
	}
	entries, err := os.ReadDir("/")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if name := "/" + entry.Name(); name != newRoot {
			os.RemoveAll(name)
		}
	}
	if err := os.Chdir(newRoot); err != nil {
		return err
	}
	if err := syscall.Mount(".", "/", "", syscall.MS_MOVE, ""); err != nil {
		return fmt.Errorf("/: moving the new root failed: %w", err)
	}
	if err := syscall.Chroot("."); err != nil {
		return fmt.Errorf("/: entering the new root failed: %w", err)
	}
	return os.Chdir("/")
}

// copyTree copies directories, files and symbolic links. A directory that
// exists already keeps its mode, and a symbolic link to one is followed, so
// that a file for /bin lands in the /usr/bin of a merged root.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rest, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rest)
		info, err := entry.Info()
		if err != nil {
			return err
		}
		switch {
		case entry.IsDir():
			if old, err := os.Stat(target); err == nil && old.IsDir() {
				return nil
			}
			if err := os.Mkdir(target, 0o700); err != nil {
				return err
			}
			return os.Chmod(target, info.Mode())
		case info.Mode()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			os.Remove(target)
			return os.Symlink(link, target)
		default:
			return copyFile(path, target, info.Mode())
		}
	})
}

func copyFile(from, to string, mode fs.FileMode) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	os.Remove(to)
	target, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(target, source); err != nil {
		target.Close()
		return fmt.Errorf("%s: copying failed: %w", to, err)
	}
	if err := target.Chmod(mode); err != nil {
		target.Close()
		return err
	}
	return target.Close()
}
