package probes

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tasks are other tasks of the workload that try.
var tasks = map[string]probe{
	// thread PROBE...: in another thread, started before the gate of PROBE
	"thread": func(a args) error {
		done := make(chan error)
		go func() {
			runtime.LockOSThread()
			done <- run(a)
		}()
		return <-done
	},
	// child PATH ARG...: by vfork and exec; the child's exit code is an errno
	"child": func(a args) error {
		pid, err := syscall.ForkExec(a.str(0), a, &syscall.ProcAttr{Files: []uintptr{0, 2, 2}})
		if err != nil {
			return err
		}
		fmt.Printf("pid=%d\n", pid)
		var status unix.WaitStatus
		must1(unix.Wait4(pid, &status, 0, nil))
		if status.ExitStatus() != 0 {
			return syscall.Errno(status.ExitStatus())
		}
		return nil
	},
	// pidfd: of this process, and a signal through it that does nothing
	"pidfd": func(args) error {
		fd, err := unix.PidfdOpen(os.Getpid(), 0)
		if err != nil {
			return err
		}
		return unix.PidfdSendSignal(fd, 0, nil, 0)
	},
	// fork PATH: a child opens PATH
	"fork": func(a args) error { return fork(a.str(0), 1, -1) },
	// doublefork PATH: a grandchild in its own session, whose parent is gone
	"doublefork": func(a args) error { return fork(a.str(0), 2, -1) },
	// into CGROUP PATH: a child made by clone3 in another cgroup
	"into": func(a args) error {
		fd := must1(unix.Open(a.str(0), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0))
		return fork(a.str(1), 1, fd)
	},
	// intofd FD PATH: the same, by an inherited descriptor of the cgroup
	"intofd": func(a args) error { return fork(a.str(1), 1, a.num(0)) },
	// procs CGROUP PATH: this task writes itself to another cgroup
	"procs": func(a args) error {
		if err := os.WriteFile(a.str(0)+"/cgroup.procs", []byte("0"), 0); err != nil {
			return err
		}
		return open(unix.AT_FDCWD, a.str(1), unix.O_RDONLY|unix.O_CLOEXEC)
	},
	// procsfd FD PATH: the same, by an inherited descriptor of cgroup.procs
	"procsfd": func(a args) error {
		if _, err := unix.Write(a.num(0), []byte("0")); err != nil {
			return err
		}
		return open(unix.AT_FDCWD, a.str(1), unix.O_RDONLY|unix.O_CLOEXEC)
	},
}

// cloneArgs is struct clone_args.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

const cloneIntoCgroup = 0x200000000

// fork lets the child of the given generation open path, and returns its
// outcome. cgroup is where the first child is born, -1 for here.
func fork(path string, generations, cgroup int) error {
	name := must1(syscall.BytePtrFromString(path))
	var pipe [2]int
	must(unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	clone := &cloneArgs{exitSignal: uint64(unix.SIGCHLD)}
	if cgroup >= 0 {
		clone.flags, clone.cgroup = cloneIntoCgroup, uint64(cgroup)
	}
	runtime.LockOSThread()
	pid, errno := forkOpen(name, uintptr(pipe[1]), clone, generations)
	runtime.UnlockOSThread()
	if errno != 0 {
		return errno
	}
	unix.Close(pipe[1])
	var status unix.WaitStatus
	must1(unix.Wait4(int(pid), &status, 0, nil))
	answer := make([]byte, 8)
	if n, err := unix.Read(pipe[0], answer); n != len(answer) {
		cannot("the child sent %d bytes (%v), status %#x", n, err, status)
	}
	fmt.Printf("pid=%d\n", binary.NativeEndian.Uint32(answer))
	if e := binary.NativeEndian.Uint32(answer[4:]); e != 0 {
		return syscall.Errno(e)
	}
	return nil
}

// forkOpen runs in the child, too, where nothing but plain system calls may be
// used: the child has one thread of Go's runtime.
//
//go:norace
//go:noinline
func forkOpen(name *byte, pipe uintptr, clone *cloneArgs, generations int) (uintptr, syscall.Errno) {
	const sysClone3 = 435
	var answer [2]uint32
	cwd := unix.AT_FDCWD
	pid, _, errno := syscall.RawSyscall(sysClone3, uintptr(unsafe.Pointer(clone)), unsafe.Sizeof(*clone), 0)
	if errno != 0 || pid != 0 {
		return pid, errno
	}
	for range generations - 1 {
		syscall.RawSyscall(unix.SYS_SETSID, 0, 0, 0)
		pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 || pid != 0 {
			syscall.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(errno), 0, 0)
		}
		for range 1000 { // until the parent is gone
			ppid, _, _ := syscall.RawSyscall(unix.SYS_GETPPID, 0, 0, 0)
			if ppid == 1 {
				break
			}
			syscall.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		}
	}
	self, _, _ := syscall.RawSyscall(unix.SYS_GETPID, 0, 0, 0)
	_, _, errno = syscall.RawSyscall6(unix.SYS_OPENAT, uintptr(cwd), uintptr(unsafe.Pointer(name)), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
	answer[0], answer[1] = uint32(self), uint32(errno)
	syscall.RawSyscall(unix.SYS_WRITE, pipe, uintptr(unsafe.Pointer(&answer)), 8)
	syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	return 0, 0
}
