package vmtest

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// heldRuns are the arguments of the program that probes run: the policy asking
// forbids the first and permits the second, the policy plain permits neither.
var heldRuns = []string{"daemon", "root"}

// Of counts, how often they were allowed and denied.
const evil, good = 0, 1

var heldPolicies = map[string]string{
	"plain": `@id("all") permit (principal, action, resource);
@id("id") forbid (principal, action == file_system::Action::"execute", resource == file_system::File::"/usr/bin/id");
`,
	"asking": `@id("all") permit (principal, action, resource);
@id("args") forbid (principal, action == file_system::Action::"execute", resource == file_system::File::"/usr/bin/id")
unless { context.arguments.positional_values.contains("root") };
`}

// TestFaultsOfHolds lets the agent be killed, fail and be slow where executions
// begin to wait for it and where it answers. What the policy forbids must never
// run; what it permits runs unless the agent is gone or failed, and again with
// the next.
func TestFaultsOfHolds(t *testing.T) {
	f := newFaults(t)
	began := time.Now()
	for name, text := range heldPolicies {
		put("/policy/"+name+".cedar", text)
	}
	if restricted := (faultCase{}).programs(); restricted != "" {
		f.load = restricted + "," + execPrograms
	}
	f.declareHeld("plain")
	f.up()
	f.crowd = startCrowd("probe-runs")
	defer func() {
		f.crowd.stop()
		f.kill()
		f.order("")
		if r := stockade(t, "uninstall", "--force"); r.code != 0 || len(pins()) > 0 {
			t.Errorf("uninstall: exit %d: %s", r.code, r.stderr)
		}
	}()
	f.crowd.rounds(t, 1)
	// What confirms is attached once, and stays: what can go wrong then comes first.
	for _, way := range []string{"confirm", "hold"} {
		for _, action := range []string{"error", "kill"} {
			cases, _ := casesOf(way, action)
			for _, c := range cases {
				f.beginToHold(c, action)
			}
		}
		f.beginToHold(faultCase{way: way, point: "all"}, "delay")
	}
	for _, action := range faultActions {
		asks, _ := casesOf("ask", action)
		for _, c := range asks {
			f.failHeld(c, action, func() {})
		}
		adoptions, _ := casesOf("readopt", action)
		for _, c := range adoptions {
			f.failHeld(c, action, func() {
				f.kill()
				if err := f.begin(); err != nil && !wasKilled(err) && action != "error" {
					t.Errorf("adopt %s: %v\n%s", c.point, err, f.said(f.seen))
				}
			})
		}
	}
	f.row("of what waits %d pairs, %d operations under them, %d wrongly allowed; %.0f s", len(f.rows), f.all, f.wrong, time.Since(began).Seconds())
}

// declareHeld declares one workload alone: what fails once would be tried again
// with the next.
func (f *faults) declareHeld(policy string) {
	text := strings.ReplaceAll(agentYAML, "agent.cedar", policy+".cedar")
	must(os.WriteFile(faultConf, []byte(text), 0o644))
}

// reload lets the agent follow the configuration.
func (f *faults) reload(what string) {
	f.t.Helper()
	if err := f.client.Reload(context.Background()); err != nil {
		f.t.Errorf("%s: reload: %v", what, err)
	}
}

// beginToHold lets the configuration change to a policy that asks, under a fault
// in what makes executions wait, and back: an agent of its own for each case, for
// some of it happens once in an agent's life. A delay is one of all points.
func (f *faults) beginToHold(c faultCase, action string) {
	t := f.t
	what := c.way + " " + c.point + " " + action
	f.kill()
	f.declareHeld("plain")
	f.up()
	if got := f.look(); got != "" {
		t.Errorf("%s: under the policy that forbids both runs %q", what, got)
	}
	before := f.crowd.rest(t)
	orders := c.order(action)
	slow, _ := casesOf(c.way, "delay")
	if action == "delay" {
		orders = strings.Join(delays(slow), ",")
	}
	f.order(orders)
	f.declareHeld("asking")
	f.crowd.goOn(t)
	err := f.client.Reload(context.Background())
	f.crowd.rounds(t, 2)
	outcome := "tickets"
	switch action {
	case "kill":
		if ended := f.ended(); !wasKilled(ended) {
			t.Errorf("%s: the agent ended with %v", what, ended)
		}
		f.crowd.rounds(t, 1)
		outcome = "nobody answers"
	case "error":
		if !f.told(c, err) {
			t.Errorf("%s: %v: says nothing of %q: %s", what, err, c.says, f.notes())
		}
	case "delay":
		for _, c := range slow {
			if !f.fired(c.point) {
				t.Errorf("%s delay: did not happen", c.point)
			}
		}
		f.wantHeld(what)
		outcome = "done"
	}
	if action != "delay" && !f.fired(c.point) {
		t.Errorf("%s: did not happen: %v\n%s", what, err, f.said(f.seen))
	}
	f.judgeHeld(what, outcome, f.crowd.rest(t).minus(before), false)
	if action == "delay" {
		f.crowd.goOn(t)
		return
	}
	f.order("")
	f.declareHeld("plain")
	if f.cmd == nil {
		f.up()
	} else {
		f.reload(what)
	}
	f.counted(what)
	f.crowd.goOn(t)
}

// failHeld lets something go wrong under probes of which one is permitted.
func (f *faults) failHeld(c faultCase, action string, do func()) {
	t := f.t
	what := c.way + " " + c.point + " " + action
	f.wantHeld(what)
	before := f.crowd.rest(t)
	f.order(c.order(action))
	f.crowd.goOn(t)
	do()
	wait(t, c.point, func() bool { return f.fired(c.point) })
	outcome := "done"
	switch {
	case action == "kill":
		if f.cmd != nil {
			if err := f.ended(); !wasKilled(err) {
				t.Errorf("%s: the agent ended with %v", what, err)
			}
		}
		outcome = "nobody answers"
	case action == "error" && f.cmd == nil:
		if !strings.Contains(f.said(f.seen), c.says) {
			t.Errorf("%s: it says nothing of %q: %s", what, c.says, f.said(f.seen))
		}
		outcome = "nobody answers"
	case action == "error":
		wait(t, what+" to be told", func() bool { return f.told(c, nil) })
		outcome = "a ticket"
	}
	f.crowd.rounds(t, 2)
	met := f.crowd.rest(t).minus(before)
	failed := action == "kill" || action == "error" && c.point != "bpf.answer" // which may be a no
	if failed && met[good][1] == 0 {
		t.Errorf("%s: nothing was denied: %v", what, met)
	}
	f.judgeHeld(what, outcome, met, action == "delay" && c.way == "ask")
	if f.cmd == nil {
		f.up()
	}
	f.order("")
	f.counted(what)
	f.crowd.goOn(t)
	f.wantHeld(what + ", afterwards")
}

// wantHeld waits until what the policy permits runs, and only that.
func (f *faults) wantHeld(what string) {
	f.t.Helper()
	want := " " + raceFiles[good]
	got, err := "", error(nil)
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		before := f.crowd.rest(f.t)
		f.crowd.goOn(f.t)
		f.crowd.rounds(f.t, 1)
		if got, err = f.crowd.rest(f.t).minus(before).reads(); err == nil && got == want {
			return
		}
	}
	f.t.Errorf("%s: of both runs %q (%v), want %q: %s", what, got, err, want, f.notes())
}

func (f *faults) notes() string {
	s, err := f.status()
	if err != nil {
		return err.Error()
	}
	return strings.Join(append(s.Notes, s.Error), "\n")
}

// judgeHeld adds a line to the table. always says that what is permitted may not
// have been denied.
func (f *faults) judgeHeld(what, outcome string, met counts, always bool) {
	f.t.Helper()
	allowed, denied := met.sum()
	wronglyDenied := uint64(0)
	if always {
		wronglyDenied = met[good][1]
	}
	f.all += allowed + denied
	f.wrong += met[evil][0]
	f.row("%-38s %6d %6d %6d %6d  %s", what, allowed, denied, met[evil][0], wronglyDenied, outcome)
	if met[evil][0]+wronglyDenied > 0 || allowed+denied == 0 {
		f.t.Errorf("%s: wrongly allowed %d times, wrongly denied %d times: %v", what, met[evil][0], wronglyDenied, met)
	}
}
