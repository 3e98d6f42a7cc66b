package probes

import (
	"maps"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func init() { maps.Copy(table, machine) }

// machine are operations on the machine as a whole.
var machine = map[string]probe{
	"vhangup": func(args) error { return call(unix.SYS_VHANGUP) },
	// session PROBE...: as the leader of a new session
	"session": func(a args) error {
		must1(unix.Setsid())
		return run(a)
	},
	// controlling FD HOW: makes a terminal the session's; HOW 1 takes it away
	"controlling": func(a args) error {
		return call(unix.SYS_IOCTL, uintptr(a.num(0)), unix.TIOCSCTTY, uintptr(a.num(1)))
	},
	// holdterminal FD PROBE...: as a session that has it
	"holdterminal": func(a args) error {
		must1(unix.Setsid())
		must(call(unix.SYS_IOCTL, uintptr(a.num(0)), unix.TIOCSCTTY, 0))
		return run(a.rest(1))
	},
	"unload": func(args) error { return unix.DeleteModule("no_such_module", 0) },
	// ctrlaltdel: lets that combination signal init, as it is anyway
	"ctrlaltdel": func(args) error { return unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF) },
	// swapon PATH, swapoff PATH
	"swapon":  func(a args) error { return callPath(unix.SYS_SWAPON, a.str(0)) },
	"swapoff": func(a args) error { return callPath(unix.SYS_SWAPOFF, a.str(0)) },
	"acct":    func(args) error { return call(unix.SYS_ACCT, 0) },
	// hostname: sets the name that is there
	"hostname": func(args) error {
		var u unix.Utsname
		must(unix.Uname(&u))
		return unix.Sethostname([]byte(unix.ByteSliceToString(u.Nodename[:])))
	},
	"domainname": func(args) error {
		var u unix.Utsname
		must(unix.Uname(&u))
		return unix.Setdomainname([]byte(unix.ByteSliceToString(u.Domainname[:])))
	},
	// newuts PROBE...: in a namespace of names of its own
	"newuts": func(a args) error {
		runtime.LockOSThread()
		must(unix.Unshare(unix.CLONE_NEWUTS))
		return run(a)
	},
	// quota FD: changes nothing of user 0's
	"quota": func(a args) error {
		const sysQuotactlFD, setQuotaOfUsers = 443, 0x800008 << 8
		return call(sysQuotactlFD, uintptr(a.num(0)), setQuotaOfUsers, 0, memory(0))
	},
	// thaw PATH: a file system that is not frozen
	"thaw": func(a args) error {
		const fiThaw = 0xc0045878
		fd := must1(unix.Open(a.str(0), unix.O_RDONLY|unix.O_CLOEXEC, 0))
		return call(unix.SYS_IOCTL, uintptr(fd), fiThaw, memory(0))
	},
	// audit: sets nothing, by netlink
	"audit": func(args) error {
		const netlinkAudit, auditSet, statusSize = 9, 1001, 40
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, netlinkAudit)
		if err == unix.EPROTONOSUPPORT {
			return unix.ENOSYS
		}
		must(err)
		return ask(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}, auditSet, make([]byte, statusSize))
	},
	// syslog ACTION: of the kernel's log
	"syslog": func(a args) error { return call(unix.SYS_SYSLOG, uintptr(a.num(0)), memory(0), 64) },
	// setsig FD SIGNAL: what the owner of a file gets
	"setsig": func(a args) error { return fcntl(a.num(0), unix.F_SETSIG, a.num(1)) },
	// madvise PID: of another process's memory
	"madvise": func(a args) error {
		const cold = 20
		mark := uint64(uintptr(unsafe.Pointer(&Held)) &^ 4095)
		return call(unix.SYS_PROCESS_MADVISE, uintptr(must1(unix.PidfdOpen(a.num(0), 0))), memory(mark, 4096), 1, cold, 0)
	},
	// userfaultfd FLAGS: 1 is UFFD_USER_MODE_ONLY
	"userfaultfd": func(a args) error { return call(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|uintptr(a.num(0))) },
	"faultdevice": func(args) error {
		const ioctlNew = 0xaa00 // USERFAULTFD_IOC_NEW
		fd := must1(unix.Open("/dev/userfaultfd", unix.O_RDWR|unix.O_CLOEXEC, 0))
		return call(unix.SYS_IOCTL, uintptr(fd), ioctlNew, unix.O_CLOEXEC)
	},
	// addkey NAME, readkey NAME: in the keyring of the user
	"addkey": func(a args) error {
		_, err := unix.AddKey("user", a.str(0), []byte("x"), unix.KEY_SPEC_USER_KEYRING)
		return err
	},
	// requestkey NAME [TEXT]: with the text, for whoever makes keys
	"requestkey": func(a args) error {
		text := ""
		if len(a) > 1 {
			text = a.str(1)
		}
		_, err := unix.RequestKey("user", a.str(0), text, 0)
		return err
	},
	"readkey": func(a args) error {
		id, err := unix.KeyctlSearch(unix.KEY_SPEC_USER_KEYRING, "user", a.str(0), 0)
		if err != nil {
			return err
		}
		_, err = unix.KeyctlBuffer(unix.KEYCTL_READ, id, make([]byte, 8), 8)
		return err
	},
	// givekeys: this process's session keyring to its parent, which has threads
	"givekeys": func(args) error { return childCall(unix.SYS_KEYCTL, unix.KEYCTL_SESSION_TO_PARENT) },
	// object KIND: one of System V, removed at once
	"object": func(a args) error {
		remove, err := Object(a.str(0))
		if err != nil {
			return err
		}
		return remove()
	},
	// attachmemory ID: of System V
	"attachmemory": func(a args) error {
		_, err := unix.SysvShmAttach(a.num(0), 0, unix.SHM_RDONLY)
		return err
	},
	// getxattr PATH
	"getxattr": func(a args) error {
		_, err := unix.Getxattr(a.str(0), "trusted.old", make([]byte, 8))
		return err
	},
}

// Object makes an object of System V: memory, a queue or semaphores.
func Object(kind string) (remove func() error, err error) {
	const flags = unix.IPC_CREAT | 0o600
	kinds := map[string]struct {
		remove uintptr // IPC_RMID is 0, and so is which semaphore
		make   []uintptr
	}{
		"memory":     {unix.SYS_SHMCTL, []uintptr{unix.SYS_SHMGET, unix.IPC_PRIVATE, 4096, flags}},
		"queue":      {unix.SYS_MSGCTL, []uintptr{unix.SYS_MSGGET, unix.IPC_PRIVATE, flags, 0}},
		"semaphores": {unix.SYS_SEMCTL, []uintptr{unix.SYS_SEMGET, unix.IPC_PRIVATE, 1, flags}},
	}
	k := kinds[kind]
	id, _, errno := unix.Syscall(k.make[0], k.make[1], k.make[2], k.make[3])
	if errno != 0 {
		return nil, errno
	}
	return func() error { return call(k.remove, id, 0, 0) }, nil
}

func callPath(trap uintptr, path string) error {
	name := must1(syscall.BytePtrFromString(path))
	defer runtime.KeepAlive(name)
	return call(trap, uintptr(unsafe.Pointer(name)), 0)
}
