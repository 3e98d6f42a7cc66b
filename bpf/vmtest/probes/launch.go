package probes

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Launch prepares, unconfined, what a confined task could not, then enters the
// workload and becomes the probe: PROCS EXE STEPS PROBE..., where PROCS and EXE
// are descriptors of the cgroup's cgroup.procs and of this program, and STEPS
// are chroot=DIR, chdir=DIR, fchdir=FD, joined by commas.
func Launch(argv []string) int {
	a := args(argv)
	procs, exe := a.num(0), a.num(1)
	for step := range strings.SplitSeq(a.str(2), ",") {
		if err := prepare(step); err != nil {
			fmt.Fprintf(os.Stderr, "cannot try: %s: %v\n", step, err)
			return CannotTry
		}
	}
	unix.CloseOnExec(exe)
	if _, err := unix.Write(procs, []byte("0")); err != nil {
		fmt.Fprintln(os.Stderr, "cannot try: enter the workload:", err)
		return CannotTry
	}
	unix.Close(procs)
	err := execSelf(exe, append([]string{os.Args[0], Arg}, a.rest(3)...))
	fmt.Fprintln(os.Stderr, "cannot try: become the probe:", err)
	return CannotTry
}

func prepare(step string) error {
	what, path, _ := strings.Cut(step, "=")
	switch what {
	case "":
		return nil
	case "chroot":
		if err := unix.Chroot(path); err != nil {
			return err
		}
		return os.Chdir("/")
	case "chdir":
		return os.Chdir(path)
	case "fchdir":
		fd, err := strconv.Atoi(path)
		if err != nil {
			return err
		}
		return unix.Fchdir(fd)
	}
	return fmt.Errorf("no such step")
}

func execSelf(fd int, argv []string) error {
	empty := [1]byte{}
	args, err := syscall.SlicePtrFromStrings(argv)
	if err != nil {
		return err
	}
	env, err := syscall.SlicePtrFromStrings(os.Environ())
	if err != nil {
		return err
	}
	_, _, errno := syscall.RawSyscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&empty[0])),
		uintptr(unsafe.Pointer(&args[0])), uintptr(unsafe.Pointer(&env[0])), unix.AT_EMPTY_PATH, 0)
	return errno
}
