// Package probes holds one small program a trick: what a confined task may try
// in order to reach what its policy refuses. The enforcement tests run them, as the
// program of package probe, inside the workload's cgroup.
//
// A probe exits with 0 when the operation was allowed, 1 when it was denied
// with the expected errno, 2 when it could not be tried (standard error says
// why) and 3 when it was denied otherwise. The errno and the process that
// tried go to standard output.
package probes

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The exit codes.
const (
	Allowed = iota
	Denied
	CannotTry
	DeniedOtherwise
)

// args are a probe's arguments.
type args []string

func (a args) str(i int) string {
	if i >= len(a) {
		cannot("argument %d is missing", i)
	}
	return a[i]
}

func (a args) num(i int) int {
	n, err := strconv.ParseInt(a.str(i), 0, 64)
	must(err)
	return int(n)
}

func (a args) rest(i int) args {
	if i > len(a) {
		cannot("argument %d is missing", i)
	}
	return a[i:]
}

// cut returns the two probes around a --.
func (a args) cut() (first, second args) {
	i := slices.Index(a, "--")
	if i < 0 {
		cannot("no --")
	}
	return a[:i], a[i+1:]
}

type probe func(args) error

// table holds every probe by its name.
var table = map[string]probe{}

func init() {
	// gate PROBE...: says "ready", and waits for a line on standard input
	table["gate"] = func(a args) error {
		pass()
		return run(a)
	}
	// then PROBE... -- PROBE...: the first must succeed
	table["then"] = func(a args) error {
		first, second := a.cut()
		must(run(first))
		return run(second)
	}
	// tripped PROBE... -- PROBE...: the first must fail with EACCES
	table["tripped"] = func(a args) error {
		first, second := a.cut()
		if err := run(first); !errors.Is(err, unix.EACCES) {
			cannot("the first is not refused: %v", err)
		}
		return run(second)
	}
	for _, group := range []map[string]probe{opens, changes, moves, mounts, executions, rings, chains, tasks, storms, metadata, facts} {
		for name, p := range group {
			table[name] = p
		}
	}
}

// setup is the panic of a probe that cannot try.
type setup struct{ error }

func cannot(format string, a ...any) { panic(setup{fmt.Errorf(format, a...)}) }

// must is for what comes before the operation itself.
func must(err error) {
	if err != nil {
		panic(setup{err})
	}
}

func must1[T any](v T, err error) T {
	must(err)
	return v
}

// exited is the outcome of a probe that another process tried.
type exited int

func (e exited) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Main runs a probe. After its name, argv is PROCS STEPS ERRNO NAME ARG...: STEPS are
// taken while nothing confines this process; then it enters the workload by
// PROCS, a descriptor of the cgroup's cgroup.procs, or -1 if it was born there
// or stays outside; ERRNO is the expected one.
func Main(argv []string) (code int) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case setup:
			fmt.Fprintln(os.Stderr, "cannot try:", e)
			code = CannotTry
		default:
			panic(e)
		}
	}()
	a := args(argv).rest(1)
	for step := range strings.SplitSeq(a.str(1), ",") {
		must(prepare(step))
	}
	if procs := a.num(0); procs >= 0 {
		must1(unix.Write(procs, []byte("0")))
		unix.Close(procs)
	}
	want := syscall.Errno(a.num(2))
	fmt.Printf("pid=%d\n", os.Getpid())
	return report(run(a.rest(3)), want)
}

// prepare takes one step that a confined task could not.
func prepare(step string) error {
	what, arg, _ := strings.Cut(step, "=")
	switch what {
	case "":
		return nil
	case "chroot":
		if err := unix.Chroot(arg); err != nil {
			return err
		}
		return os.Chdir("/")
	case "chdir":
		return os.Chdir(arg)
	case "fchdir":
		fd, err := strconv.Atoi(arg)
		if err != nil {
			return err
		}
		return unix.Fchdir(fd)
	case "landlock":
		return landlock(arg)
	case "controlled": // by the terminal on descriptor 3
		if _, err := unix.Setsid(); err != nil {
			return err
		}
		return unix.IoctlSetInt(3, unix.TIOCSCTTY, 0)
	case "newns":
		runtime.LockOSThread()
		return unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
	}
	return fmt.Errorf("no step %q", step)
}

// pass waits at the gate.
func pass() {
	fmt.Println("ready")
	_, err := bufio.NewReader(os.Stdin).ReadString('\n')
	must(err)
}

func run(a args) error {
	p := table[a.str(0)]
	if p == nil {
		cannot("no probe %q", a[0])
	}
	return p(a.rest(1))
}

func report(err error, want syscall.Errno) int {
	var errno syscall.Errno
	var child exited
	switch {
	case err == nil:
		return Allowed
	case errors.As(err, &child):
		return int(child)
	case !errors.As(err, &errno):
		fmt.Fprintln(os.Stderr, "cannot try:", err)
		return CannotTry
	}
	fmt.Printf("errno=%d %v\n", int(errno), errno)
	switch errno {
	case want:
		return Denied
	case syscall.ENOSYS:
		fmt.Fprintln(os.Stderr, "cannot try: this kernel has no such call")
		return CannotTry
	}
	return DeniedOtherwise
}
