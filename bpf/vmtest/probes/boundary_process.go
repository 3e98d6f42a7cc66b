package probes

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// landmark stands at the same address in every process of this program.
var landmark = [8]byte{1}

// strangers are operations on another process.
var strangers = map[string]probe{
	"attach_ptrace": func(a args) error { return ptrace(unix.PTRACE_ATTACH, a.num(0)) },
	"seize_ptrace":  func(a args) error { return ptrace(unix.PTRACE_SEIZE, a.num(0)) },
	// traceme: by this process's parent
	"traceme": func(args) error { return call(unix.SYS_PTRACE, unix.PTRACE_TRACEME, 0, 0, 0) },
	// joingroup NUMBER: the process group of that number
	"joingroup": func(a args) error { return call(unix.SYS_SETPGID, 0, uintptr(a.num(0))) },
	// pipeline: two children in a process group of their own, as a shell makes them
	"pipeline": func(args) error {
		runtime.LockOSThread() // children of a thread
		group := 0
		for range 2 {
			cmd := exec.Command("/proc/self/exe", "-1", "", "0", "hold", "10")
			cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pgid: group}
			if err := cmd.Start(); err != nil {
				return errors.Unwrap(err)
			}
			defer func() {
				cmd.Process.Kill()
				cmd.Wait()
			}()
			group = cmd.Process.Pid
		}
		return nil
	},
	// traceus: a child is traced by this process
	"traceus": func(args) error { return childCall(unix.SYS_PTRACE, unix.PTRACE_TRACEME) },
	// readmem PID, writemem PID: process_vm_readv and writev
	"readmem":  func(a args) error { return peek(unix.SYS_PROCESS_VM_READV, a.num(0)) },
	"writemem": func(a args) error { return peek(unix.SYS_PROCESS_VM_WRITEV, a.num(0)) },
	// getfd PID FD
	"getfd": func(a args) error {
		_, err := unix.PidfdGetfd(must1(unix.PidfdOpen(a.num(0), 0)), a.num(1), 0)
		return err
	},
	// kill PID SIGNAL
	"kill": func(a args) error { return unix.Kill(a.num(0), unix.Signal(a.num(1))) },
	// tgkill PID SIGNAL
	"tgkill": func(a args) error { return unix.Tgkill(a.num(0), a.num(0), unix.Signal(a.num(1))) },
	// tkill PID SIGNAL
	"tkill": func(a args) error { return call(unix.SYS_TKILL, uintptr(a.num(0)), uintptr(a.num(1))) },
	// queue PID SIGNAL: rt_sigqueueinfo
	"queue": func(a args) error {
		const byQueue = 0xffffffff // SI_QUEUE
		return call(unix.SYS_RT_SIGQUEUEINFO, uintptr(a.num(0)), uintptr(a.num(1)), memory(uint64(a.num(1)), byQueue))
	},
	// pidfdgroup PID SIGNAL: to the group that PID leads
	"pidfdgroup": func(a args) error {
		const toGroup = 4 // PIDFD_SIGNAL_PROCESS_GROUP
		return unix.PidfdSendSignal(must1(unix.PidfdOpen(a.num(0), 0)), unix.Signal(a.num(1)), nil, toGroup)
	},
	// pidfdkill PID SIGNAL
	"pidfdkill": func(a args) error {
		return unix.PidfdSendSignal(must1(unix.PidfdOpen(a.num(0), 0)), unix.Signal(a.num(1)), nil, 0)
	},
	// owner PID SIGNAL: as the owner of a pipe, the process gets the signal
	// when something arrives; PID 0 is this one. ownerex is the same by
	// F_SETOWN_EX, ownersocket PID by an ioctl on a socket.
	"owner": func(a args) error {
		pid := a.num(0)
		if pid == 0 {
			pid = os.Getpid()
		}
		var ends [2]int
		must(unix.Pipe2(ends[:], unix.O_CLOEXEC))
		if err := fcntl(ends[0], unix.F_SETOWN, pid); err != nil {
			return err
		}
		must(fcntl(ends[0], unix.F_SETSIG, a.num(1)))
		must(fcntl(ends[0], unix.F_SETFL, unix.O_ASYNC))
		must1(unix.Write(ends[1], []byte("x")))
		return nil
	},
	"ownerex": func(a args) error {
		var ends [2]int
		must(unix.Pipe2(ends[:], unix.O_CLOEXEC))
		const process = 1 // F_OWNER_PID
		return call(unix.SYS_FCNTL, uintptr(ends[0]), unix.F_SETOWN_EX, memory(uint64(a.num(0))<<32|process))
	},
	"ownersocket": func(a args) error {
		fds := must1(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
		return call(unix.SYS_IOCTL, uintptr(fds[0]), uintptr(a.num(1)), memory(uint64(a.num(0))))
	},
	// prlimit PID: sets the limit that is there
	"prlimit": func(a args) error {
		var l unix.Rlimit
		must(unix.Prlimit(a.num(0), unix.RLIMIT_CORE, nil, &l))
		return unix.Prlimit(a.num(0), unix.RLIMIT_CORE, &l, nil)
	},
	// nice PID
	"nice": func(a args) error { return unix.Setpriority(unix.PRIO_PROCESS, a.num(0), 1) },
	// affinity PID
	"affinity": func(a args) error {
		var set unix.CPUSet
		set.Set(0)
		return unix.SchedSetaffinity(a.num(0), &set)
	},
	// scheduler PID: SCHED_BATCH
	"scheduler": func(a args) error {
		const batch = 3
		return call(unix.SYS_SCHED_SETSCHEDULER, uintptr(a.num(0)), batch, memory(0))
	},
	// ioprio PID: idle
	"ioprio": func(a args) error {
		const process, idle = 1, 3 << 13
		return call(unix.SYS_IOPRIO_SET, process, uintptr(a.num(0)), idle)
	},
	// holding FD PROBE...: with an inherited descriptor, or a new ring, at 100
	"holding": func(a args) error {
		fd := -1
		if a.str(0) == "ring" {
			var r ring
			r.setup(false)
			fd = r.fd
		} else {
			fd = a.num(0)
		}
		must(unix.Dup2(fd, 100))
		return run(a.rest(1))
	},
}

func fcntl(fd, cmd, arg int) error {
	_, err := unix.FcntlInt(uintptr(fd), cmd, arg)
	return err
}

// ptrace attaches and lets go again.
func ptrace(request, pid int) error {
	runtime.LockOSThread()
	if err := call(unix.SYS_PTRACE, uintptr(request), uintptr(pid), 0, 0); err != nil {
		return err
	}
	if request == unix.PTRACE_SEIZE {
		must(call(unix.SYS_PTRACE, unix.PTRACE_INTERRUPT, uintptr(pid), 0, 0))
	}
	must1(unix.Wait4(pid, nil, unix.WALL, nil))
	return unix.PtraceDetach(pid)
}

// peek copies the landmark of another process from or to here.
func peek(trap uintptr, pid int) error {
	mark := uint64(uintptr(unsafe.Pointer(&landmark)))
	here := memory(0, 0, 0, mark, 8) // the bytes, an iovec of here, one of there
	fixed[1], fixed[2] = uint64(here), 8
	if trap == unix.SYS_PROCESS_VM_WRITEV {
		copy((*[8]byte)(unsafe.Pointer(&fixed))[:], landmark[:])
	}
	err := call(trap, uintptr(pid), here+8, 1, here+24, 1)
	if err == nil && *(*[8]byte)(unsafe.Pointer(&fixed)) != landmark {
		return fmt.Errorf("process %d: not the landmark", pid)
	}
	return err
}
