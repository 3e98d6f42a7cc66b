package vmtest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// identityStage has the tree of the tests of this file.
//
//	@
//	├── ws/           everything but execute
//	│   └── key
//	├── bin/tool      execute
//	└── secret/key    nothing
func identityStage(t *testing.T) (*stage, denial) {
	s := newStage(t, permit(anyUse, "@/ws/"), permit("execute", "@/bin/"))
	s.tree("ws/key", "secret/key")
	s.program("bin/tool")
	return s, denial{actions: "open,read", path: "@/secret/key"}
}

var (
	readAllowed = []string{"open", "r", "@/ws/key"}
	readSecret  = []string{"open", "r", "@/secret/key"}
	atGate      = append([]string{"gate"}, readSecret...)
)

// settle takes the events that a born probe's initialisation made.
func (s *stage) settle() {
	s.t.Helper()
	for _, e := range s.take(s.t, s.id) {
		if e.Reason != abi.ReasonBoundary {
			s.t.Errorf("unwanted event: %s", show(e))
		}
		s.seq = e.Seq
	}
	c := must1(s.Counters(s.id))(s.t)
	s.denied = c.Denied
}

// TestBorn starts programs inside a cgroup: their first instruction is confined.
func TestBorn(t *testing.T) {
	s, want := identityStage(t)
	s.step("task born in the workload is confined", isDenied, func() {
		a := s.born(s.group, eacces, atGate...)
		a.ready()
		s.settle()
		a.pass()
		s.expectDenied(a.wait(), want)
	})
	child := s.subgroup("child")
	s.step("task born in a child that an outsider made is confined", isDenied, func() {
		a := s.born(child, eacces, atGate...)
		a.ready()
		s.settle()
		a.pass()
		s.expectDenied(a.wait(), want)
	})
	deep := s.subgroup("child/of/child")
	s.step("task born deep below is confined", isDenied, func() {
		a := s.born(deep, eacces, atGate...)
		a.ready()
		s.settle()
		a.pass()
		s.expectDenied(a.wait(), want)
	})
}

// step is a trial that is more than one operation.
func (s *stage) step(name string, r result, f func()) {
	s.t.Helper()
	s.t.Run(name, func(t *testing.T) {
		s.sub(t, func() {
			defer func() {
				if t.Failed() {
					r = isFailed
				}
				results.note(t.Name(), r)
			}()
			s.quiet("before the step")
			f()
			s.quiet("after the step")
		})
	})
}

// subgroup makes a cgroup below the workload's, as an outsider.
func (s *stage) subgroup(name string) *os.File {
	s.t.Helper()
	path := filepath.Join(s.cgroup, name)
	must(s.t, os.MkdirAll(path, 0o755))
	dir := must1(os.Open(path))(s.t)
	s.t.Cleanup(func() { dir.Close() })
	return dir
}

// move writes a task to a cgroup, as an outsider.
func move(t *testing.T, pid int, cgroup string) {
	t.Helper()
	must(t, os.WriteFile(cgroup+"/cgroup.procs", fmt.Append(nil, pid), 0))
}

// TestMoved moves tasks between cgroups from outside.
func TestMoved(t *testing.T) {
	s, want := identityStage(t)
	s.step("task moved in becomes confined", isDenied, func() {
		a := s.outsider(append([]string{"gate"}, readSecret...)...)
		a.ready()
		move(s.t, a.cmd.Process.Pid, s.cgroup)
		a.pass()
		if a.wait(); a.errno != eacces {
			s.t.Errorf("not denied: %v", a)
		}
		s.expectEvents(a.pid, want)
	})
	s.step("task moved out stays confined", isDenied, func() {
		a := s.start("", nil, eacces, append([]string{"then", "open", "r", "@/ws/key", "--"}, atGate...)...)
		a.ready()
		move(s.t, a.cmd.Process.Pid, cgroups)
		a.pass()
		s.expectDenied(a.wait(), want)
	})
	s.step("born task moved out stays confined", isDenied, func() {
		a := s.born(s.group, eacces, atGate...)
		a.ready()
		s.settle()
		move(s.t, a.cmd.Process.Pid, cgroups)
		a.pass()
		s.expectDenied(a.wait(), want)
	})
	s.step("thread of a task moved out stays confined", isDenied, func() {
		a := s.start("", nil, eacces, append([]string{"then", "open", "r", "@/ws/key", "--", "gate", "thread"}, readSecret...)...)
		a.ready()
		move(s.t, a.cmd.Process.Pid, cgroups)
		a.pass()
		s.expectDenied(a.wait(), want)
	})
	s.step("child of a task moved out stays confined", isDenied, func() {
		a := s.start("", nil, eacces, "then", "open", "r", "@/ws/key", "--", "gate", "fork", "@/secret/key")
		a.ready()
		move(s.t, a.cmd.Process.Pid, cgroups)
		a.pass()
		s.expectDenied(a.wait(), want)
	})
}

// TestChildren lets children try.
func TestChildren(t *testing.T) {
	s, want := identityStage(t)
	byTool := want
	byTool.exe = "@/bin/tool"
	s.run(
		trial{name: "child is confined", control: []string{"fork", "@/ws/key"}, probe: []string{"fork", "@/secret/key"}, errno: eacces, want: want},
		trial{name: "grandchild in its own session is confined", control: []string{"doublefork", "@/ws/key"}, probe: []string{"doublefork", "@/secret/key"}, errno: eacces, want: want},
		trial{name: "thread is confined", control: append([]string{"thread"}, readAllowed...), probe: append([]string{"thread"}, readSecret...), errno: eacces, want: want},
		trial{name: "program that replaces the task is confined", control: []string{"child", "@/bin/tool", "@/ws/key"}, probe: []string{"child", "@/bin/tool", "@/secret/key"}, errno: eacces, want: byTool},
	)
	procs := must1(os.OpenFile(cgroups+"/cgroup.procs", os.O_WRONLY, 0))(t)
	defer procs.Close()
	s.run(
		trial{name: "task does not move itself outward", probe: []string{"procs", cgroups, "@/secret/key"}, errno: eperm,
			want: denial{actions: "open,write", path: cgroups + "/cgroup.procs", reason: abi.ReasonBoundary}},
		trial{name: "task that moves itself by a handed descriptor stays confined", files: []*os.File{procs}, control: []string{"procsfd", "3", "@/ws/key"},
			probe: []string{"procsfd", "3", "@/secret/key"}, errno: eacces, want: want},
	)
}

// TestOwnCgroups lets the workload make cgroups, where a policy permits it.
func TestOwnCgroups(t *testing.T) {
	open(t)
	mine := fmt.Sprintf("%s/vmtest-v%d", cgroups, stages+1)
	s := newStage(t, permit(anyUse, mine+"/", "@/ws/"))
	s.tree("ws/key", "secret/key")
	for _, x := range []struct{ name, path string }{
		{"cgroup of the workload's own making confines", mine + "/a"},
		{"cgroup below one of the workload's own making confines", mine + "/a/b"},
	} {
		s.step(x.name, isDenied, func() {
			s.expectAllowed(s.start("", nil, 0, "mkdir", x.path).wait())
			dir := must1(os.Open(x.path))(s.t)
			defer dir.Close()
			a := s.born(dir, eacces, atGate...)
			a.ready()
			s.settle()
			a.pass()
			s.expectDenied(a.wait(), denial{actions: "open,read", path: "@/secret/key"})
		})
	}
}

// TestUnconfined lets tasks outside every workload do the same: nothing is
// refused, reported or counted.
func TestUnconfined(t *testing.T) {
	s, _ := identityStage(t)
	before := must1(s.Counters(s.id))(t)
	s.step("task outside is allowed", isAllowed, func() { s.expectAllowed(s.outsider(readSecret...).wait()) })
	s.step("copied program outside is allowed", isAllowed, func() { s.expectAllowed(s.outsider("exec", "@/bin/tool").wait()) })
	s.step("task in a cgroup beside is allowed", isAllowed, func() {
		path := s.cgroup + "-beside"
		must(s.t, os.Mkdir(path, 0o755))
		defer removeGroup(s.t, path)
		dir := must1(os.Open(path))(s.t)
		defer dir.Close()
		s.expectAllowed(s.born(dir, 0, readSecret...).wait())
	})
	s.step("cgroup with the name of one that is gone is outside", isAllowed, func() {
		child := s.subgroup("same")
		a := s.born(child, eacces, atGate...)
		a.ready()
		s.settle()
		a.pass()
		s.expectDenied(a.wait(), denial{actions: "open,read", path: "@/secret/key"})
		removeGroup(s.t, s.cgroup+"/same")
		path := cgroups + "/same"
		must(s.t, os.Mkdir(path, 0o755))
		defer removeGroup(s.t, path)
		dir := must1(os.Open(path))(s.t)
		defer dir.Close()
		before = must1(s.Counters(s.id))(s.t)
		s.expectAllowed(s.born(dir, 0, readSecret...).wait())
	})
	if after := must1(s.Counters(s.id))(t); after != before {
		t.Errorf("counters moved from %+v to %+v", before, after)
	}
	s.drain(t)
	for id, events := range s.pending {
		for _, e := range events {
			t.Errorf("event of workload %d: %s", id, show(e))
		}
	}
}

// removeGroup removes a cgroup whose tasks are about to be gone.
func removeGroup(t *testing.T, path string) {
	t.Helper()
	var err error
	for range 100 {
		if err = unix.Rmdir(path); err == nil || err == fs.ErrNotExist {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%s: %v", path, err)
}

// TestPeers confines two workloads at once: each has its own policy.
func TestPeers(t *testing.T) {
	a := newStage(t, permit(look, "/tmp/shared/a"))
	b := newStage(t, permit(look, "/tmp/shared/b"))
	must(t, os.MkdirAll("/tmp/shared", 0o755))
	for _, f := range []string{"a", "b"} {
		must(t, os.WriteFile("/tmp/shared/"+f, []byte("x"), 0o644))
	}
	for _, c := range []struct {
		s        *stage
		own, not string
	}{{a, "a", "b"}, {b, "b", "a"}} {
		c.s.run(trial{name: "workload of " + c.own + " has its own policy", control: []string{"open", "r", "/tmp/shared/" + c.own},
			probe: []string{"open", "r", "/tmp/shared/" + c.not}, errno: eacces, want: denial{actions: "open,read", path: "/tmp/shared/" + c.not}})
	}
	a.step("task moved from one workload to another keeps the first", isDenied, func() {
		p := a.start("", nil, eacces, "then", "open", "r", "/tmp/shared/a", "--", "gate", "open", "r", "/tmp/shared/b")
		p.ready()
		move(a.t, p.cmd.Process.Pid, b.cgroup)
		p.pass()
		a.expectDenied(p.wait(), denial{actions: "open,read", path: "/tmp/shared/b"})
	})
	b.t = t
	b.quiet("at the end")
}
