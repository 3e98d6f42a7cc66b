package cgroup

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/thread"
)

// inMounts does something in a mount namespace of its own, which what it mounts does not leave.
func inMounts(t *testing.T, do func() error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root: no mount namespace can be made")
	}
	err := thread.Do(func() error {
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return err
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		return do()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What a file says that covers /proc, or lies over one of it, is not believed.
func TestAForgedProcNamesNoGroup(t *testing.T) {
	if _, err := Own(); err != nil {
		t.Skip(err)
	}
	forged := filepath.Join(t.TempDir(), "cgroup")
	if err := os.WriteFile(forged, []byte("0::/forged\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	inMounts(t, func() error {
		if err := unix.Mount(forged, "/proc/self/cgroup", "", unix.MS_BIND, ""); err != nil {
			return err
		}
		if own, err := Own(); err == nil {
			t.Errorf("over the file: %q", own)
		}
		if err := unix.Mount("none", "/proc", "tmpfs", 0, ""); err != nil {
			return err
		}
		if err := os.Mkdir("/proc/self", 0o755); err != nil {
			return err
		}
		if err := os.WriteFile("/proc/self/cgroup", []byte("0::/forged\n"), 0o600); err != nil {
			return err
		}
		if own, err := Own(); err == nil {
			t.Errorf("over /proc: %q", own)
		}
		return nil
	})
}
