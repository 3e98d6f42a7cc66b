package probes

import (
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func init() { maps.Copy(table, powers) }

// powers are operations that take a capability.
var powers = map[string]probe{
	// realtime: SCHED_FIFO for this thread
	"realtime": func(args) error {
		const fifo = 1
		runtime.LockOSThread()
		return call(unix.SYS_SCHED_SETSCHEDULER, 0, fifo, memory(1))
	},
	// priority NICE: of this thread
	"priority": func(a args) error {
		runtime.LockOSThread()
		return unix.Setpriority(unix.PRIO_PROCESS, 0, a.num(0))
	},
	// iopriority: the realtime class for this thread
	"iopriority": func(args) error {
		const process, realtime = 1, 1 << 13
		runtime.LockOSThread()
		return call(unix.SYS_IOPRIO_SET, process, 0, realtime|4)
	},
	// interface NAME: sets its flags to what they are; interfaceup: starts lo
	"interface":   func(a args) error { return setFlags(a.str(0), 0) },
	"interfaceup": func(args) error { return setFlags("lo", unix.IFF_UP) },
	// hwpoison, softoffline: of a page that is not there
	"hwpoison":    func(args) error { return madvise(unix.MADV_HWPOISON) },
	"softoffline": func(args) error { return madvise(101) },
	// poison: a page that is there, and is lost
	"poison": func(args) error {
		page := must1(unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS))
		page[0] = 1
		return unix.Madvise(page, unix.MADV_HWPOISON)
	},
	// raiselimit: to twice a hard limit, lowered before
	"raiselimit": func(args) error {
		must(unix.Setrlimit(unix.RLIMIT_MSGQUEUE, &unix.Rlimit{Cur: 4096, Max: 4096}))
		return unix.Setrlimit(unix.RLIMIT_MSGQUEUE, &unix.Rlimit{Cur: 4096, Max: 8192})
	},
	// auditrecord: one of a user's, by netlink
	"auditrecord": func(args) error {
		const netlinkAudit, auditUser = 9, 1005
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, netlinkAudit)
		if err == unix.EPROTONOSUPPORT {
			return unix.ENOSYS
		}
		must(err)
		return ask(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}, auditUser, []byte("op=forged\x00\x00\x00"))
	},
	// wakealarm: a timer that ends a suspension
	"wakealarm": func(args) error {
		_, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME_ALARM, unix.TFD_CLOEXEC)
		return err
	},
	// forcebuffer: of a socket, beyond the limit
	"forcebuffer": func(args) error {
		fd := must1(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<20)
	},
	// bigpipe: larger than users may have
	"bigpipe": func(args) error {
		var ends [2]int
		must(unix.Pipe2(ends[:], unix.O_CLOEXEC))
		return fcntl(ends[0], unix.F_SETPIPE_SZ, 4<<20)
	},
	// nodevice: the kernel looks for a module first, which takes capabilities
	"nodevice": func(args) error {
		fd := must1(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))
		var ifr [40]byte
		copy(ifr[:], "nosuchdevice")
		err := call(unix.SYS_IOCTL, uintptr(fd), unix.SIOCGIFFLAGS, uintptr(unsafe.Pointer(&ifr)))
		if err == unix.ENODEV {
			return nil
		}
		return err
	},
	// removememory ID: of System V
	"removememory": func(a args) error {
		_, err := unix.SysvShmCtl(a.num(0), unix.IPC_RMID, nil)
		return err
	},
	// listen PORT
	"listen": func(a args) error {
		fd := must1(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
		return unix.Bind(fd, &unix.SockaddrInet4{Port: a.num(0), Addr: [4]byte{127, 0, 0, 1}})
	},
	// listener: asks the listener of a filter of this task's own, on which no call
	// waits
	"listener": func(args) error {
		runtime.LockOSThread()
		must(unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(allowing())))
		if errno != 0 {
			cannot("listener: %v", errno)
		}
		const valid = 0x40082102 // SECCOMP_IOCTL_NOTIF_ID_VALID
		return call(unix.SYS_IOCTL, fd, valid, memory(1))
	},
	// dump DIR: ends with a core dump in DIR
	"dump": func(a args) error {
		must(unix.Chdir(a.str(0)))
		must(unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}))
		must(call(unix.SYS_RT_SIGACTION, uintptr(unix.SIGQUIT), memory(0, 0, 0, 0), 0, 8))
		must(unix.Kill(unix.Getpid(), unix.SIGQUIT))
		return unix.Pause()
	},
	// filter seccomp|prctl: allows everything, without no_new_privs
	"filter": func(a args) error {
		prog := allowing()
		defer runtime.KeepAlive(prog)
		runtime.LockOSThread()
		if a.str(0) == "prctl" {
			return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(prog)), 0, 0)
		}
		return call(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(prog)))
	},
	// dropcaps: from the bounding set, by securebits and by capset
	"dropcaps": func(args) error {
		runtime.LockOSThread()
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_BOOT, 0, 0, 0); err != nil {
			return err
		}
		if err := unix.Prctl(unix.PR_SET_SECUREBITS, 1<<4, 0, 0, 0); err != nil { // keep caps
			return err
		}
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		must(unix.Capget(&head, &data[0]))
		data[0].Permitted &^= 1 << unix.CAP_SYS_BOOT
		data[0].Effective = data[0].Permitted
		return unix.Capset(&head, &data[0])
	},
	// inuser PROBE...: in a user and network namespace of its own
	"inuser": func(a args) error {
		cmd := exec.Command("/proc/self/exe", append([]string{"-1", "", os.Args[3]}, a...)...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWUTS,
			UidMappings: []syscall.SysProcIDMap{{Size: 65536}}, GidMappings: []syscall.SysProcIDMap{{Size: 65536}}}
		if err := cmd.Run(); cmd.ProcessState == nil {
			return err
		}
		if code := cmd.ProcessState.ExitCode(); code != 0 {
			return exited(code)
		}
		return nil
	},
	// sethostname NAME
	"sethostname": func(a args) error { return unix.Sethostname([]byte(a.str(0))) },
	// newfs TYPE: only its context
	"newfs": func(a args) error {
		_, err := unix.Fsopen(a.str(0), unix.FSOPEN_CLOEXEC)
		return err
	},
	// stealid PID: a process claims another's number in a message
	"stealid": func(a args) error {
		fds := must1(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
		return unix.Sendmsg(fds[0], []byte("x"), unix.UnixCredentials(&unix.Ucred{Pid: int32(a.num(0))}), nil, 0)
	},
}

func setFlags(name string, more uint16) error {
	fd := must1(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))
	ifr := must1(unix.NewIfreq(name))
	must(call(unix.SYS_IOCTL, uintptr(fd), unix.SIOCGIFFLAGS, uintptr(unsafe.Pointer(ifr))))
	ifr.SetUint16(ifr.Uint16() | more)
	return call(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(ifr)))
}

// madvise is about a page at which nothing is mapped.
func madvise(advice uintptr) error {
	page := must1(unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS))
	at := uintptr(unsafe.Pointer(&page[0]))
	must(unix.Munmap(page))
	return call(unix.SYS_MADVISE, at, uintptr(os.Getpagesize()), advice)
}

// ask sends a netlink request and returns the errno of its answer.
func ask(fd int, to unix.Sockaddr, kind uint16, body []byte) error {
	message := append(make([]byte, unix.SizeofNlMsghdr), body...)
	ne := binary.NativeEndian
	ne.PutUint32(message, uint32(len(message)))
	ne.PutUint16(message[4:], kind)
	ne.PutUint16(message[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	must(unix.Sendto(fd, message, 0, to))
	answer := make([]byte, 256)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	must(err)
	if n < unix.SizeofNlMsghdr+4 || ne.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		cannot("an answer of %d bytes, type %d", n, ne.Uint16(answer[4:]))
	}
	if e := int32(ne.Uint32(answer[unix.SizeofNlMsghdr:])); e != 0 {
		return syscall.Errno(-e)
	}
	return nil
}

// OwnedMemory makes shared memory of System V as another user, for a test.
func OwnedMemory(uid int) (id int, err error) {
	runtime.LockOSThread() // and never unlock: the thread ends with its ids
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), ^uintptr(0)); errno != 0 {
		return 0, fmt.Errorf("uid %d: %w", uid, errno)
	}
	return unix.SysvShmGet(0, 4096, unix.IPC_CREAT|0o600)
}

// allowing is a seccomp filter that allows everything.
func allowing() *unix.SockFprog {
	return &unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}}
}
