package probes

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// facts are what changes how a task looks to conditions on the context.
var facts = map[string]probe{
	// as UID GID PROBE...: with these ids
	"as": func(a args) error {
		must(syscall.Setresgid(a.num(1), a.num(1), a.num(1)))
		must(syscall.Setresuid(a.num(0), a.num(0), a.num(0)))
		return run(a.rest(2))
	},
	// effectively UID PROBE...: with this effective id alone
	"effectively": func(a args) error {
		must(syscall.Setresuid(-1, a.num(0), -1))
		return run(a.rest(1))
	},
	// execself ARG...: this program from memory; ARG... begins with argv[0]
	"execself": func(a args) error {
		code := must1(os.ReadFile("/proc/self/exe"))
		fd := must1(unix.MemfdCreate("self", unix.MFD_CLOEXEC))
		must1(unix.Write(fd, code))
		return unix.Exec(procFD(fd), a, nil)
	},
	// refused PATH PROBE...: after an exec of PATH that failed
	"refused": func(a args) error {
		if err := unix.Exec(a.str(0), payloadArgs, nil); err == nil {
			cannot("%s was executed", a.str(0))
		}
		return run(a.rest(1))
	},
	// launch PATH ARG...: a child that executes PATH, as exec does; its last line
	// is this probe's
	"launch": func(a args) error {
		argv := a.rest(1)
		pid, err := syscall.ForkExec(a.str(0), argv, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
		if err != nil {
			return err
		}
		var status unix.WaitStatus
		must1(unix.Wait4(pid, &status, 0, nil))
		if status.ExitStatus() != 0 {
			return exited(status.ExitStatus())
		}
		return nil
	},
	// settime: to what it is
	"settime": func(args) error {
		var ts unix.Timespec
		must(unix.ClockGettime(unix.CLOCK_REALTIME, &ts))
		return unix.ClockSettime(unix.CLOCK_REALTIME, &ts)
	},
	// settimeofday: to what it is
	"settimeofday": func(args) error {
		var tv unix.Timeval
		must(unix.Gettimeofday(&tv))
		return unix.Settimeofday(&tv)
	},
	// adjtime: by nothing
	"adjtime": func(args) error {
		const setOffset = 0x0100
		_, err := unix.Adjtimex(&unix.Timex{Modes: setOffset})
		return err
	},
	// settai: to what it is
	"settai": func(args) error {
		const tai = 0x0080
		var t unix.Timex
		must1(unix.Adjtimex(&t))
		_, err := unix.Adjtimex(&unix.Timex{Modes: tai, Constant: int64(t.Tai)})
		return err
	},
	// gettime: what adjtimex tells
	"gettime": func(args) error {
		var t unix.Timex
		_, err := unix.Adjtimex(&t)
		return err
	},
	// setexe PATH: as the executable of this process
	"setexe": func(a args) error {
		fd := must1(unix.Open(a.str(0), unix.O_RDONLY|unix.O_CLOEXEC, 0))
		return unix.Prctl(unix.PR_SET_MM, unix.PR_SET_MM_EXE_FILE, uintptr(fd), 0, 0)
	},
	// setmap: a description of this process's memory that is empty
	"setmap": func(args) error {
		var empty [104]byte
		return unix.Prctl(unix.PR_SET_MM, unix.PR_SET_MM_MAP, uintptr(unsafe.Pointer(&empty)), unsafe.Sizeof(empty), 0)
	},
}
