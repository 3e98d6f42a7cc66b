package cgroup

import (
	"errors"
	"io/fs"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// anew finds the root again, and forgets that at the end of the test.
func anew(t *testing.T) {
	before := held
	held = nil
	t.Cleanup(func() { held = before })
}

func cover(path string) error { return unix.Mount("none", path, "tmpfs", 0, "") }

// What covers the mount of cgroup2 hides no group from who found it before: it is killed, and
// only then is it gone.
func TestAGroupIsKilledThoughItsMountIsCovered(t *testing.T) {
	g := fresh(t)
	start(t, g, "sleep 1000 & sleep 1000")
	waitProcs(t, g, 3)
	rel := Parent + "/" + g.Name()
	inMounts(t, func() error {
		anew(t)
		again, err := OpenAt(rel)
		if err != nil {
			return err
		}
		if err := cover(held.path); err != nil {
			return err
		}
		if populated, err := again.Populated(); !populated || err != nil {
			t.Errorf("populated %v, %v", populated, err)
		}
		if err := errors.Join(again.Freeze(10*time.Second), again.Thaw(10*time.Second)); err != nil {
			t.Error(err)
		}
		if ids, err := IDs([]string{rel}); len(ids) != 1 || err != nil {
			t.Errorf("ids %v, %v", ids, err)
		}
		tree, err := NewTree()
		if err != nil {
			return err
		}
		defer tree.Close()
		if err := tree.Watch(Parent); err == nil {
			t.Error("it watches what covers the group")
		}
		if killed, err := again.Kill(10 * time.Second); killed != 3 || err != nil {
			t.Errorf("killed %d, %v", killed, err)
		}
		return nil
	})
	if populated, err := g.Populated(); populated || err != nil {
		t.Errorf("afterwards: populated %v, %v", populated, err)
	}
}

// Where it cannot be known whether a group is there, it is not gone: who finds cgroup2 covered
// at once, and who finds something mounted over the group.
func TestAGroupThatIsCoveredIsNotGone(t *testing.T) {
	g := fresh(t)
	start(t, g, "sleep 1000")
	waitProcs(t, g, 1)
	rel := Parent + "/" + g.Name()
	inMounts(t, func() error {
		anew(t)
		again, err := OpenAt(rel)
		if err != nil {
			return err
		}
		if err := cover(again.Path()); err != nil {
			return err
		}
		_, populated := again.Populated()
		_, procs := again.Procs()
		_, killed := again.Kill(time.Second)
		_, opened := OpenAt(rel)
		_, id := ID(rel)
		_, ids := IDs([]string{rel})
		_, above := IDs([]string{Parent})
		_, children := Children(rel)
		for what, err := range map[string]error{"populated": populated, "procs": procs, "kill": killed, "open": opened, "id": id, "ids": ids, "ids above": above,
			"children": children, "send": again.SendKill(), "freeze": again.Freeze(time.Second), "remove": again.Remove()} {
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("over the group: %s: %v", what, err)
			}
		}
		held = nil
		if err := cover("/sys/fs/cgroup"); err != nil {
			return err
		}
		_, opened = Open(g.Name())
		_, id = ID(rel)
		for what, err := range map[string]error{"open": opened, "id": id} {
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("over all: %s: %v", what, err)
			}
		}
		return nil
	})
	if populated, err := g.Populated(); !populated || err != nil {
		t.Errorf("afterwards: populated %v, %v", populated, err)
	}
}

// Who may make groups chooses how long the path of one is: longer than the kernel takes.
func TestGroupsWithLongNamesAreListedAndRemoved(t *testing.T) {
	g := fresh(t)
	long := strings.Repeat("n", 200)
	at, err := g.Dir()
	if err != nil {
		t.Fatal(err)
	}
	fd := int(at.Fd())
	for range 30 {
		if err := unix.Mkdirat(fd, long, 0o755); err != nil {
			t.Fatal(err)
		}
		below, err := unix.Openat(fd, long, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(below)
		fd = below
	}
	at.Close()
	procs, err := unix.Openat(fd, "cgroup.procs", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(procs)
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go cmd.Wait()
	if _, err := unix.Write(procs, []byte(strconv.Itoa(cmd.Process.Pid))); err != nil {
		t.Fatal(err)
	}
	if list, err := g.Procs(); err != nil || len(list) != 1 || list[0] != cmd.Process.Pid {
		t.Errorf("processes %v, %v", list, err)
	}
	if list, err := g.Threads(); err != nil || len(list) != 1 {
		t.Errorf("threads %v, %v", list, err)
	}
	if n, err := g.Kill(10 * time.Second); err != nil || n != 1 {
		t.Errorf("killed %d, %v", n, err)
	}
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
}
