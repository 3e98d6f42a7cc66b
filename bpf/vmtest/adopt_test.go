package vmtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// adoption is the small set, which is pinned, with one workload.
type adoption struct {
	*lab
	t     *testing.T
	id    uint32
	ended uint32 // the number of what is left of others, if there is one
	dir   string
	group string
}

// newAdoption is a pinned set whose workload may read @/a and nothing else.
//
//	@
//	├── a
//	└── b
func newAdoption(t *testing.T) *adoption {
	t.Helper()
	a := &adoption{lab: openSmall(t), t: t, dir: "/tmp/adopt", group: filepath.Join(cgroups, "adopt")}
	t.Cleanup(func() {
		if a.Enforcer == nil {
			a.adopt(t)
		}
		if err := syscall.Rmdir(a.group); err != nil && err != syscall.ENOENT {
			t.Error(err)
		}
		var claimed []uint32
		for _, w := range must1(a.Workloads())(t) {
			claimed = append(claimed, w.ID)
		}
		if a.ended != 0 {
			claimed = append(claimed, a.ended)
		}
		for _, id := range claimed {
			for end := time.Now().Add(5 * time.Second); a.Release(id) != nil; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("release at the end: %v", a.Release(id))
				}
			}
		}
		a.drain(t)
		clear(a.pending) // the numbers are used again
		must(t, os.RemoveAll(a.dir))
	})
	must(t, os.MkdirAll(a.dir, 0o755))
	for _, name := range []string{"a", "b"} {
		must(t, os.WriteFile(filepath.Join(a.dir, name), []byte("x"), 0o644))
	}
	a.id = must1(a.Claim("first"))(t)
	must(t, a.RegisterRoot(a.id))
	a.install("@/a")
	must(t, os.Mkdir(a.group, 0o755))
	must(t, a.Confine(cgroupID(t, a.group), a.id))
	return a
}

func (a *adoption) install(file string) uint32 {
	a.t.Helper()
	plan := must1(compile("/nothing", a.dir, permit(look, file)))(a.t)
	return must1(a.Install(a.id, plan.Table.Words(), abi.Enforce))(a.t)
}

// wantReads asks a confined task to read @/a and @/b.
func (a *adoption) wantReads(when string, first, second bool) {
	a.t.Helper()
	for name, allowed := range map[string]bool{"a": first, "b": second} {
		s := &stage{lab: a.lab, t: a.t, dir: a.dir, cgroup: a.group, exe: must1(prober())(a.t)}
		p := s.start("", nil, syscall.EACCES, "open", "r", "@/"+name).wait()
		if got := p.errno == 0; p.startErr != nil || got != allowed || p.errno != 0 && p.errno != syscall.EACCES {
			a.t.Errorf("%s: read of %s allowed: %v, want %v: %v", when, name, got, allowed, p)
		}
	}
}

// TestAdopt adopts what is pinned. Its parts share one set, and any of them may run
// alone.
func TestAdopt(t *testing.T) {
	t.Run("goes on with the same generation", adoptGoesOn)
	t.Run("release waits for cgroups and tasks", releaseWaits)
	t.Run("refuses what is not whole", adoptRefuses)
}

func adoptGoesOn(t *testing.T) {
	a := newAdoption(t)
	a.wantReads("before", true, false)
	a.install("@/b")
	before := must1(a.Workloads())(t)
	a.leave(t)
	a.wantReads("with nobody there", false, true)
	began := time.Now()
	a.adopt(t)
	t.Logf("adopted in %v", time.Since(began))
	after := must1(a.Workloads())(t)
	if len(after) != 1 || after[0].Name != "first" || after[0].Generation != 2 || after[0].Words != before[0].Words || after[0].Denied == 0 {
		t.Fatalf("before %+v\nafter %+v", before, after)
	}
	plan := must1(compile("/nothing", a.dir, permit(look, "@/b")))(t)
	if !slices.Equal(must1(a.Table(a.id))(t), plan.Table.Words()) {
		t.Error("the table read back differs from what was installed")
	}
	a.wantReads("adopted", false, true)
	for i := range 20 { // takes turns in the arena: no table damages another
		other := must1(a.Claim("other"))(t)
		must1(a.Install(other, plan.Table.Words(), abi.Enforce))(t)
		if g := a.install([]string{"@/a", "@/b"}[i%2]); g != uint32(3+i) {
			t.Fatalf("generation %d, want %d", g, 3+i)
		}
		a.wantReads("swapped", i%2 == 0, i%2 == 1)
		must(t, a.Release(other))
	}
	if _, err := a.Claim("first"); err == nil {
		t.Error("a name was claimed twice")
	}
	a.ended = must1(a.Claim("ended"))(t)
	must(t, a.Retire(a.ended))
	must(t, a.Retire(a.id))
	a.wantReads("retired", false, false)
	a.leave(t)
	a.adopt(t)
	if list := must1(a.Workloads())(t); len(list) != 0 {
		t.Errorf("left: %+v", list)
	}
	a.wantReads("retired, and adopted", false, false)
}

func releaseWaits(t *testing.T) {
	a := newAdoption(t)
	if err := a.Release(a.id); !errors.Is(err, bpf.ErrInUse) {
		t.Errorf("release with a cgroup: %v", err)
	}
	// A task that was moved out keeps the workload after its cgroup is gone.
	s := &stage{lab: a.lab, t: t, dir: a.dir, cgroup: a.group, exe: must1(prober())(t)}
	p := s.start("", nil, syscall.EACCES, "gate", "open", "r", "@/b")
	p.ready()
	if in := must1(a.Confined(p.cmd.Process.Pid))(t); !in {
		t.Error("the task is not known as confined")
	}
	if in := must1(bpf.ConfinedBy(a.pins, os.Getpid()))(t); in {
		t.Error("this process passes for confined")
	}
	must(t, os.WriteFile(cgroups+"/cgroup.procs", []byte(fmt.Sprint(p.cmd.Process.Pid)), 0))
	must(t, syscall.Rmdir(a.group))
	if err := a.Release(a.id); !errors.Is(err, bpf.ErrInUse) {
		t.Errorf("release with a task: %v", err)
	}
	p.pass()
	if p.wait(); p.errno != syscall.EACCES {
		t.Errorf("task outside the cgroup: %v", p)
	}
	for end := time.Now().Add(5 * time.Second); a.Release(a.id) != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("release with nothing left: %v", a.Release(a.id))
		}
	}
	if list := must1(a.Workloads())(t); len(list) != 0 {
		t.Errorf("left: %+v", list)
	}
	if id := must1(a.Claim("first"))(t); id == a.id {
		t.Errorf("number %d is used again at once", id)
	}
}

func adoptRefuses(t *testing.T) {
	l := openSmall(t)
	if _, err := bpf.Adopt("/sys/fs/bpf/nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no pins: %v", err)
	}
	var incomplete *bpf.IncompleteError
	l.leave(t)
	t.Cleanup(func() { l.adopt(t) })
	for _, pattern := range []string{"link_*", "map_members", "map_registry", "prog_*"} {
		pins := must1(filepath.Glob(filepath.Join(l.pins, pattern)))(t)
		if len(pins) == 0 {
			t.Fatalf("no pin %s", pattern)
		}
		must(t, os.Rename(pins[0], l.pins+"/aside"))
		if _, err := bpf.Adopt(l.pins); !errors.As(err, &incomplete) {
			t.Errorf("without %s: %v", pins[0], err)
		}
		must(t, os.Rename(l.pins+"/aside", pins[0]))
	}
	must(t, must1(bpf.Adopt(l.pins))(t).Abandon())

	registry := must1(ebpf.LoadPinnedMap(l.pins+"/map_registry", nil))(t)
	header := must1(registry.LookupBytes(uint32(0)))(t)
	header[0]++ // of another build
	must(t, registry.Put(uint32(0), header))
	t.Cleanup(func() {
		header[0]--
		must(t, registry.Put(uint32(0), header))
		must(t, registry.Close())
	})
	var foreign *bpf.ForeignError
	if _, err := bpf.Adopt(l.pins); !errors.As(err, &foreign) {
		t.Errorf("pins of another build: %v", err)
	}
}
