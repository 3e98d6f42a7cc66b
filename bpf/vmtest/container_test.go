package vmtest

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/vmtest/probes"
	"github.com/stockade-dev/stockade/thread"
)

// container is a workload whose root is that of a mount namespace of its own. What enters
// its cgroup from outside plays the runtime.
type container struct {
	*border
	namespace *os.File
}

// newContainer makes one.
//
//	@/root
//	├── bin/         open and read
//	├── bin/tool     execute: reads what it is told to, and ends with the errno
//	├── bin/other
//	├── bin/probe    execute: a probe
//	├── proc/        everything
//	├── ws/key       open and read
//	└── secret/key   nothing
func newContainer(t *testing.T, l *lab) *container {
	t.Helper()
	c := &container{border: &border{stage: bareStage(t, l)}}
	c.tree("root/ws/key", "root/secret/key", "root/proc/")
	c.program("root/bin/tool", "root/bin/other")
	must(t, os.WriteFile(c.at("@/root/bin/probe"), must1(os.ReadFile(c.exe))(t), 0o755))
	c.enclose()
	must(t, c.SetContainer(c.id, true))
	plan, err := compile(c.exe, "", permit("execute", "/bin/tool", "/bin/probe"), permit("*", "/proc/"), permit(look, "/ws/", "/bin/"))
	must(t, err)
	must1(c.Install(c.id, plan.Table.Words(), abi.Enforce))(t)
	return c
}

// enclose makes the mount namespace, and registers its root.
func (c *container) enclose() {
	c.t.Helper()
	must(c.t, thread.Do(func() error {
		root := c.at("@/root")
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return err
		}
		var err error
		if c.namespace, err = os.Open("/proc/thread-self/ns/mnt"); err != nil {
			return err
		}
		for _, do := range []func() error{
			func() error { return unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") },
			func() error { return unix.Mount(root, root, "", unix.MS_BIND, "") },
			func() error { return unix.Mount("proc", root+"/proc", "proc", 0, "") },
			func() error { return unix.Chdir(root) },
			func() error { return unix.PivotRoot(".", ".") },
			func() error { return unix.Unmount(".", unix.MNT_DETACH) },
			func() error { return unix.Chdir("/") },
		} {
			if err := do(); err != nil {
				return err
			}
		}
		return c.RegisterRoot(c.id)
	}))
	c.t.Cleanup(func() { c.namespace.Close() })
}

// runtime lets a runtime do something, and returns once it has ended.
func (c *container) runtime(errno syscall.Errno, argv ...string) *attempt {
	c.t.Helper()
	return c.start("", []*os.File{c.namespace}, errno, argv...).wait()
}

// inside are the words of a probe that enters the container first.
func inside(argv ...string) []string { return append(words("setns", "3"), argv...) }

// execution is the denial of an execution by the runtime.
func (c *container) execution(path string) denial {
	return denial{actions: "execute", path: path, exe: "(outside)" + c.exe}
}

// wantCode asserts what a program of the container ended with, and its events.
func (c *container) wantCode(a *attempt, code syscall.Errno, want ...denial) {
	c.t.Helper()
	if a.startErr != nil || a.code != int(code) {
		c.t.Errorf("exit code %d, want %d: %v", a.code, int(code), a)
	}
	c.expectEvents(a.pid, want...)
}

// insider starts a probe that was the container's entry. What its language's runtime is
// refused is taken at its gate.
func (c *container) insider(errno syscall.Errno, argv ...string) *attempt {
	c.t.Helper()
	a := c.start("", []*os.File{c.namespace}, 0, inside(append(words("exec", "/bin/probe", "/bin/probe", "-1", "", strconv.Itoa(int(errno)), "gate"), argv...)...)...)
	a.ready()
	c.settle()
	return a
}

// TestContainers lets a runtime prepare a container, start a program in it, and another
// one beside that.
func TestContainers(t *testing.T) {
	c := newContainer(t, open(t))
	gone := outsidePath(c.at("@/root/secret/key"), "open,read")
	gone.exe = "(outside)" + c.exe
	secret := denial{actions: "open,read", path: "/secret/key", exe: "/bin/tool"}
	tool := func(path string) []string { return inside("exec", "/bin/tool", "tool", path) }
	host := must1(os.Open(c.at("@/root/bin/tool")))(t)
	defer host.Close()

	c.step("preparation is not judged", isAllowed, func() {
		c.expectAllowed(c.runtime(0, "open", "r", "@/root/secret/key"))
		c.expectAllowed(c.runtime(0, "fork", "@/root/secret/key"))
		c.expectAllowed(c.runtime(0, "doublefork", "@/root/secret/key"))
		c.expectAllowed(c.runtime(0, append(words("thread"), "open", "r", "@/root/secret/key")...))
		c.expectAllowed(c.runtime(0, inside("open", "r", "/secret/key")...))
	})
	c.step("program of the host's, before it entered the container, is not judged", isAllowed, func() {
		c.wantCode(c.runtime(0, "exec", "@/root/bin/other", "other", c.at("@/root/secret/key")), 0)
	})
	c.step("entry is judged", isDenied, func() {
		c.wantCode(c.runtime(0, tool("/ws/key")...), 0)
		c.expectDenied(c.runtime(eacces, inside("exec", "/bin/other")...), c.execution("/bin/other"))
	})
	c.step("entry of a child is judged", isDenied, func() {
		c.expectAllowed(c.runtime(0, inside("child", "/bin/tool", "/ws/key")...))
		c.expectDenied(c.runtime(eacces, inside("child", "/bin/tool", "/secret/key")...), secret)
	})
	c.step("what the entry does is judged", isDenied, func() {
		c.wantCode(c.runtime(0, tool("/secret/key")...), eacces, secret)
	})
	c.step("program from outside is denied in the container", isDenied, func() {
		c.wantCode(c.runtime(0, inside("exec", "/proc/self/root/bin/tool", "tool", "/ws/key")...), 0)
		d := outsidePath(c.exe, "execute")
		d.exe = "(outside)" + c.exe
		c.expectDenied(c.runtime(eacces, inside("exec", "/proc/self/exe")...), d)
	})
	c.step("task that no runtime prepares is judged at once", isDenied, func() {
		must(c.t, c.SetContainer(c.id, false))
		c.expectDenied(c.runtime(eacces, "open", "r", "@/root/secret/key"), gone)
		must(c.t, c.SetContainer(c.id, true))
		c.expectAllowed(c.runtime(0, "open", "r", "@/root/secret/key"))
	})
	c.step("entry of what is locked down is denied", isDenied, func() {
		must(c.t, c.SetMode(c.id, abi.Lockdown))
		d := c.execution("/bin/tool")
		d.reason, d.mode = abi.ReasonLockdown, abi.Lockdown
		c.expectDenied(c.runtime(eacces, tool("/ws/key")...), d)
		must(c.t, c.SetMode(c.id, abi.Enforce))
		c.wantCode(c.runtime(0, tool("/ws/key")...), 0)
	})
	c.step("runtime makes no child while the container is ended", isDenied, func() {
		for _, ending := range []bool{false, true} {
			// The first of both lets the language's runtime have the threads that it wants.
			a := c.start("", nil, 0, "then", "fork", "@/root/secret/key", "--", "gate", "fork", "@/root/secret/key")
			a.ready()
			must(c.t, c.SetEnding(c.id, ending))
			a.pass()
			a.wait()
			must(c.t, c.SetEnding(c.id, false))
			if refused := a.code != probes.Allowed; refused != ending {
				c.t.Errorf("ended %v: %v", ending, a)
			}
		}
	})
}

// TestContainersKeepOffTheirRuntime reaches from inside for a task that still prepares.
func TestContainersKeepOffTheirRuntime(t *testing.T) {
	c := newContainer(t, open(t))
	preparing := c.start("", []*os.File{c.namespace}, 0, "gate", "hold", "0")
	preparing.ready()
	other := c.insider(0, "hold", "0")
	defer func() {
		for _, a := range []*attempt{preparing, other} {
			a.cmd.Process.Kill()
			a.wait()
		}
	}()
	for _, r := range []struct {
		name     string
		argv     []string
		errno    syscall.Errno
		boundary abi.Boundary
		action   string
	}{
		{"tracing", words("attach_ptrace", "PID"), eperm, abi.BoundaryProcess, "trace"},
		{"signal", words("kill", "PID", strconv.Itoa(int(unix.SIGCONT))), eperm, abi.BoundarySignal, "kill"},
		{"program", words("open", "r", "/proc/PID/exe"), eacces, abi.BoundaryProcess, "trace"},
	} {
		c.step(r.name+" of the runtime's is denied", isDenied, func() {
			for _, to := range []*attempt{other, preparing} {
				errno := r.errno
				if to == other {
					errno = 0
				}
				var argv []string
				for _, word := range r.argv {
					argv = append(argv, strings.ReplaceAll(word, "PID", strconv.Itoa(to.cmd.Process.Pid)))
				}
				a := c.insider(errno, argv...)
				a.pass()
				a.wait()
				if to == other {
					c.expectAllowed(a)
					continue
				}
				c.expectRefused(a, denial{actions: r.action, exe: "/bin/probe"}, r.boundary)
			}
		})
	}
}

// TestContainersThatTakeTooLong: what never executes its program is judged in the end, and
// so is what it made.
func TestContainersThatTakeTooLong(t *testing.T) {
	c := newContainer(t, openSmall(t))
	gone := outsidePath(c.at("@/root/secret/key"), "open,read")
	gone.exe = "(outside)" + c.exe
	c.step("runtime that takes too long is judged", isDenied, func() {
		c.expectAllowed(c.runtime(0, "open", "r", "@/root/secret/key"))
		for _, argv := range [][]string{words("open", "r", "@/root/secret/key"), words("fork", "@/root/secret/key")} {
			a := c.start("", []*os.File{c.namespace}, eacces, append(words("gate"), argv...)...)
			a.ready()
			time.Sleep(smallStarting + 500*time.Millisecond)
			c.settle()
			a.pass()
			c.expectDenied(a.wait(), gone)
		}
	})
}
