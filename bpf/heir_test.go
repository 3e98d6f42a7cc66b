package bpf

import (
	"errors"
	"maps"
	"os/exec"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// marked starts a process that bears the mark of a workload, and returns what tells its mark
// in any set.
func marked(t *testing.T, e *Enforcer, id uint32) func(e *Enforcer) uint32 {
	t.Helper()
	process := exec.Command("sleep", "1000")
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(process.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(fd)
		process.Process.Kill()
		process.Wait()
	})
	if err := e.maps["tasks"].Put(uint32(fd), id); err != nil {
		t.Fatal(err)
	}
	return func(e *Enforcer) (of uint32) {
		if err := e.maps["tasks"].Lookup(uint32(fd), &of); err != nil && !errors.Is(err, unix.ENOENT) {
			t.Fatal(err)
		}
		return of
	}
}

// All that a set holds is held by its heir.
func TestHeirsHoldWhatTheOldSetHolds(t *testing.T) {
	old, e := &former{retirer(t), "/old"}, retirer(t)
	ids := make([]uint32, 3)
	for i, name := range []string{"left", "open", "locked"} {
		id, err := old.Claim(name)
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = id
	}
	left, open, locked := ids[0], ids[1], ids[2]
	if err := old.Release(left); err != nil { // numbers stay what they are
		t.Fatal(err)
	}
	for _, id := range []uint32{open, locked} {
		w, err := old.workload(id)
		if err != nil {
			t.Fatal(err)
		}
		*w = workload{plan: 1 | uint64(id+6)<<32, rootMnt: 11, rootDentry: 12, caps: 13, sockets: 14, flags: workloadContainer | workloadHoldExec}
		old.record(id).Delivered, old.record(id).Before.Denied = 3, 5
	}
	plan := []uint64{1, 2, 3}
	process, free := marked(t, old.Enforcer, locked), marked(t, old.Enforcer, 0)
	err := errors.Join(old.Confine(1<<60, open), old.Confine(2<<60, locked), old.maps["terminals"].Put(uint64(7), open),
		old.maps["seqs"].Put(open, uint64(44)), old.SetMode(locked, abi.Lockdown), old.SetEnding(locked, true))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.inherit(old, map[uint32][]uint64{open: plan, locked: plan}, nil); err != nil {
		t.Fatal(err)
	}
	list, err := e.Workloads()
	if err != nil || len(list) != 2 || list[0].Name != "open" || list[0].ID != open || list[0].Generation != open+6 || list[0].Mode != abi.Enforce ||
		list[1].Name != "locked" || list[1].ID != locked || list[1].Mode != abi.Lockdown || list[1].Delivered != 3 || list[1].Denied != 5 {
		t.Errorf("%+v, %v", list, err)
	}
	for _, id := range []uint32{open, locked} {
		w, _ := e.workload(id)
		words, err := e.Table(id)
		flags := uint32(workloadContainer) // what is held is what the new agent says
		if id == locked {
			flags |= workloadEnding
		}
		if err != nil || !slices.Equal(words, plan) || w.rootMnt != 11 || w.rootDentry != 12 || w.caps != 13 || w.sockets != 14 || w.flags != flags {
			t.Errorf("workload %d: %+v, table %v, %v", id, *w, words, err)
		}
	}
	if used := e.Used(); used != len(plan) {
		t.Errorf("equal plans take %d words", used)
	}
	for _, name := range []string{"cgroups", "terminals"} {
		theirs, err := listWorkloads(old.maps[name])
		ours, err2 := listWorkloads(e.maps[name])
		if err != nil || err2 != nil || len(ours) == 0 || !maps.Equal(ours, theirs) {
			t.Errorf("%s: %v, old ones: %v, %v, %v", name, ours, theirs, err, err2)
		}
	}
	var seq uint64
	if err := e.maps["seqs"].Lookup(open, &seq); err != nil || seq != 44 {
		t.Errorf("sequence %d, %v", seq, err)
	}
	if process(e) != locked || free(e) != 0 {
		t.Errorf("marks %d and %d, not %d and 0", process(e), free(e), locked)
	}
}
