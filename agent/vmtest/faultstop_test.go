package vmtest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/agent"
)

// killSteps are those of a kill.
var killSteps = []string{"lockdown", "freeze", "count", "list sockets", "destroy sockets", "evidence", "kill", "destroy sockets", "verify", "list holders", "thaw", "sign"}

// TestFaultsOfResponses lets the agent be killed, and fail, at each step of a kill: that is
// then done without it, what was locked down stays so, a step that fails stops no other, and
// the next kill is verified.
// Each kernel has its share of the steps.
func TestFaultsOfResponses(t *testing.T) {
	f := newFaults(t)
	f.load = identityPrograms + "," + openPrograms + "," + execPrograms + ",roll"
	f.up()
	defer func() {
		f.kill()
		if r := stockade(t, "uninstall", "--force"); r.code != 0 {
			t.Errorf("uninstall: exit %d: %s", r.code, r.stderr)
		}
	}()
	for i, name := range killSteps {
		for j, action := range []string{"kill", "error"} {
			if (2*i+j)%shares != share() && os.Getenv("STOCKADE_FAULTS") != "all" {
				continue
			}
			f.stopped(fmt.Sprintf("step %d, %s: %s", i+1, name, action), i, action)
		}
	}
}

// shares is how many kernels share the steps.
const shares = 3

// victims is how many processes there are to be killed.
const victims = 3

// stopped lets one step go wrong.
func (f *faults) stopped(what string, i int, action string) {
	t := f.t
	begins(t, agentGroup, strings.Repeat("sleep 1000 & ", victims)+"wait")
	f.order(fmt.Sprintf("respond.step:%d=%s", i+1, action))
	x := stockade(t, "kill", "agents", "--within", "5s", "--json")
	fired := f.fired(fmt.Sprintf("respond.step:%d", i+1))
	if action == "kill" {
		if e := f.ended(); !wasKilled(e) || !fired || x.code != 0 {
			t.Errorf("%s: the agent ended with %v, the kill with %d: %s", what, e, x.code, x.stderr)
		}
		var r agent.Response
		if err := json.Unmarshal([]byte(x.stdout), &r); err != nil || !r.Verified || !r.Unattended || r.Evidence == nil {
			t.Errorf("%s: without the agent: %v: %s", what, err, x.stdout)
		}
		if left, _ := exec.Command("pgrep", "-f", "sleep 1000").Output(); len(left) > 0 {
			t.Errorf("%s: left %s", what, left)
		}
		f.up()
		if w := f.workload("agents"); w.Mode != "lockdown" {
			t.Errorf("%s: then mode %s", what, w.Mode)
		}
		if r := respond(t, 0, "kill", "agents"); r.Evidence == nil {
			t.Errorf("%s: the next kill: %+v", what, r)
		}
	} else {
		f.failedStep(what, i, fired, x.stdout)
	}
	f.order("")
	respond(t, 0, "unlock", "agents")
	wantReads(t, agentGroup, what, "a both")
	f.row("%-38s", "respond "+what)
}

// failedStep checks what a kill says of which one step failed.
func (f *faults) failedStep(what string, i int, fired bool, out string) {
	t := f.t
	var r agent.Response
	if err := json.Unmarshal([]byte(out), &r); err != nil || !fired {
		t.Fatalf("%s: %v, happened %v: %s", what, err, fired, out)
	}
	// Without its sockets, or a look, nothing is known for certain.
	if want := i != 3 && i != 8; r.Verified != want {
		t.Errorf("%s: verified %v, want %v: %+v", what, r.Verified, want, r.Steps)
	}
	if i >= len(r.Steps) || r.Steps[i].Name != killSteps[i] || r.Steps[i].Error == "" {
		t.Errorf("%s: its error is not told: %+v", what, r.Steps)
	}
	if w := f.workload("agents"); w.Mode != "lockdown" {
		t.Errorf("%s: mode %s", what, w.Mode)
	}
	if left, _ := exec.Command("pgrep", "-f", "sleep 1000").Output(); len(left) > 0 {
		t.Errorf("%s: left %s", what, left)
	}
}
