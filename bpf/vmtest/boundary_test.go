package vmtest

import (
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/vmtest/probes"
)

// everything permits all that a policy can permit.
const everything = "permit (principal, action, resource);"

// crossing is a trial at the boundary of the workload. A refusal whose boundary
// is none is one of the policy.
type crossing struct {
	name     string // states the wanted verdict
	inside   []string
	free     []string
	freed    syscall.Errno // how the free attempt ends: 0 is success
	probe    []string
	errno    syscall.Errno // 0: allowed
	want     denial
	boundary abi.Boundary
	files    []*os.File
	gift     func() *os.File // sent by SCM_RIGHTS on descriptor 3, before the probe
	present  func() *os.File // the same before the attempt inside
	absent   []syscall.Errno // what kernels without this feature answer
	limit    limit           // a documented one: it ends so, or better
	again    bool            // inside may be tried twice
}

// border is a stage for crossings.
type border struct {
	*stage
	moved bool // an outsider moves every task to the root cgroup before it tries
}

func newBorder(t *testing.T, policies ...string) *border {
	t.Helper()
	return &border{stage: newStage(t, policies...)}
}

// cross tries each crossing, and those that are refused once more by tasks that
// an outsider moved out of the workload's cgroup.
func (b *border) cross(list ...crossing) {
	b.t.Helper()
	for _, b.moved = range []bool{false, true} {
		for _, c := range list {
			name := c.name
			if b.moved {
				name += ", moved"
			}
			if b.moved && c.errno == 0 && !c.again {
				continue
			}
			ok := b.t.Run(name, func(t *testing.T) {
				b.sub(t, func() { b.one(c) })
			})
			if !ok {
				results.note(b.t.Name()+"/"+rewrite(name), isFailed)
			}
		}
	}
	b.moved = false
}

// one tries one crossing: inside, or where the policy grants it; by a task that
// nothing confines; and in earnest.
func (b *border) one(c crossing) {
	t := b.t
	t.Helper()
	b.quiet("before the trial")
	if c.inside != nil && (!b.moved || c.again) {
		a := b.launch(0, b.hand(c.files, c.present), c.inside)
		if b.absent(a, c.absent) {
			b.absentHere(a, b.loose(0, b.hand(c.files, c.present), c.inside))
			return
		}
		b.expectAllowed(a)
	}
	if c.free != nil && !b.moved {
		a := b.loose(c.freed, b.hand(c.files, c.gift), c.free)
		if b.absent(a, c.absent) {
			b.absentHere(a, a)
			return
		}
		if want := min(int(c.freed), probes.Denied); a.startErr != nil || a.code != want {
			t.Errorf("unconfined task: %v, want exit code %d, errno %d", a, want, int(c.freed))
		}
		b.quiet("unconfined task")
	}
	a := b.launch(c.errno, b.hand(c.files, c.gift), c.probe)
	if b.absent(a, c.absent) {
		b.absentHere(a, b.loose(0, b.hand(c.files, c.gift), c.probe))
		return
	}
	r, asSaid := isAllowed, func() { b.expectAllowed(a) }
	if c.errno != 0 {
		r, asSaid = isDenied, func() { b.expectRefused(a, c.want, c.boundary) }
	}
	b.end(c.limit, a, c.errno, r, asSaid)
}

// skip ends a trial that this kernel cannot try.
func (b *border) skip(why string) {
	results.note(b.t.Name(), isAbsent)
	b.t.Skip(why)
}

// launch lets a confined probe run to its end.
func (b *border) launch(errno syscall.Errno, files []*os.File, argv []string) *attempt {
	b.t.Helper()
	if !b.moved {
		return b.start("", files, errno, argv...).wait()
	}
	a := b.start("", files, errno, append([]string{"gate"}, argv...)...)
	a.ready()
	move(b.t, a.cmd.Process.Pid, cgroups)
	a.pass()
	return a.wait()
}

// loose is launch for a probe that nothing confines.
func (b *border) loose(errno syscall.Errno, files []*os.File, argv []string) *attempt {
	b.t.Helper()
	a := b.command(files, "-1", "", errno, argv)
	a.startErr = a.cmd.Start()
	return a.wait()
}

// hand sends a gift, if there is one: the probe's first descriptor is then the
// socket to take it from.
func (b *border) hand(files []*os.File, gift func() *os.File) []*os.File {
	b.t.Helper()
	if gift == nil {
		return files
	}
	f := gift()
	defer f.Close()
	ends := must1(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))(b.t)
	defer unix.Close(ends[0])
	err := unix.Sendmsg(ends[0], []byte("x"), unix.UnixRights(int(f.Fd())), nil, 0)
	if err == syscall.EINVAL {
		b.skip("this kernel does not send such a descriptor")
	}
	must(b.t, err)
	socket := os.NewFile(uintptr(ends[1]), "socket")
	b.t.Cleanup(func() { socket.Close() })
	return append([]*os.File{socket}, files...)
}

// expectRefused asserts the refusal, its one event and the boundary in it.
func (b *border) expectRefused(a *attempt, want denial, boundary abi.Boundary) {
	b.t.Helper()
	b.expectBoundary(boundary)
	if boundary != abi.BoundaryNone {
		want.reason = abi.ReasonBoundary
	}
	b.expectDenied(a, want)
}

// expectBoundary looks at the boundaries of the events that are pending.
func (b *border) expectBoundary(want abi.Boundary) {
	b.t.Helper()
	b.drain(b.t)
	for _, e := range b.pending[b.id] {
		if e.Boundary != want {
			b.t.Errorf("event's boundary: got %d (%s), want %d (%s) in %s", e.Boundary, e.Boundary, want, want, show(e))
		}
	}
}

// opened makes a gift of a file.
func (b *border) opened(path string, flags int) func() *os.File {
	return func() *os.File {
		b.t.Helper()
		return must1(os.OpenFile(b.at(path), flags, 0))(b.t)
	}
}

// words are a probe's arguments.
func words(w ...string) []string { return w }

// on and onDir are denials of actions on a path.
func on(actions, path string) denial { return denial{actions: actions, path: path} }

func onDir(actions, path string) denial { return denial{actions: actions, path: path, dir: true} }

// mounted mounts a file system of the test's own, until its end.
func (b *border) mounted(kind, path string) {
	b.t.Helper()
	must(b.t, unix.Mount("none", b.at(path), kind, 0, ""))
	b.t.Cleanup(func() { unix.Unmount(b.at(path), unix.MNT_DETACH) })
}

// bystander starts an outsider that waits, and asserts in the end that nothing
// ended it.
func (b *border) bystander() *attempt {
	b.t.Helper()
	a := b.outsider("gate", "hold", "0")
	a.ready()
	b.t.Cleanup(func() {
		a.pass()
		if a.wait(); a.code != probes.Allowed {
			b.t.Errorf("the outsider did not survive: %v", a)
		}
	})
	return a
}

// insider starts a task of the workload that waits.
func (b *border) insider(files []*os.File, argv ...string) *attempt {
	b.t.Helper()
	a := b.start("", files, 0, append(argv, "gate", "hold", "0")...)
	a.ready()
	b.t.Cleanup(func() {
		a.in.Close()
		a.cmd.Process.Kill()
		a.wait()
	})
	return a
}
