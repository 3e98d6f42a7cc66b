package run

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/host/hosttest"
	"github.com/stockade-dev/stockade/thread"
)

// Pins that something is mounted over do not say that nothing of a run lives; those that were
// removed do.
func TestPinsThatAreCoveredAreNotGone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: no mount namespace can be made")
	}
	dir := t.TempDir()
	pins := filepath.Join(dir, "stockade", "run")
	if err := os.MkdirAll(pins, 0o700); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	c := &claim{name: "run", file: file, pins: pins}
	if err := c.record(); err != nil {
		t.Fatal(err)
	}
	next := &claim{name: "run", file: file}
	if next.know(); next.device == 0 || next.device != c.device {
		t.Errorf("the reaper knows of device %d, want %d", next.device, c.device)
	}
	if err := os.RemoveAll(filepath.Dir(pins)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.members(); n != 0 || err != nil {
		t.Errorf("removed: %d, %v", n, err)
	}
	err = thread.Do(func() error {
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return err
		}
		if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("none", dir, "tmpfs", 0, "")); err != nil {
			return err
		}
		if err := c.noStragglers(strayLimit); err == nil || !strings.Contains(err.Error(), "whether tasks of it are left is not known") {
			t.Errorf("covered: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A command that covers the cgroups leaves nothing alive: what it started ends with it.
func TestARunEndsItsWorkloadThoughCgroupsAreCovered(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: no mount namespace can be made")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := hosttest.TestName(t)
	for _, over := range []string{"/sys/fs/cgroup", "/sys"} {
		cmd := exec.Command(self, "victim", name, "sleep 1000 >/dev/null 2>&1 & mount -t tmpfs none "+over+" && ! test -e /sys/fs/cgroup/stockade && echo $!")
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		text, err := cmd.CombinedOutput()
		pid := strings.TrimSpace(string(text))
		_, failed := os.Stat("/proc/" + pid)
		if lives := failed == nil && !host.Zombie(pid); err != nil || pid == "" || lives {
			t.Errorf("%s: process %q lives: %v; %v", over, text, lives, err)
		}
		hosttest.WantGone(t, name)
	}
}
