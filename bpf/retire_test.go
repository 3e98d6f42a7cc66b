package bpf

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// retirer loads what gives numbers back, and nothing that confines.
func retirer(t *testing.T) *Enforcer {
	t.Helper()
	refused := func(err error) {
		t.Helper()
		if errors.Is(err, os.ErrPermission) && os.Getenv("STOCKADE_STRICT") == "" {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	types := btf.NewCache()
	_, err := types.Kernel()
	refused(err)
	spec, err := loadKern()
	refused(err)
	choose(spec, groupAlways)
	for name := range spec.Programs {
		if name != retireIter && name != rollIter {
			delete(spec.Programs, name)
		}
	}
	e := &Enforcer{maps: map[string]*ebpf.Map{}, links: map[string]link.Link{}}
	coll, err := loadShared(spec, e.maps, types)
	refused(err)
	for name, p := range coll.Programs {
		l, err := attachOne(program{name, p})
		refused(err)
		e.links[name] = l
	}
	coll.Close()
	e.store, err = openStore(e.maps)
	refused(err)
	t.Cleanup(func() {
		if err := e.Abandon(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// Numbers do not run out, however many workloads leave something behind.
func TestWorkloadsThatLeaveCgroupsGiveTheirNumbersBack(t *testing.T) {
	e := retirer(t)
	const free, runs, stay = 30, 60, 10 // the other numbers stay taken, so that few runs use up all
	for i := range abi.MaxWorkloads - 1 - free {
		if _, err := e.Claim(fmt.Sprintf("there-%d", i)); err != nil {
			t.Fatal(i, err)
		}
	}
	gone := func(group uint64) {
		t.Helper()
		if err := e.maps["cgroups"].Delete(group); err != nil {
			t.Fatal(err)
		}
	}
	for group := range uint64(runs) {
		id, err := e.Claim(fmt.Sprintf("run-%d", group))
		if err == nil {
			err = errors.Join(e.Confine(group, id), e.Retire(id))
		}
		if err != nil {
			t.Fatal(group, err)
		}
		if group >= stay {
			gone(group - stay)
		}
	}
	groups, err := e.Groups()
	list, err2 := e.Workloads()
	if err != nil || err2 != nil || len(groups) != stay || len(list) != abi.MaxWorkloads-1-free {
		t.Fatalf("%d cgroups, %d workloads, %v, %v", len(groups), len(list), err, err2)
	}
	for group, of := range groups {
		if of != e.ended() {
			t.Errorf("cgroup %d belongs to workload %d, not to %d", group, of, e.ended())
		}
		gone(group)
	}
	for i := range free {
		if _, err := e.Claim(fmt.Sprintf("last-%d", i)); err != nil {
			t.Fatal(i, err)
		}
	}
	if _, err := e.Claim("one-too-many"); err == nil {
		t.Error("there are numbers without end")
	}
}

// A mark is moved with all else, and no other workload's is.
func TestMarksOfWorkloadsThatEndedAreMoved(t *testing.T) {
	e := retirer(t)
	var ids []uint32
	var marks []func() uint32
	for _, name := range []string{"first", "second", "third"} {
		id, err := e.Claim(name)
		process := exec.Command("sleep", "1000")
		if err = errors.Join(err, process.Start()); err != nil {
			t.Fatal(err)
		}
		defer process.Wait()
		defer process.Process.Kill()
		fd, err := unix.PidfdOpen(process.Process.Pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := e.maps["tasks"].Put(uint32(fd), id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
		marks = append(marks, func() (of uint32) {
			if err := e.maps["tasks"].Lookup(uint32(fd), &of); err != nil {
				t.Fatal(err)
			}
			return of
		})
	}
	if err := errors.Join(e.Retire(ids[0]), e.Retire(ids[1])); err != nil {
		t.Fatal(err)
	}
	if a, b, c := marks[0](), marks[1](), marks[2](); a != ids[0] || b != ids[0] || c != ids[2] || e.ended() != ids[0] {
		t.Errorf("marks %d, %d and %d of workloads %v", a, b, c, ids)
	}
	if err := e.Retire(ids[0]); err != nil || e.ended() != ids[0] {
		t.Errorf("retired again: %v", err)
	}
}
