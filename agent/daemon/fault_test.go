package daemon

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// faulty is a set with which things go wrong.
type faulty struct {
	*fakeSet
	die     bool   // nobody comes back from a change
	refuse  uint32 // installs of this workload fail
	release error  // after the plan is gone
}

func (k *faulty) Install(id uint32, words []uint64, mode abi.Mode) (uint32, error) {
	if k.die {
		runtime.Goexit()
	}
	if id == k.refuse {
		return 0, errors.New("refused")
	}
	return k.fakeSet.Install(id, words, mode)
}

func (k *faulty) SetMode(id uint32, mode abi.Mode) error {
	if k.die {
		runtime.Goexit()
	}
	return k.fakeSet.SetMode(id, mode)
}

func (k *faulty) Shift(id uint32, mode abi.Mode) (abi.Mode, error) {
	if k.die && k.of(id).Mode != mode {
		runtime.Goexit()
	}
	return k.fakeSet.Shift(id, mode)
}

func (k *faulty) Release(id uint32) error {
	if k.release == nil {
		return k.fakeSet.Release(id)
	}
	w := k.of(id)
	w.Generation, w.Mode = 0, 0
	delete(k.tables, id)
	return k.release
}

// faultyYard is one whose daemons have such a set.
func faultyYard(t *testing.T) (*yard, *faulty) {
	y := newYard(t)
	k := &faulty{fakeSet: y.set}
	_, kill := y.up()
	kill()
	y.machine.Adopt = func(string) (host.Kernel, error) { return k, nil }
	return y, k
}

// killed does something that never comes back.
func killed(t *testing.T, do func()) {
	t.Helper()
	over, back := make(chan struct{}), false
	go func() { defer close(over); do(); back = true }()
	if <-over; back {
		t.Fatal("nothing was killed")
	}
}

func TestModeIsFollowedAfterAKillInTheMiddleOfAReload(t *testing.T) {
	for what, policy := range map[string]string{"mode alone": permitA, "policy too": permitB} {
		t.Run(what, func(t *testing.T) {
			y, k := faultyYard(t)
			d, _ := y.up()
			y.write("agent.yaml", yardConfig+"    mode: audit\n")
			y.write("one.cedar", policy)
			k.die = true
			killed(t, func() { _ = d.Reload() })
			k.die = false
			d.lock.Close()
			d, stop := y.up()
			defer stop()
			if w := y.status(d).Workloads[0]; w.Mode != "audit" {
				t.Errorf("%+v", w)
			}
			if _, err := d.SetMode("one", "lockdown"); err != nil { // by hand
				t.Fatal(err)
			}
			if err := d.Reload(); err != nil || y.status(d).Workloads[0].Mode != "lockdown" {
				t.Errorf("%v, %+v", err, y.status(d).Workloads)
			}
		})
	}
}

func TestHalfAReloadSaysWhatWasChanged(t *testing.T) {
	y, k := faultyYard(t)
	y.write("agent.yaml", strings.Replace(yardConfig, "workloads:", "workloads:\n  - {name: two, match: {cgroup: stockade-test-two}, principal: 'User::\"two\"', policies: two.cedar}", 1))
	y.write("two.cedar", permitA)
	d, kill := y.up()
	defer kill()
	k.refuse = 1 // which is "one", the second
	y.write("one.cedar", permitB)
	y.write("two.cedar", permitB)
	err := d.Reload()
	s := y.status(d)
	if err == nil || s.Error != err.Error() || !strings.Contains(s.Error, "not changed: one; in force: two; mend what follows and reload: workload one: refused") {
		t.Errorf("%v\nstatus: %s", err, s.Error)
	}
	if one, two := s.Workloads[0], s.Workloads[1]; one.Generation != 1 || two.Generation != 2 || one.Error != "workload one: refused" || two.Error != "" {
		t.Errorf("%+v", s.Workloads)
	}
	k.refuse = 0
	if err := d.Reload(); err != nil || y.status(d).Error != "" || y.status(d).Workloads[0].Generation != 2 || y.status(d).Workloads[1].Generation != 2 {
		t.Errorf("mended: %v, %+v", err, y.status(d))
	}
}

func TestWorkloadThatWasHalfReleasedIsInstalledAnew(t *testing.T) {
	for what, restart := range map[string]bool{"by the same agent": false, "by the next": true} {
		t.Run(what, func(t *testing.T) {
			y, k := faultyYard(t)
			y.write("agent.yaml", strings.Replace(yardConfig, "name: one", "name: two", 1))
			d, kill := y.up()
			k.release = errors.New("counters: broken")
			d.sweep()
			if restart {
				kill()
				d, kill = y.up()
			}
			defer kill()
			y.write("agent.yaml", yardConfig)
			if err := d.Reload(); err != nil {
				t.Fatal(err)
			}
			for _, w := range y.status(d).Workloads {
				if w.Name == "one" && w.Generation == 0 {
					t.Errorf("declared again, without a plan: %+v", w)
				}
			}
		})
	}
}

func TestStartThatCannotBeAskedLeavesNothing(t *testing.T) {
	y := newYard(t)
	y.write("agent.yaml", strings.Replace(yardConfig, "socket: sock", "socket: /proc/none/sock", 1))
	if err := y.machine.serve(context.Background(), y.config(), &y.said); err == nil || !strings.Contains(err.Error(), "/proc/none/sock") {
		t.Errorf("%v", err)
	}
	if !y.set.Closed {
		t.Error("its set is still pinned")
	}
	y.set.Closed = false
	y.write("agent.yaml", yardConfig)
	_, stop := y.serving()
	if err := stop(); err != nil || y.set.Closed {
		t.Errorf("an agent that served: %v, its set was removed: %v", err, y.set.Closed)
	}
}
