package vmtest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// readable runs a task in a cgroup and names the files that it can read.
func readable(group string) string {
	out, _ := in(group, "for f in a b both none; do cat "+agentDir+"/$f 2>/dev/null; done; true")
	return strings.Join(strings.Fields(out), " ")
}

const everything = "a b both none"

// whole reports whether what is pinned would be adopted.
func whole() bool {
	_, err := os.Stat("/sys/fs/bpf/stockade/@agent/map_registry")
	return err == nil
}

// starts lets agents fail that start where nothing is pinned. One that is killed
// leaves all confined or none; one that fails leaves nothing; the next always
// starts.
func (f *faults) starts() {
	t := f.t
	for _, action := range []string{"error", "kill"} {
		cases, _ := casesOf("start", action)
		for _, c := range cases {
			what := "start " + c.point + " " + action
			f.load = c.programs()
			f.order(c.order(action))
			err := f.begin()
			got := readable(agentGroup)
			if !f.fired(c.point) {
				t.Errorf("%s: did not happen: %v\n%s", what, err, f.said(f.seen))
			}
			outcome := "nothing is confined"
			switch {
			case action == "kill" && !wasKilled(err):
				t.Errorf("%s: the agent ended with %v\n%s", what, err, f.said(f.seen))
			case action == "kill" && whole() && got == "a both":
				outcome = "all is confined"
			case action == "error" && c.suffers && err == nil:
				awaitReads(t, agentGroup, what, "a both")
				outcome = "all is confined at the next look"
				f.kill()
			case action == "error" && (err == nil || !strings.Contains(f.said(f.seen), c.says)):
				t.Errorf("%s: the agent ended with %v, which says nothing of %q\n%s", what, err, c.says, f.said(f.seen))
			case got != everything:
				t.Errorf("%s: tasks can read %q", what, got)
			case action == "error" && len(pins()) > 0:
				t.Errorf("%s: pinned: %v", what, pins())
			}
			f.row("%-38s %6s %6s %6s %6s  %s, %d pins", what, "", "", "", "", outcome, len(pins()))
			f.kill()
			if whole() {
				f.order("")
				if r := stockade(t, "uninstall", "--force"); r.code != 0 || len(pins()) > 0 {
					t.Errorf("%s: uninstall: exit %d: %s", what, r.code, r.stderr)
				}
			}
		}
	}
	f.load = ""
	cases, _ := casesOf("start", "delay")
	f.delayed("start", cases, func() error { return f.begin() })
	if f.cmd == nil {
		f.up()
	}
	wantReads(t, agentGroup, "the first whole start", "a both")
}

// delayed does something that is slow at many points at once.
func (f *faults) delayed(way string, cases []faultCase, do func() error) {
	f.t.Helper()
	f.order(strings.Join(delays(cases), ","))
	if err := do(); err != nil {
		f.t.Errorf("%s, slow: %v\n%s", way, err, f.said(f.seen))
	}
	for _, c := range cases {
		if !f.fired(c.point) {
			f.t.Errorf("%s %s delay: did not happen", way, c.point)
		}
		f.row("%-38s %6s %6s %6s %6s  done", way+" "+c.point+" delay", "", "", "", "")
	}
}

// adoptSlowly adopts with all delays at once.
func (f *faults) adoptSlowly() {
	before := f.crowd.rest(f.t)
	f.crowd.goOn(f.t)
	f.kill()
	cases, _ := casesOf("adopt", "delay")
	f.delayed("adopt", cases, f.begin)
	f.settle("slow adoptions", f.now)
	f.judge("adopt, all delays", "as before", f.now, f.now, f.crowd.rest(f.t).minus(before))
	f.counted("slow adoptions")
	f.crowd.goOn(f.t)
}

// delays are the orders that make cases slow.
func delays(cases []faultCase) (list []string) {
	for _, c := range cases {
		list = append(list, c.order("delay"))
	}
	return list
}

// ends lets uninstalls fail. Each goes on where the one before was stopped.
func (f *faults) ends() {
	t := f.t
	ctx := context.Background()
	kills, _ := casesOf("uninstall", "kill")
	for _, c := range kills {
		what := "uninstall " + c.point + " kill"
		f.order(c.order("kill"))
		var err error
		if f.cmd != nil {
			_, failed := f.client.Uninstall(ctx, false)
			if err = f.ended(); failed == nil {
				t.Errorf("%s: it says that it is done", what)
			}
		} else {
			cmd := exec.Command(faultProgram, "uninstall")
			cmd.Env = append(os.Environ(), "STOCKADE_FAULT=@"+faultOrders)
			said, openErr := os.OpenFile(faultSaid, os.O_APPEND|os.O_WRONLY, 0)
			must(openErr)
			cmd.Stderr = said
			err = cmd.Run()
			said.Close()
		}
		if !f.fired(c.point) || !wasKilled(err) {
			t.Errorf("%s: it ended with %v\n%s", what, err, f.said(f.seen))
		}
		f.row("%-38s %6s %6s %6s %6s  %d pins, whole: %v", what, "", "", "", "", len(pins()), whole())
	}
	if f.cmd == nil { // over what the last one left
		f.up()
	}
	wantReads(t, agentGroup, "an agent after a killed uninstall", strings.TrimSpace(f.now.reads()))
	failures, _ := casesOf("uninstall", "error")
	slow, _ := casesOf("uninstall", "delay")
	for _, c := range failures {
		what := "uninstall " + c.point + " error"
		orders := c.order("error")
		if c.point == "bpf.unpin-folder" || c.point == "agent.forget-all" { // no pin is left afterwards
			orders += "," + strings.Join(delays(slow), ",")
		}
		f.order(strings.TrimSuffix(orders, ","))
		if _, err := f.client.Uninstall(ctx, false); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", what, err, c.says)
		}
		if _, err := f.status(); err != nil || !f.fired(c.point) {
			t.Errorf("%s: the agent: %v\n%s", what, err, f.said(f.seen))
		}
		f.row("%-38s %6s %6s %6s %6s  %d pins, whole: %v", what, "", "", "", "", len(pins()), whole())
		if got := readable(agentGroup); got != strings.TrimSpace(f.now.reads()) && got != everything {
			t.Errorf("%s: tasks can read %q", what, got)
		}
		slow = slices.DeleteFunc(slow, func(c faultCase) bool {
			done := strings.Contains(f.said(f.seen), "fault: "+c.point+": delay")
			if done {
				f.row("%-38s %6s %6s %6s %6s  done", "uninstall "+c.point+" delay", "", "", "", "")
			}
			return done
		})
	}
	f.delayed("uninstall", slow, func() error {
		_, err := f.client.Uninstall(ctx, false)
		return err
	})
	if err := f.ended(); err != nil {
		t.Errorf("the agent after its uninstall: %v", err)
	}
	nothingLeft(t)
	if got := readable(agentGroup); got != everything {
		t.Errorf("after the uninstall tasks can read %q", got)
	}
}

// aftermath checks what the probes do not see.
func (f *faults) aftermath(what string, c faultCase) {
	t := f.t
	t.Helper()
	switch c.way {
	case "group":
		groups, err := filepath.Glob("/sys/fs/cgroup/single-*")
		must(err)
		for _, group := range groups {
			wantReads(t, group, what, strings.TrimSpace(f.now.reads()))
			wait(t, "the end of tasks", func() bool { return os.Remove(group) == nil })
		}
	case "add", "remove":
		names := strings.Fields(f.now.extra)
		name := names[len(names)-1]
		if w := f.workload(name); w == nil || w.Generation == 0 || w.Error != "" {
			t.Errorf("%s: workload %s: %+v", what, name, w)
		}
		group := "/sys/fs/cgroup/" + name + ".slice"
		must(os.Mkdir(group, 0o755))
		awaitReads(t, group, what, "a both")
		wait(t, "the end of tasks", func() bool { return os.Remove(group) == nil })
	case "reload":
		readOthers := func() string { return " " + readable("/sys/fs/cgroup/others.slice") }
		if got := readOthers(); got != (setting{f.now.policy, "enforce", ""}).reads() {
			t.Errorf("%s: tasks of the other workload can read %q", what, got)
		}
	}
}
