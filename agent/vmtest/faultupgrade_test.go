package vmtest

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// ofUpgrades is the kill that the first kernel has, where not all are wanted; the others have
// those before it. Each case loads three sets.
const ofUpgrades = "bpf.heir-placed"

// heirPrograms take marks over.
const heirPrograms = "heir_marks,heir_newtask"

// upgradeCases reach the points of an upgrade, in its order.
var upgradeCases = []faultCase{
	{point: "bpf.pin-link:3", way: "upgrade", says: "@agent-beside"},
	{point: "bpf.pin-registry", way: "upgrade", says: "@agent-beside"},
	{point: "bpf.heir-workload:2", way: "upgrade", says: "workload others"},
	{point: "bpf.heir-attach", way: "upgrade", says: "marks"},
	{point: "bpf.heir-marks", way: "upgrade", says: "marks"},
	{point: "bpf.heir-entry", way: "upgrade", says: "cgroups"},
	{point: "bpf.heir-marks:2", way: "upgrade", says: "marks"},
	{point: "bpf.heir-place", way: "upgrade", says: "folder"},
	{point: "bpf.heir-placed", way: "upgrade"},
	{point: "bpf.bury", way: "upgrade", says: "two sets enforce"},
	{point: "bpf.unpin:2", way: "upgrade", says: "link_"},
	{point: "bpf.bury-count", way: "upgrade", says: "not counted"},
}

// placed reports whether the point is behind the moment from which on the new set counts.
func (c faultCase) placed() bool {
	i := slices.IndexFunc(upgradeCases, func(d faultCase) bool { return d.point == "bpf.heir-placed" })
	return slices.IndexFunc(upgradeCases, func(d faultCase) bool { return d.point == c.point }) >= i
}

// TestFaultsOfUpgrades lets an agent be killed, and fail, in the middle of an upgrade. The
// next one, of either build, goes on, and nothing is open, or denied, that was not.
func TestFaultsOfUpgrades(t *testing.T) {
	f := newFaults(t)
	began := time.Now()
	defer f.kill()
	f.load = strings.Join([]string{identityPrograms, openPrograms, "roll", heirPrograms}, ",")
	for _, action := range []string{"kill", "error"} {
		for i, c := range upgradeCases {
			all := os.Getenv("STOCKADE_FAULTS") == "all"
			if action == "error" && (c.sure() || !all) || !all && upgradeCases[(i+share())%len(upgradeCases)].point != ofUpgrades {
				continue
			}
			f.upgrade(c, action, i%2 == 0)
		}
	}
	f.row("%d operations during upgrades, %d wrongly allowed; %.0f s", f.all, f.wrong, time.Since(began).Seconds())
}

// upgrade lets one thing go wrong in an upgrade. back: the earlier agent starts once more.
func (f *faults) upgrade(c faultCase, action string, back bool) {
	t := f.t
	what := "upgrade " + c.point + " " + action
	f.program = beforeProgram
	f.up()
	f.crowd = startCrowd("probe-opens")
	defer f.crowd.stop()
	f.crowd.rounds(t, 1)
	before := f.crowd.rest(t)
	f.crowd.goOn(t)
	f.kill()
	f.crowd.rounds(t, 1) // denials that nobody has read

	f.program = faultProgram
	f.order(c.order(action))
	err := f.begin()
	switch {
	case !f.fired(c.point):
		t.Errorf("%s: did not happen: %v\n%s", what, err, f.said(f.seen))
	case action == "kill" && !wasKilled(err):
		t.Errorf("%s: the agent ended with %v\n%s", what, err, f.said(f.seen))
	case action == "error" && (err == nil || !strings.Contains(f.said(f.seen), c.says)):
		t.Errorf("%s: the agent ended with %v, which says nothing of %q\n%s", what, err, c.says, f.said(f.seen))
	}
	if got := len(besidePins()) > 0; action == "error" && !c.placed() && got {
		t.Errorf("%s: pinned beside: %v", what, besidePins())
	}
	f.kill()
	f.crowd.rounds(t, 1)
	outcome := "the next takes its place"
	if back {
		outcome = "the earlier one " + f.goBack(what, c) + ", then " + outcome
	}
	f.up()
	if left := besidePins(); len(left) > 0 {
		t.Errorf("%s: pinned beside: %v", what, left)
	}
	if s, err := f.status(); err != nil || !s.Adopted || len(s.Workloads) != 2 {
		t.Errorf("%s: the next agent: %+v, %v", what, s, err)
	}
	f.crowd.rounds(t, 2)
	f.judge(what, outcome, f.now, f.now, f.crowd.rest(t).minus(before))
	f.readAll(what)
	f.crowd.stop()
	if r := stockade(t, "uninstall", "--force"); r.code != 0 {
		t.Errorf("%s: uninstall: exit %d: %s", what, r.code, r.stderr)
	}
	if err := f.ended(); err != nil {
		t.Errorf("%s: the agent after its uninstall: %v", what, err)
	}
	nothingLeft(t)
}

// goBack starts the earlier agent once more: as long as its set counts it goes on with that
// alone, afterwards it refuses.
func (f *faults) goBack(what string, c faultCase) string {
	f.t.Helper()
	if c.placed() {
		out, err := exec.Command(beforeProgram, "agent", "--config", agentConf).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "nothing is changed, and what is pinned goes on enforcing") {
			f.t.Errorf("%s: the earlier agent: %v: %s", what, err, out)
		}
		return "refuses"
	}
	f.program = beforeProgram
	f.up()
	if left := besidePins(); len(left) > 0 {
		f.t.Errorf("%s: pinned beside the earlier set, whose agent runs: %v", what, left)
	}
	if got := f.look(); got != f.now.reads() {
		f.t.Errorf("%s: under the earlier agent the probes can read %q", what, got)
	}
	f.crowd.goOn(f.t)
	f.kill()
	f.program = faultProgram
	return "goes on"
}

// readAll waits until every denial is accounted for: there are thousands. The probes rest.
func (f *faults) readAll(what string) {
	f.t.Helper()
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); time.Sleep(time.Second) {
		if w := f.workload("agents"); w.Denied == w.Delivered+w.Dropped+w.Lost {
			return
		}
	}
	f.counted(what)
}
