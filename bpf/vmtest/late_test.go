package vmtest

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/vmtest/probes"
)

// forgetNames makes the kernel forget the names that nobody uses.
func forgetNames(t *testing.T) {
	t.Helper()
	must(t, os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0))
}

// TestNamesNotKnownYet opens files with O_CREAT whose names the kernel has to look up
// first. It asks whether they may be created before: what policy says to that counts
// only where there is no such file.
//
//	@/ovl          an overlay: unlike tmpfs, it forgets names
//	├── ws/        open, read, write
//	│   ├── old, roots, dir/
//	│   └── link -> @/ovl/ws/old
//	└── none/old   nothing
func TestNamesNotKnownYet(t *testing.T) {
	policies := permit("open read write", "@/ovl/ws/", "@/file")
	s := newStage(t, policies)
	s.tree("lower/ws/old", "lower/ws/roots", "lower/ws/dir/", "lower/none/old", "upper/", "file")
	must(t, os.Symlink(s.at("@/ovl/ws/old"), s.at("@/lower/ws/link")))
	must(t, os.Chmod(s.at("@/lower/ws/old"), 0o666))
	s.overlay()
	must(t, os.Chmod(s.at("@/ovl/ws"), 0o777))
	must(t, os.Chmod(s.at("@/ovl/ws/old"), 0o666)) // copied up: no trial is the first to change it
	file := must1(os.OpenFile(s.at("@/file"), os.O_WRONLY, 0))(t)
	t.Cleanup(func() { file.Close() })
	const adding = "w|creat|append"
	op := func(words ...string) []string { return words }
	user := func(words ...string) []string { return append(op("as", "1000", "1000"), words...) }
	old := "@/ovl/ws/old"
	create := func(path string) denial { return denial{actions: "create", path: path} }
	for _, tr := range []trial{
		{name: "appending to a file that is there is allowed", probe: op("open", adding, old)},
		{name: "appending as a user to a file that is there is allowed", probe: user("open", adding, old)},
		{name: "appending by openat2 to a file that is there is allowed", probe: op("openat2", adding, old)},
		{name: "appending by io_uring to a file that is there is allowed", probe: op("uring", "inline", "open", adding, old)},
		{name: "appending by a worker of io_uring to a file that is there is allowed", probe: op("uring", "async", "open", adding, old)},
		{name: "appending by a link to a file that is there is allowed", probe: op("open", adding, "@/ovl/ws/link")},
		{name: "appending by a descriptor's name is allowed", files: []*os.File{file}, probe: op("reopenfd", "3", adding)},
		{name: "new file is denied once", control: op("open", adding, old), probe: op("open", adding, "@/ovl/ws/new"), errno: eacces, want: create("@/ovl/ws/new")},
		{name: "new file of a user is denied once", control: user("open", adding, old), probe: user("open", adding, "@/ovl/ws/new"), errno: eacces, want: create("@/ovl/ws/new")},
		{name: "new file by io_uring is denied once", control: op("uring", "async", "open", adding, old), probe: op("uring", "async", "open", adding, "@/ovl/ws/new"), errno: eacces, want: create("@/ovl/ws/new")},
		{name: "new node is denied once", probe: op("mkreg", "@/ovl/ws/new"), errno: eacces, want: create("@/ovl/ws/new")},
		{name: "secret that is there is denied for what it is", control: op("open", adding, old), probe: op("open", adding, "@/ovl/none/old"), errno: eacces,
			want: denial{actions: "open,write", path: "@/ovl/none/old"}},
		{name: "new file by openat2 is denied once", control: op("openat2", adding, old), probe: op("openat2", adding, "@/ovl/ws/new"), errno: eacces, want: create("@/ovl/ws/new")},
		{name: "new file for a number of io_uring's own is denied once", control: op("uring", "fixed", "open", adding, old), probe: op("uring", "fixed", "open", adding, "@/ovl/ws/new"), errno: eacces, want: create("@/ovl/ws/new")},
	} {
		before := tr.control
		tr.undo = func() { forgetNames(t) }
		if before == nil {
			forgetNames(t)
		}
		s.run(tr)
	}
	for _, c := range []struct {
		name  string
		errno syscall.Errno
		probe []string
	}{
		{"new file where there is one", syscall.EEXIST, op("open", "w|creat|excl", old)},
		{"file where there is a directory", syscall.EISDIR, op("open", adding, "@/ovl/ws/dir")},
		{"file where there is a link, without following it", syscall.ELOOP, op("open", adding+"|nofollow", "@/ovl/ws/link")},
		{"file that its owner keeps from others", eacces, user("open", adding, "@/ovl/ws/roots")},
	} {
		forgetNames(t)
		s.step(c.name+" is denied by the kernel alone", isAllowed, func() {
			a := s.start("", nil, c.errno, c.probe...).wait()
			if a.startErr != nil || a.code != probes.Denied {
				s.t.Errorf("%v", a)
			}
			s.quiet("no refusal of policy")
		})
	}
	s.install(abi.Audit, policies)
	forgetNames(t)
	s.step("file that is there is not reported in audit mode", isAllowed, func() {
		s.expectAudited(s.start("", nil, 0, op("open", adding, old)...).wait())
	})
	forgetNames(t)
	s.step("new file is reported once in audit mode", isAllowed, func() {
		s.expectAudited(s.start("", nil, 0, op("open", adding, "@/ovl/ws/new")...).wait(), reported("create", "@/ovl/ws/new"))
	})
}

// withheld asserts that f leaves no event, and that something was withheld.
func (s *stage) withheld(f func() *attempt) {
	s.t.Helper()
	before := must1(s.Counters(s.id))(s.t)
	s.expectAllowed(f())
	if after := must1(s.Counters(s.id))(s.t); after.Withheld == before.Withheld {
		s.t.Errorf("nothing was withheld: %+v", after)
	}
}

// TestSignalsToGroups signals groups of processes. The call succeeds if one of them
// may be signalled, and only if it fails, it is reported: once.
func TestSignalsToGroups(t *testing.T) {
	b := newBorder(t, everything)
	const urgent = "23" // SIGURG: ignored where it is not handled
	grouped := func(a *attempt, group int) *attempt {
		a.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: group}
		a.startErr = a.cmd.Start()
		return a
	}
	held := func(procs string, group int) *attempt {
		procsFile := must1(os.OpenFile(b.cgroup+"/cgroup.procs", os.O_WRONLY, 0))(t)
		defer procsFile.Close()
		a := grouped(b.command([]*os.File{procsFile}, procs, "", 0, words("gate", "hold", "0")), group)
		a.ready()
		t.Cleanup(func() { a.pass(); a.wait() })
		return a
	}
	leader := held("-1", 0)
	held("-1", leader.cmd.Process.Pid)
	group := leader.cmd.Process.Pid
	kill := words("kill", fmt.Sprint(-group), urgent)
	b.cross(forbidden(abi.BoundarySignal, []crossing{
		{name: "signal to a group of two outsiders is denied once", free: kill, probe: kill, want: denial{actions: "kill"}},
		{name: "signal to a group by its leader's descriptor is denied once", free: words("pidfdgroup", fmt.Sprint(group), urgent), probe: words("pidfdgroup", fmt.Sprint(group), urgent),
			want: denial{actions: "kill"}, absent: []syscall.Errno{unix.EINVAL}},
	})...)
	held("3", group)
	b.step("signal to a group of which one is inside is withheld from the others", isDenied, func() {
		b.withheld(func() *attempt { return b.launch(0, nil, kill) })
	})
	b.step("signal to one's own group is withheld from outsiders", isDenied, func() {
		procs := must1(os.OpenFile(b.cgroup+"/cgroup.procs", os.O_WRONLY, 0))(t)
		defer procs.Close()
		b.withheld(func() *attempt {
			return grouped(b.command([]*os.File{procs}, "3", "", 0, words("kill", "0", urgent)), group).wait()
		})
	})
}
