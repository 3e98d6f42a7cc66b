package vmtest

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// TestEndedWorkloads takes their numbers from workloads that have cgroups and tasks
// left: these are denied everything, also once another workload has the number.
func TestEndedWorkloads(t *testing.T) {
	l := openSmall(t)
	first, second := stageOn(t, l), stageOn(t, l, permit(look, "@/ws/"))
	second.tree("ws/key")
	key := []string{"open", "r", "@/ws/key"}
	deep := *second
	deep.cgroup = second.subgroup("deep").Name()
	left := func() (groups, tasks int) {
		t.Helper()
		for _, of := range must1(l.Groups())(t) {
			if of == second.id {
				groups++
			}
		}
		return groups, must1(l.Tasks())(t)[second.id]
	}
	second.run(trial{name: "control", probe: key})
	atGate := func(s *stage, argv ...string) *attempt {
		a := s.start("", nil, eacces, append([]string{"gate"}, argv...)...)
		a.ready()
		return a
	}
	running, below, parent := atGate(second, key...), atGate(&deep, key...), atGate(second, "fork", "@/ws/key")
	if err := l.Release(second.id); !errors.Is(err, bpf.ErrInUse) {
		t.Errorf("a number is given back of which there are cgroups: %v", err)
	}
	if groups, tasks := left(); groups != 2 || tasks == 0 {
		t.Errorf("control: %d cgroups, %d tasks", groups, tasks)
	}
	must(t, l.Retire(first.id))
	must(t, l.Retire(second.id))
	if groups, tasks := left(); groups != 0 || tasks != 0 {
		t.Errorf("%d cgroups, %d tasks have a number that was given back", groups, tasks)
	}

	// Another workload gets the number.
	next := *second
	next.cgroup += "-next"
	next.seq, next.denied = 0, 0
	must(t, os.Mkdir(next.cgroup, 0o755))
	must(t, l.RegisterRoot(next.id))
	next.install(abi.Enforce, permit(look, "@/ws/"))
	must(t, l.Confine(cgroupID(t, next.cgroup), next.id))
	next.run(trial{name: "next workload of the number is allowed what its policy permits", probe: key})
	denied := func(name string, a func() *attempt) {
		t.Helper()
		first.step(name, isDenied, func() {
			a := a().wait()
			got := first.collect()
			if a.code != 1 || len(got) != 1 || got[0].Reason != abi.ReasonNoPlan || got[0].Missing.String() != "open,read" || got[0].PID != uint32(a.pid) {
				first.t.Errorf("%v, events %v", a, got)
			}
			first.balance(len(got))
		})
	}
	pass := func(a *attempt) func() *attempt { return func() *attempt { a.pass(); return a } }
	denied("task that is left is denied", pass(running))
	denied("task that is left in a cgroup below is denied", pass(below))
	denied("child of a task that is left is denied", pass(parent))
	denied("task that enters the cgroup that is left is denied", func() *attempt { return second.start("", nil, eacces, key...) })
	next.quiet("next workload of the number")

	// Tasks that come meanwhile never stay with a number that was given back.
	for i := range 4 {
		id := must1(l.Claim(fmt.Sprintf("over-%d", i)))(t)
		group := fmt.Sprintf("%s-over-%d", second.cgroup, i)
		must(t, os.Mkdir(group, 0o755))
		over := *second
		over.cgroup, over.id = group, id
		must(t, l.RegisterRoot(id))
		over.install(abi.Enforce, permit(look, "@/ws/"))
		must(t, l.Confine(cgroupID(t, group), id))
		done := make(chan error)
		var crowd []*attempt
		for j := range 6 {
			if j == 2 {
				go func() { done <- l.Retire(id) }()
			}
			crowd = append(crowd, over.start("", nil, 0, append([]string{"gate"}, key...)...))
		}
		if err := <-done; err != nil {
			t.Errorf("retired while tasks enter: %v", err)
		}
		if n := must1(l.Tasks())(t)[id]; n != 0 {
			t.Errorf("%d tasks have a number that was given back", n)
		}
		for _, a := range crowd {
			a.ready()
			a.pass()
			if a.wait(); a.code == 0 {
				t.Errorf("allowed: %v", a)
			}
		}
		for _, w := range must1(l.Workloads())(t) {
			if w.ID == id {
				t.Errorf("workload %d is left: %s", id, w.Name)
			}
		}
	}
	l.drain(t)
}
