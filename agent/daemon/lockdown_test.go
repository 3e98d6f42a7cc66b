package daemon

import (
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// What the kernel locks down by a tripwire stays so, whatever is installed meanwhile, and
// is told even if the denial found no room; an unlock ends it.
func TestALockdownByTheKernelStays(t *testing.T) {
	y := newYard(t)
	d, kill := y.up()
	defer func() { kill() }()
	trip := func() {
		t.Helper()
		if err := y.set.SetMode(d.all.byName["one"].id, abi.Lockdown); err != nil {
			t.Fatal(err)
		}
	}
	trip()
	if _, err := d.Apply("one", api.Policy{Sources: []api.Source{{Name: "b", Text: permitB}}}); err != nil {
		t.Fatal(err)
	}
	y.want(y.status(d), 2, "lockdown", "applied")
	y.write("one.cedar", permitA+permitB) // the same mode, other policies
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	y.want(y.status(d), 3, "lockdown", "config")
	if _, err := d.SetMode("one", "enforce"); err != nil {
		t.Fatal(err)
	}
	y.want(y.status(d), 3, "enforce", "config")

	trip()
	for range 2 { // it is told once
		d.sweep()
		if notes := strings.Join(y.status(d).Notes, "\n"); strings.Count(notes, "workload one: locked down in the kernel") != 1 {
			t.Errorf("notes: %s", notes)
		}
	}
	y.write("agent.yaml", yardConfig+"    mode: audit\n") // which it has once it is unlocked
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	y.want(y.status(d), 3, "lockdown", "config")
	if err := d.unlock(d.all.byName["one"]); err != nil {
		t.Fatal(err)
	}
	y.want(y.status(d), 3, "audit", "config")
	if _, err := d.SetMode("one", "enforce"); err != nil {
		t.Fatal(err)
	}
	trip()
	kill()
	d, kill = y.up()
	y.want(y.status(d), 3, "lockdown", "config")
}
