package vmtest

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent"
	"github.com/stockade-dev/stockade/bpf/fault"
)

// faultCase is a point and how it is reached.
type faultCase struct {
	point string // NAME, or NAME:N for the Nth time
	way   string
	says  string // what its error names
	// suffers says that the error is borne: what was to be done is done.
	suffers bool
}

// faultCases reach every point. The first and the last ones are about an agent
// that starts on a host with nothing pinned, and about its uninstall.
var faultCases = []faultCase{
	{point: "agent.lock", way: "start", says: "lock /run/stockade"},
	{point: "bpf.load-object", way: "start", says: "BPF programs"},
	{point: "bpf.new-registry", way: "start", says: "map registry"},
	{point: "bpf.map-memory:2", way: "start", says: "map "},
	{point: "bpf.tai-offset", way: "start", says: "clock"},
	{point: "bpf.attach", way: "start", says: "hook "},
	{point: "bpf.attach:5", way: "start", says: "hook "},
	{point: "bpf.describe", way: "start"},
	{point: "bpf.pin-folder", way: "start", says: "/sys/fs/bpf/stockade/@agent"},
	{point: "bpf.pin-map:3", way: "start", says: "/sys/fs/bpf/stockade/@agent"},
	{point: "bpf.pin-link:5", way: "start", says: "/sys/fs/bpf/stockade/@agent"},
	{point: "bpf.pin-program", way: "start", says: "/sys/fs/bpf/stockade/@agent"},
	{point: "bpf.pin-registry", way: "start", says: "/sys/fs/bpf/stockade/@agent"},
	{point: "agent.begin", way: "start", says: "workloads"},
	{point: "agent.commit:2", way: "start", says: "workload others"},
	{point: "bpf.guard", way: "start", says: "directories of our own"},
	{point: "bpf.confine", way: "start", says: "cgroup", suffers: true},
	{point: "agent.listen", way: "start", says: "socket /run/stockade/agent.sock"},

	{point: "agent.lock", way: "adopt", says: "lock /run/stockade"},
	{point: "bpf.adopt-registry", way: "adopt", says: "registry"},
	{point: "bpf.guard", way: "adopt", says: "directories of our own"},
	{point: "bpf.adopt-map", way: "adopt", says: "map "},
	{point: "bpf.adopt-link:40", way: "adopt", says: "link_"},
	{point: "bpf.adopt-program", way: "adopt", says: "prog_register_root"},
	{point: "bpf.map-memory", way: "adopt", says: "map "},
	{point: "bpf.recover", way: "adopt", says: "arena"},
	{point: "bpf.tai-offset", way: "adopt", says: "clock"},
	{point: "agent.recall:2", way: "adopt", says: "memory of workload"},
	{point: "agent.stage", way: "adopt", says: "/policy/agent.yaml:4"},
	{point: "agent.begin", way: "adopt", says: "workloads"},
	{point: "agent.commit:2", way: "adopt", says: "workload others"},
	{point: "agent.memory-rename", way: "adopt", says: "memory of workload agents"},
	{point: "agent.groups", way: "adopt", says: "cgroups"},
	{point: "agent.confine", way: "adopt", says: "", suffers: true},
	{point: "bpf.open-ring", way: "adopt", says: "event ring"},
	{point: "agent.listen", way: "adopt", says: "socket"},
	{point: "agent.file-watch", way: "adopt", says: "inotify"},

	{point: "agent.memory-write", way: "apply", says: "memory of workload agents"},
	{point: "agent.memory-rename", way: "apply", says: "memory of workload agents"},
	{point: "agent.install", way: "apply", says: "workload agents"},
	{point: "bpf.arena", way: "apply", says: "workload"},
	{point: "bpf.plan-store", way: "apply", says: "workload"},
	{point: "bpf.installed", way: "apply"},
	{point: "bpf.grace-period", way: "apply", suffers: true},
	{point: "agent.installed", way: "apply"},
	{point: "agent.answer", way: "apply", says: "EOF", suffers: true},

	{point: "bpf.plan-store", way: "flip", says: "workload"},
	{point: "bpf.grace-period", way: "flip", says: "grace period"},
	{point: "bpf.flip-second", way: "flip", says: "grace period"},
	{point: "bpf.grace-period:2", way: "flip", suffers: true},
	{point: "agent.install", way: "flip", says: "workload agents"},
	{point: "agent.memory-rename:2", way: "flip", suffers: true}, // the mode is in force

	{point: "bpf.mode-store", way: "mode", says: "mode"},
	{point: "agent.mode", way: "mode"},
	{point: "bpf.mode-store", way: "remode", says: "mode"},

	{point: "agent.reload", way: "reload", says: "configuration"},
	{point: "agent.stage:2", way: "reload", says: "/policy/agent.yaml:5"},
	{point: "agent.commit", way: "reload", says: "not changed: agents"},
	{point: "agent.commit:2", way: "reload", says: "not changed: others"},
	{point: "agent.memory-rename", way: "reload", says: "memory of workload agents"},
	{point: "agent.groups", way: "reload", says: "cgroups", suffers: true},

	{point: "bpf.claim", way: "add", says: "workload"},
	{point: "bpf.clear-counters", way: "add", says: "counters"},
	{point: "bpf.clear-sequence", way: "add", says: "sequence"},
	{point: "bpf.clear-terminals", way: "add", says: "terminals"},
	{point: "bpf.clear-record", way: "add", says: "record"},
	{point: "bpf.name", way: "add", says: "workload"},
	{point: "bpf.register-root", way: "add", says: "root"},
	{point: "agent.install", way: "add", says: "workload extra"},

	{point: "bpf.release", way: "remove", says: "workload"},
	{point: "bpf.clear-counters", way: "remove", says: "counters"},
	{point: "agent.forget", way: "remove", says: "memory of workload"},

	{point: "agent.appeared", way: "group"},
	{point: "agent.confine", way: "group", says: "cgroup single"},
	{point: "bpf.confine", way: "group", says: "cgroup single"},

	{point: "agent.container-stage", way: "container", says: "agent.container-stage"},
	{point: "bpf.claim", way: "container", says: "workload"},
	{point: "agent.memory-rename", way: "container", says: "memory of workload"},
	{point: "agent.install", way: "container", says: "workload box"},
	{point: "agent.container-mark", way: "container", says: "agent.container-mark"},
	{point: "agent.container-confine", way: "container", says: "agent.container-confine"},
	{point: "bpf.confine", way: "container", says: "cgroup"},
	{point: "agent.container-confined", way: "container"},
	{point: "agent.answer", way: "container", suffers: true}, // the wrapper asks again

	{point: "bpf.load-object", way: "confirm", says: "BPF programs"},
	{point: "bpf.attach", way: "confirm", says: "hook "},
	{point: "bpf.pin-hold", way: "confirm", says: "/sys/fs/bpf/stockade/@agent"},
	{point: "bpf.pin-hold:2", way: "confirm", says: "/sys/fs/bpf/stockade/@agent"},
	{point: "bpf.pin-hold:3", way: "confirm", says: "/sys/fs/bpf/stockade/@agent"},
	{point: "bpf.hold-flags", way: "hold", says: "asks: workload"},
	{point: "bpf.open-holds", way: "hold", says: "ring of holds"},
	{point: "agent.hold-group", way: "hold", says: "nothing waits for the agent"},
	{point: "agent.hold-mark", way: "hold", says: "mark /usr/bin/id"},

	{point: "bpf.read-hold", way: "ask"},
	{point: "bpf.image", way: "ask", says: "answer: hold"},
	{point: "bpf.answer", way: "ask", says: "answer: hold"},
	{point: "agent.go-on", way: "ask"},

	{point: "bpf.adopt-holds", way: "readopt", says: "map images"},

	{point: "bpf.read-ring", way: "denial"},
	{point: "agent.deliver", way: "denial", says: "log"},
	{point: "agent.logged", way: "denial"},
	{point: "bpf.account", way: "denial"},
	{point: "bpf.accounted", way: "denial"},

	{point: "respond.step:3", way: "respond"}, // and each other step: TestFaultsOfResponses

	{point: "agent.empty", way: "uninstall", says: "workloads"},
	{point: "bpf.unpin", way: "uninstall", says: "map_registry"},
	{point: "bpf.unpin:2", way: "uninstall", says: "link_"},
	{point: "bpf.unpin:20", way: "uninstall", says: "link_"},
	{point: "bpf.unpin-folder", way: "uninstall", says: "@agent"},
	{point: "agent.forget-all", way: "uninstall", says: "memories"},
}

var faultActions = []string{"kill", "error", "delay"}

// due reports whether a case runs on this kernel: a third of all pairs does on
// each, and three kernels make all.
func (c faultCase) due(i int, action string) bool {
	j := slices.Index(faultActions, action)
	if action == "error" && c.sure() {
		return false
	}
	return os.Getenv("STOCKADE_FAULTS") == "all" || (i+share())%3 == j
}

// sure reports whether the point cannot fail by itself.
func (c faultCase) sure() bool {
	return slices.ContainsFunc(fault.Points, func(p fault.Point) bool { return p.Name == c.name() && p.Sure })
}

func (c faultCase) name() string {
	name, _, _ := strings.Cut(c.point, ":")
	return name
}

// What tells who is confined; what decides about opens; and about executions, with
// what confirms those that were asked about.
const (
	identityPrograms = "task_alloc,task_exit,task_free,cgroup_mkdir,cgroup_rmdir,cgroup_attach_task,retire,register_root"
	openPrograms     = "file_open"
	execPrograms     = "bprm_check_security,bprm_committed_creds,mmap_file,file_mprotect,hold_file_post_open,hold_image,hold_exec_over"
)

// programs lists what a start need load up to the point, so that it takes seconds
// under emulation: who is confined, and what decides about opens if that is asked.
func (c faultCase) programs() string {
	switch {
	case os.Getenv("STOCKADE_FAULTS") == "all":
		return ""
	case strings.HasPrefix(c.point, "bpf.") && c.point != "bpf.confine":
		return identityPrograms
	}
	return identityPrograms + "," + openPrograms
}

// order is what to tell the agent.
func (c faultCase) order(action string) string {
	if action == "delay" {
		action = "delay:300ms"
	}
	return c.point + "=" + action
}

// kernelVersion is that of the VM's kernel, as "6.1".
func kernelVersion() string {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	must(err)
	parts := strings.SplitN(string(text), ".", 3)
	return parts[0] + "." + strings.TrimRight(parts[1], "-+abcdefghijklmnopqrstuvwxyz\n")
}

// share says which third of the faults is this machine's: scripts/verify gives each
// of its kernels another one.
func share() int {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("STOCKADE_SHARE"), "0"))
	must(err)
	return n
}

// casesOf lists the pairs of a way that are due, with an action or with any.
// STOCKADE_FAULT_WAYS leaves out all other ways than those that it lists.
func casesOf(way, action string) (list []faultCase, names []string) {
	if only := os.Getenv("STOCKADE_FAULT_WAYS"); only != "" && !slices.Contains(strings.Split(only, ","), way) {
		return nil, nil
	}
	for i, c := range faultCases {
		for _, a := range faultActions {
			if c.way == way && (action == "" || a == action) && c.due(i, a) {
				list, names = append(list, c), append(names, a)
			}
		}
	}
	return list, names
}

func TestFaultCasesReachEveryPoint(t *testing.T) {
	for _, p := range fault.Points {
		if !slices.ContainsFunc(slices.Concat(faultCases, upgradeCases), func(c faultCase) bool { return c.name() == p.Name }) {
			t.Errorf("no case reaches %s", p.Name)
		}
	}
}

func TestWrongOperationsAreCounted(t *testing.T) {
	met := counts{{1, 10}, {2, 20}, {3, 30}, {4, 40}} // a, b, both, none
	a, b := setting{"a", "enforce", ""}, setting{"b", "enforce", ""}
	audit, lockdown := setting{"a", "audit", ""}, setting{"a", "lockdown", ""}
	for _, c := range []struct {
		from, to        setting
		allowed, denied uint64
	}{
		{a, a, 2 + 4, 10 + 30},
		{a, b, 4, 30},
		{a, lockdown, 2 + 4, 0},
		{audit, b, 0, 20 + 30},
		{lockdown, lockdown, 1 + 2 + 3 + 4, 0},
	} {
		if allowed, denied := wrong(c.from, c.to, met); allowed != c.allowed || denied != c.denied {
			t.Errorf("%v to %v: %d wrongly allowed, %d wrongly denied; want %d, %d", c.from, c.to, allowed, denied, c.allowed, c.denied)
		}
	}
}

// TestFaults lets the agent be killed, fail and be slow at every point, while
// probes count what they are allowed and denied. What neither the setting before
// nor the one after permits must never be allowed, what both permit never
// denied. STOCKADE_FAULTS=all runs every pair, otherwise each kernel runs a third.
func TestFaults(t *testing.T) {
	f := newFaults(t)
	began := time.Now()
	lap := func(what string) { t.Logf("%s: %.0f s", what, time.Since(began).Seconds()) }
	f.starts()
	lap("starts")
	f.crowd = startCrowd("probe-opens")
	defer func() { f.crowd.stop(); f.kill() }()
	f.crowd.rounds(t, 1)
	for _, way := range []string{"adopt", "apply", "flip", "mode", "remode", "reload", "add", "group", "denial", "remove"} {
		cases, actions := casesOf(way, "")
		for i, c := range cases {
			if way != "adopt" || actions[i] != "delay" {
				f.change(c, actions[i])
			}
		}
		if way == "adopt" {
			f.adoptSlowly()
		}
		lap(way)
	}
	f.crowd.stop()
	f.ends()
	lap("ends")
	f.row("%d pairs, %d operations under them, %d wrongly allowed; %.0f s", len(f.rows), f.all, f.wrong, time.Since(began).Seconds())
}

// change lets one thing go wrong under the probes.
func (f *faults) change(c faultCase, action string) {
	t := f.t
	what := fmt.Sprintf("%s %s %s", c.way, c.point, action)
	if away := map[string]string{"mode": "lockdown", "remode": "audit", "flip": "audit"}[c.way]; f.now.mode != "enforce" && f.now.mode != away {
		f.settle(what, setting{f.now.policy, "enforce", f.now.extra})
		f.crowd.goOn(t)
	}
	from := f.now
	to := f.next(c.way)
	before := f.crowd.rest(t)
	f.crowd.goOn(t)
	err := f.do(c, action, to)
	f.crowd.rounds(t, 1)
	if !f.fired(c.point) {
		t.Errorf("%s: did not happen: %v\n%s", what, err, f.said(f.seen))
	}
	outcome := "as before"
	switch {
	case action == "kill":
		if f.cmd != nil {
			if err := f.ended(); !wasKilled(err) {
				t.Errorf("%s: the agent ended with %v", what, err)
			}
		}
		f.crowd.rounds(t, 1)
		f.up()
		if s, err := f.status(); err != nil || !s.Adopted {
			t.Errorf("%s: the next agent: adopted %v, %v", what, s.Adopted, err)
		}
	case c.way == "adopt" && f.cmd == nil: // it could not start
		if action != "error" || c.suffers {
			t.Errorf("%s: the agent ended: %v\n%s", what, err, f.said(f.seen))
		} else if !strings.Contains(f.said(f.seen), c.says) {
			t.Errorf("%s: it says nothing of %q: %s", what, c.says, f.said(f.seen))
		}
		f.up()
	case action == "error" && !c.suffers && !f.told(c, err):
		t.Errorf("%s: %v: says nothing of %q", what, err, c.says)
	case action == "delay" && err != nil:
		t.Errorf("%s: %v", what, err)
	}
	got := f.look()
	switch {
	case got == from.reads() && got == to.reads():
	case got == to.reads():
		outcome = "done"
	case got != from.reads():
		t.Errorf("%s: the probes can read %q: neither as before nor as wanted", what, got)
	}
	followed := c.way == "flip" || c.way == "remode" || c.way == "reload"
	partly := c.way == "reload" && c.point == "agent.commit:2"
	wantDone := action == "delay" || c.suffers || action == "kill" && followed || partly
	if wantDone && got != to.reads() || action == "error" && !wantDone && got != from.reads() {
		t.Errorf("%s: the probes can read %q; it was %q, wanted is %q", what, got, from.reads(), to.reads())
	}
	f.settle(what, to)
	f.aftermath(what, c)
	f.judge(what, outcome, from, to, f.crowd.rest(t).minus(before))
	f.counted(what)
	f.crowd.goOn(t)
}

// told reports whether an error named what it should, or the status does.
func (f *faults) told(c faultCase, err error) bool {
	if err != nil {
		return strings.Contains(err.Error(), c.says)
	}
	s, err := f.status()
	return err == nil && c.says != "" && strings.Contains(strings.Join(append(s.Notes, s.Error), "\n"), c.says) || c.way == "denial" && c.says == ""
}

// next is the setting that a way leads to.
func (f *faults) next(way string) setting {
	to := f.now
	other := map[string]string{"a": "b", "b": "a", "audit": "enforce", "lockdown": "enforce", "enforce": "audit"}
	if way == "mode" {
		other["enforce"] = "lockdown"
	}
	if way == "apply" || way == "reload" || way == "flip" {
		to.policy = other[to.policy]
	}
	if way == "mode" || way == "remode" || way == "flip" {
		to.mode = other[to.mode]
	}
	if way == "add" || way == "remove" {
		to.extra = strings.TrimSpace(to.extra + " " + f.name("extra"))
	}
	return to
}

// do gives an order and does what leads to its point.
func (f *faults) do(c faultCase, action string, to setting) error {
	ctx := context.Background()
	happens := func() {
		wait(f.t, c.point, func() bool { return f.fired(c.point) })
	}
	switch c.way {
	case "adopt":
		f.kill()
		f.order(c.order(action))
		err := f.begin()
		if action == "kill" && err != nil && !wasKilled(err) {
			f.t.Errorf("adopt %s: the agent ended with %v\n%s", c.point, err, f.said(f.seen))
		}
		return err
	case "apply":
		f.order(c.order(action))
		_, err := f.client.Apply(ctx, "agents", agent.PolicySet{Sources: []agent.PolicySource{{Name: to.policy, Text: permitting(to.policy, "both")}}})
		return err
	case "mode":
		f.order(c.order(action))
		_, err := f.client.SetMode(ctx, "agents", to.mode)
		return err
	case "remove":
		f.declare(to)
		if err := f.client.Reload(ctx); err != nil {
			return err
		}
		f.order(c.order(action))
		f.declare(f.now)
		err := f.client.Reload(ctx)
		happens()
		return err
	case "group":
		f.order(c.order(action))
		must(os.Mkdir("/sys/fs/cgroup/"+f.name("single"), 0o755))
		happens()
		return nil
	case "denial":
		f.order(c.order(action))
		happens()
		return nil
	default:
		f.order(c.order(action))
		f.declare(to)
		return f.client.Reload(ctx)
	}
}
