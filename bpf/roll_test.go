package bpf

import (
	"errors"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The roll has every marked process, wherever it is, one that ended and was not asked how
// as dead, and no other.
func TestRollListsMarkedTasks(t *testing.T) {
	e := retirer(t)
	id, err := e.Claim("one")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for range 3 {
		process := exec.Command("sleep", "1000")
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		defer process.Wait()
		defer process.Process.Kill()
		pids = append(pids, process.Process.Pid)
	}
	for _, pid := range pids[:2] {
		fd, err := unix.PidfdOpen(pid, 0)
		if err == nil {
			err = errors.Join(e.maps["tasks"].Put(uint32(fd), id), unix.Close(fd))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	of := func() map[int]Marked {
		t.Helper()
		list, err := e.Roll()
		if err != nil {
			t.Fatal(err)
		}
		found := map[int]Marked{}
		for _, m := range list {
			found[m.PID] = m
		}
		return found
	}
	list := of()
	for i, pid := range pids {
		m, there := list[pid]
		if there != (i < 2) || there && (m.TGID != pid || m.Workload != id || m.Dead || m.Started <= 0 || m.Started > 1<<20*time.Hour) {
			t.Errorf("process %d: %+v, %v", i, m, there)
		}
	}
	if list[pids[0]].Started > list[pids[1]].Started {
		t.Errorf("started %v, and after it %v", list[pids[0]].Started, list[pids[1]].Started)
	}
	if err := unix.Kill(pids[0], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		m, there := of()[pids[0]]
		if there && m.Dead || !there { // 6.x takes the mark as it ends
			break
		}
		if time.Now().After(end) {
			t.Fatal("it still lives")
		}
	}
}
