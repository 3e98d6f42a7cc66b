package daemon

import (
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/label"
	"github.com/stockade-dev/stockade/agent/tripwire"
	"github.com/stockade-dev/stockade/bpf/abi"
)

const honeytoken = permitA + `@id("honey") @respond("freeze") forbid (principal, action, resource == file_system::File::"/a/key");
@id("audited") @mode("audit") @respond("kill") forbid (principal, action, resource == file_system::File::"/a/other");
`

// denial is one of a workload, at a path.
func (y *yard) denial(d *Daemon, name, path string) abi.Event {
	w := d.all.named(name)
	y.seq++
	return abi.Event{Seq: y.seq, Workload: w.id, Generation: w.generation, Missing: abi.MaskOf(abi.Read), Action: abi.Read, Path: path,
		PathStatus: abi.PathOK, Reason: abi.ReasonPolicy, Kind: abi.File}
}

// A denial by a policy that says so is responded to: lockdown before the next denial is
// read, the rest beside it, and once.
func TestAPolicyTrips(t *testing.T) {
	y := newYard(t)
	y.write("one.cedar", honeytoken)
	d, kill := y.up()
	defer kill()
	deliver(d, y.denial(d, "one", "/b"))
	deliver(d, y.denial(d, "one", "/a/other"))
	if m := y.mode(d, "one"); m != abi.Enforce {
		t.Errorf("after denials that nothing responds to: mode %v", m)
	}
	deliver(d, y.denial(d, "one", "/a/key"))
	if m := y.mode(d, "one"); m != abi.Lockdown {
		t.Errorf("mode %v", m)
	}
	const says = "workload one: freeze by policy honey: verified: every process of it stands still"
	await(t, "no response", func() bool { _, notes := y.notes(d); return strings.Contains(notes, says) })
	// What ps and inspect tell is not to be read as the name of a user.
	if w, err := d.statusOf("one"); err != nil || len(w.Responses) != 1 || !strings.HasPrefix(w.Responses[0].String(), "freeze by policy honey on 20") {
		t.Errorf("%+v, %v", w.Responses, err)
	}
	deliver(d, y.denial(d, "one", "/a/key"))
	if _, err := d.Unlock(root, label.Selection{All: true}); err != nil || y.mode(d, "one") != abi.Enforce {
		t.Fatalf("%v, mode %v", err, y.mode(d, "one"))
	}
	if n, notes := y.notes(d); strings.Count(notes, says) != 1 {
		t.Errorf("%d notes: %s", n, notes)
	}
	deliver(d, y.denial(d, "one", "/a/key"))
	await(t, "after unlock: no response", func() bool { _, notes := y.notes(d); return strings.Count(notes, says) == 2 })
}

// A fault of a response that a denial began is told, and the agent goes on.
func TestATripThatPanicsDoesNotEndTheAgent(t *testing.T) {
	y := newYard(t)
	y.write("one.cedar", honeytoken)
	d, kill := y.up()
	t.Cleanup(kill)
	d.desk.Done = func(*api.Response) { panic("out of luck") }
	deliver(d, y.denial(d, "one", "/a/key"))
	await(t, "it is not told", func() bool {
		_, notes := y.notes(d)
		return strings.Contains(notes, "workload one: policy honey: freeze: panic: out of luck: it is a fault of this program")
	})
	if m := y.mode(d, "one"); m != abi.Lockdown {
		t.Errorf("mode %v", m)
	}
}

// notes are those of the status.
func (y *yard) notes(d *Daemon) (int, string) {
	s, err := d.Status()
	if err != nil {
		y.t.Fatal(err)
	}
	return len(s.Notes), strings.Join(s.Notes, "\n")
}

// More denials than the budget are responded to, also of a run, whose next agent goes on.
func TestABudgetTrips(t *testing.T) {
	y := newYard(t)
	y.write("agent.yaml", strings.Replace(yardConfig, "    policies:", "    responses: {denials: 3 in 1h, respond: lockdown}\n    policies:", 1))
	d, kill := y.up()
	for range 3 {
		deliver(d, y.denial(d, "one", "/b"))
	}
	if m := y.mode(d, "one"); m != abi.Enforce {
		t.Errorf("within it: mode %v", m)
	}
	deliver(d, y.denial(d, "one", "/b"))
	if m := y.mode(d, "one"); m != abi.Lockdown {
		t.Errorf("beyond it: mode %v", m)
	}
	await(t, "no response", func() bool {
		_, notes := y.notes(d)
		return strings.Contains(notes, "workload one: lockdown by budget (more than 3 denials in 1h0m0s): verified: all that policies could decide")
	})
	kill()
}

func TestTheBudgetOfARunOutlivesItsAgent(t *testing.T) {
	y := newYard(t)
	y.set.real = true
	r, peer := runRequest(t)
	budget, err := tripwire.ParseBudget("1/1h=kill")
	if err != nil {
		t.Fatal(err)
	}
	r.Budget = budget
	d, kill := y.up()
	if _, err := d.StartRun(peer, r); err != nil {
		t.Fatal(err)
	}
	kill()
	d, kill = y.up()
	t.Cleanup(kill)
	for range 2 {
		deliver(d, y.denial(d, r.Name, "/k"))
	}
	if m := y.mode(d, r.Name); m != abi.Lockdown {
		t.Errorf("mode %v", m)
	}
	await(t, "no response", func() bool {
		_, notes := y.notes(d)
		return strings.Contains(notes, "workload "+r.Name+": kill by budget (more than 1 denial in 1h0m0s): verified")
	})
	r.Budget.Respond = "stop"
	if _, err := d.StartRun(peer, r); err == nil || !strings.Contains(err.Error(), "unknown") {
		t.Errorf("%v", err)
	}
}
