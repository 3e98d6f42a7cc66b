package vmtest

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/vmtest/probes"
)

// company is an outsider and a task of the workload, for crossings that try the
// same on both.
type company struct {
	*border
	out, in *attempt
}

func newCompany(t *testing.T, files ...*os.File) *company {
	t.Helper()
	b := newBorder(t, everything)
	b.tree("file")
	argv := words()
	if len(files) > 0 {
		argv = words("holding", "3")
	}
	return &company{border: b, out: b.bystander(), in: b.insider(files, argv...)}
}

// both makes a crossing of an operation on a process: PID stands for its number.
// It is allowed on the task inside, and refused on the outsider.
func (c *company) both(name string, errno syscall.Errno, actions string, argv ...string) crossing {
	return crossing{name: name, inside: argvOf(argv, c.in), probe: argvOf(argv, c.out), errno: errno, want: denial{actions: actions}, again: true}
}

func argvOf(argv []string, a *attempt) []string {
	out := make([]string, len(argv))
	for i, s := range argv {
		if s == "PID" {
			s = fmt.Sprint(a.cmd.Process.Pid)
		} else if path, ok := strings.CutPrefix(s, "/proc/PID"); ok {
			s = a.proc() + path
		}
		out[i] = s
	}
	return out
}

// TestBoundaryProcesses looks into processes. Inside the workload all is
// allowed, outside nothing, whatever policy says.
func TestBoundaryProcesses(t *testing.T) {
	held := must1(os.Open("/proc/self/comm"))(t)
	defer held.Close()
	c := newCompany(t, held)
	trace := func(name string, errno syscall.Errno, argv ...string) crossing {
		return c.both(name, errno, "trace", argv...)
	}
	// These are refused when they are opened.
	file := func(name, flags, actions string) crossing {
		path := "/proc/PID/" + name
		x := c.both(name+" of an outsider is denied ("+flags+")", eperm, actions, "open", flags, path)
		x.want.path = argvOf(words(path), c.out)[0]
		x.absent = []syscall.Errno{syscall.ENOENT}
		return x
	}
	thread := func(name string) crossing {
		path := func(a *attempt) string { return fmt.Sprintf("%s/task/%d/%s", a.proc(), a.cmd.Process.Pid, name) }
		return crossing{name: name + " of an outsider's thread is denied", inside: words("open", "r", path(c.in)), free: words("open", "r", path(c.out)),
			probe: words("open", "r", path(c.out)), want: on("open,read", path(c.out)), again: true}
	}
	c.cross(forbidden(abi.BoundaryProcess, []crossing{
		trace("attaching to an outsider is denied", eperm, "attach_ptrace", "PID"),
		trace("seizing an outsider is denied", eperm, "seize_ptrace", "PID"),
		trace("reading memory of an outsider is denied", eperm, "readmem", "PID"),
		trace("writing memory of an outsider is denied", eperm, "writemem", "PID"),
		trace("descriptor of an outsider is denied", eperm, "getfd", "PID", "0"),
		file("mem", "r", "open,read"),
		file("mem", "w", "open,write"),
		file("environ", "r", "open,read"),
		file("maps", "r", "open,read"),
		file("smaps", "r", "open,read"),
		file("smaps_rollup", "r", "open,read"),
		file("numa_maps", "r", "open,read"),
		file("pagemap", "r", "open,read"),
		file("auxv", "r", "open,read"),
		file("oom_score_adj", "w", "open,write"),
		file("coredump_filter", "w", "open,write"),
		thread("environ"),
		trace("root of an outsider is denied", eacces, "open", "r", "/proc/PID/root/proc/self/comm"),
		trace("working directory of an outsider is denied", eacces, "open", "r", "/proc/PID/cwd/."),
		trace("fd of an outsider is denied", eacces, "open", "r", "/proc/PID/fd/0"),
		trace("exe of an outsider is denied", eacces, "open", "r", "/proc/PID/exe"),
		trace("target of a link of an outsider is denied", eacces, "readlink", "/proc/PID/exe"),
		{name: "tracing by an outsider is denied", inside: words("traceus"), free: words("traceus"), probe: words("traceme"), want: denial{actions: "trace"}, again: true},
	})...)
	none := func(name string, argv ...string) crossing {
		x := c.both(name, 0, "", argv...)
		x.again = true
		return x
	}
	c.cross(
		none("stat of an outsider is allowed", "slurp", "/proc/PID/stat"),
		none("status of an outsider is allowed", "slurp", "/proc/PID/status"),
		none("command line of an outsider is allowed", "slurp", "/proc/PID/cmdline"),
		none("signal 0 to an outsider is allowed", "kill", "PID", "0"),
		crossing{name: "pipeline in a process group of its own is allowed", probe: words("pipeline"), again: true},
		crossing{name: "process group of its own is allowed", probe: words("joingroup", "0"), again: true},
		none("limits of an outsider are read", "slurp", "/proc/PID/limits"),
	)
}

// TestBoundaryGroups joins the process group of outsiders: what the terminal and the
// kernel send to all of it would reach them. And it reads what the kernel leaves out.
func TestBoundaryGroups(t *testing.T) {
	c := newCompany(t)
	group := words("joingroup", fmt.Sprint(unix.Getpgrp()))
	c.cross(forbidden(abi.BoundarySignal, []crossing{{name: "process group of an outsider is denied", free: group, probe: group, again: true}})...)
	c.cross(forbidden(abi.BoundaryProcess, []crossing{{name: "priority of the session is denied", free: words("open", "w", c.in.proc()+"/autogroup"),
		probe: words("open", "w", c.in.proc()+"/autogroup"), want: on("open,write", c.in.proc()+"/autogroup"), absent: []syscall.Errno{syscall.ENOENT}}})...)
	c.step("where an outsider waits is withheld", isAllowed, func() {
		c.withheld(func() *attempt { return c.launch(0, nil, words("slurp", c.out.proc()+"/wchan")) })
	})
}

// TestBoundaryTuning changes how the kernel treats other processes.
func TestBoundaryTuning(t *testing.T) {
	c := newCompany(t)
	c.cross(forbidden(abi.BoundaryProcess, []crossing{
		c.both("limit of an outsider is not set", eperm, "", "prlimit", "PID"),
		c.both("priority of an outsider is not set", eperm, "", "nice", "PID"),
		c.both("affinity of an outsider is not set", eperm, "", "affinity", "PID"),
		c.both("scheduler of an outsider is not set", eperm, "", "scheduler", "PID"),
		c.both("io priority of an outsider is not set", eperm, "", "ioprio", "PID"),
	})...)
}

// TestBoundarySignals sends signals. SIGURG means nothing to a Go program.
func TestBoundarySignals(t *testing.T) {
	c := newCompany(t)
	urgent := func(name string, argv ...string) crossing {
		return c.both(name+" is denied", eperm, "kill", argv...)
	}
	plain := func(signal syscall.Signal, action string) crossing {
		number := fmt.Sprint(int(signal))
		return crossing{name: unix.SignalName(signal) + " to an outsider is denied", probe: argvOf(words("kill", "PID", number), c.out), want: denial{actions: action}}
	}
	c.cross(forbidden(abi.BoundarySignal, []crossing{
		urgent("kill of an outsider", "kill", "PID", "23"),
		urgent("tgkill of an outsider", "tgkill", "PID", "23"),
		urgent("tkill of an outsider", "tkill", "PID", "23"),
		urgent("queued signal to an outsider", "queue", "PID", "23"),
		urgent("signal by pidfd to an outsider", "pidfdkill", "PID", "23"),
		crossing{name: "ownership of a pipe by F_SETOWN_EX is denied", free: argvOf(words("ownerex", "PID"), c.out), probe: argvOf(words("ownerex", "PID"), c.out), want: denial{actions: "kill"}},
		crossing{name: "ownership of a socket by FIOSETOWN is denied", free: argvOf(words("ownersocket", "PID", "0x8901"), c.out), probe: argvOf(words("ownersocket", "PID", "0x8901"), c.out), want: denial{actions: "kill"}},
		crossing{name: "ownership of a socket by SIOCSPGRP is denied", free: argvOf(words("ownersocket", "PID", "0x8902"), c.out), probe: argvOf(words("ownersocket", "PID", "0x8902"), c.out), want: denial{actions: "kill"}},
		plain(unix.SIGKILL, "kill"),
		plain(unix.SIGTERM, "kill"),
		plain(unix.SIGSTOP, "kill"),
		plain(unix.SIGINT, "interrupt"),
		plain(unix.SIGHUP, "interrupt"),
	})...)
	for _, signal := range []syscall.Signal{unix.SIGKILL, unix.SIGTERM, unix.SIGINT} {
		c.step(unix.SignalName(signal)+" inside is allowed", isAllowed, func() {
			victim := c.insider(nil)
			c.expectAllowed(c.launch(0, nil, argvOf(words("kill", "PID", fmt.Sprint(int(signal))), victim)))
			c.expectKilled(victim, signal)
		})
	}
	for _, moved := range []bool{false, true} {
		name := "signal to all hits insiders only"
		if moved {
			name += ", moved"
		}
		c.step(name, isDenied, func() {
			c.moved = moved
			c.killAll()
			c.moved = false
		})
	}
	c.ownership()
}

// killAll sends a signal to every process there is: the call succeeds, and leaves out
// the outsiders.
func (c *company) killAll() {
	victim := c.insider(nil)
	c.withheld(func() *attempt { return c.launch(0, nil, words("kill", "-1", fmt.Sprint(int(unix.SIGTERM)))) })
	c.expectKilled(victim, unix.SIGTERM)
}

// expectKilled asserts that a signal ended a task.
func (c *company) expectKilled(a *attempt, want syscall.Signal) {
	c.t.Helper()
	if a.startErr == nil {
		a.in.Close()
		a.cmd.Wait()
	}
	status := a.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !status.Signaled() || status.Signal() != want {
		c.t.Errorf("the task inside ended with %v, want %v", a.cmd.ProcessState, want)
	}
}

// ownership makes another process the owner of a pipe, so that the kernel sends
// it a signal of one's choice.
func (c *company) ownership() {
	c.step("ownership of a pipe by the task itself is allowed", isAllowed, func() {
		c.expectAllowed(c.launch(0, nil, words("owner", "0", "23")))
	})
	for _, signal := range []syscall.Signal{unix.SIGKILL, unix.SIGIO} {
		number := fmt.Sprint(int(signal))
		c.step(unix.SignalName(signal)+" to an outsider by ownership of a pipe is denied", isDenied, func() {
			victim := c.outsider("gate", "hold", "0")
			victim.ready()
			a := c.launch(eperm, nil, argvOf(words("owner", "PID", number), victim))
			victim.in.Close()
			victim.cmd.Wait()
			if status := victim.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
				c.t.Errorf("the outsider ended with %v", victim.cmd.ProcessState)
			}
			if a.code == probes.CannotTry || a.startErr != nil {
				c.t.Errorf("%v", a)
			}
			c.expectBoundary(abi.BoundarySignal)
			c.expectEvents(a.pid, denial{actions: "kill", reason: abi.ReasonBoundary})
		})
	}
}
