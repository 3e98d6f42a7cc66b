package probes

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fuzzViews change how the file system is seen.
var fuzzViews = []fuzzCall{
	{"mount", false, func(f *fuzzer) (uintptr, unix.Errno) {
		kind := f.text(pick(f, "tmpfs", "proc", "overlay", "none", "bpf", "cgroup2", "ramfs"))
		flags := pick[uintptr](f, 0, unix.MS_BIND, unix.MS_BIND|unix.MS_REC, unix.MS_MOVE, unix.MS_SLAVE, unix.MS_PRIVATE|unix.MS_REC, unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NOSUID)
		return sys(unix.SYS_MOUNT, f.name(), f.name(), kind, flags, f.text("lowerdir="+f.dir+"/secret:"+f.dir+"/ws"))
	}},
	{"umount", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_UMOUNT2, f.name(), f.bits(unix.MNT_DETACH, unix.UMOUNT_NOFOLLOW))
	}},
	{"pivot_root", false, func(f *fuzzer) (uintptr, unix.Errno) { return sys(unix.SYS_PIVOT_ROOT, f.name(), f.name()) }},
	{"chroot", false, func(f *fuzzer) (uintptr, unix.Errno) { return sys(unix.SYS_CHROOT, f.name()) }},
	{"unshare", false, func(f *fuzzer) (uintptr, unix.Errno) {
		if f.r.IntN(4) > 0 { // for after it everything is outside
			return 0, unix.EINVAL
		}
		return sys(unix.SYS_UNSHARE, f.bits(unix.CLONE_NEWUSER, unix.CLONE_NEWNS, unix.CLONE_NEWCGROUP, unix.CLONE_FS, unix.CLONE_FILES))
	}},
	{"setns", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_SETNS, f.fd(), pick[uintptr](f, 0, unix.CLONE_NEWNS, unix.CLONE_NEWUSER))
	}},
}

// fuzzTasks reach for other processes.
var fuzzTasks = []fuzzCall{
	{"pidfd_open", true, func(f *fuzzer) (uintptr, unix.Errno) { return sys(unix.SYS_PIDFD_OPEN, uintptr(f.pid()), 0) }},
	{"pidfd_getfd", true, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_PIDFD_GETFD, f.fd(), uintptr(f.r.IntN(6)), 0)
	}},
	{"process_vm_readv", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_PROCESS_VM_READV, uintptr(f.pid()), f.vector(0, f.buf(), 64), 1, f.vector(2, uintptr(unsafe.Pointer(&Held)), 64), 1, 0)
	}},
	{"process_vm_writev", false, func(f *fuzzer) (uintptr, unix.Errno) {
		pid := f.pid()
		if pid == unix.Getpid() {
			return 0, unix.EINVAL
		}
		return sys(unix.SYS_PROCESS_VM_WRITEV, uintptr(pid), f.vector(0, f.buf(), 64), 1, f.vector(2, uintptr(unsafe.Pointer(&Held)), 64), 1, 0)
	}},
	{"ptrace", false, func(f *fuzzer) (uintptr, unix.Errno) {
		pid := f.pid()
		if pid == unix.Getpid() || pid == 1 {
			return 0, unix.EINVAL
		}
		return sys(unix.SYS_PTRACE, pick[uintptr](f, unix.PTRACE_ATTACH, unix.PTRACE_SEIZE), uintptr(pid), 0, 0)
	}},
	{"kill", false, func(f *fuzzer) (uintptr, unix.Errno) {
		pid := f.pid()
		if pid == unix.Getpid() {
			return 0, unix.EINVAL
		}
		return sys(pick[uintptr](f, unix.SYS_KILL, unix.SYS_TKILL), uintptr(pid), pick[uintptr](f, uintptr(unix.SIGKILL), uintptr(unix.SIGSTOP), uintptr(unix.SIGTERM)))
	}},
	{"pidfd_send_signal", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_PIDFD_SEND_SIGNAL, f.fd(), 0, 0, 0)
	}},
	{"setpriority", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_SETPRIORITY, 0, uintptr(f.pid()), uintptr(f.r.IntN(5)))
	}},
	{"process_madvise", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_PROCESS_MADVISE, f.fd(), f.vector(0, uintptr(unsafe.Pointer(&Held)), 4096), 1, pick[uintptr](f, 20, 21), 0)
	}},
	{"bpf", true, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_BPF, uintptr(f.r.IntN(20)), uintptr(unsafe.Pointer(&f.words)), 64)
	}},
	{"keyctl", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_KEYCTL, uintptr(f.r.IntN(12)), uintptr(f.r.IntN(9)), f.buf(), 64, 0)
	}},
	{"scm", true, func(f *fuzzer) (uintptr, unix.Errno) {
		ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return 0, unix.EMFILE
		}
		defer unix.Close(ends[0])
		defer unix.Close(ends[1])
		if err := unix.Sendmsg(ends[0], []byte("x"), unix.UnixRights(int(f.fd())), nil, 0); err != nil {
			return 0, unix.EBADF
		}
		fd, err := receive(ends[1])
		if err != nil {
			return 0, unix.EACCES
		}
		return uintptr(fd), 0
	}},
}

// Held is where a process keeps what others must not read.
var Held [64]byte

// fuzzPrograms run what must not run.
var fuzzPrograms = []fuzzCall{
	{"execveat", false, func(f *fuzzer) (uintptr, unix.Errno) { return f.exec(f.at(), f.name(), 0) }},
	{"fexecve", false, func(f *fuzzer) (uintptr, unix.Errno) { return f.exec(f.fd(), f.text(""), unix.AT_EMPTY_PATH) }},
	{"copy", true, func(f *fuzzer) (uintptr, unix.Errno) { // of a program, to a new place or to memory
		from, errno := sys(unix.SYS_OPENAT, 0, f.text(f.dir+"/ws/tool"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if errno != 0 {
			return 0, errno
		}
		defer unix.Close(int(from))
		var to uintptr
		if f.r.IntN(2) == 0 {
			to, errno = sys(unix.SYS_MEMFD_CREATE, f.text("tool"), unix.MFD_CLOEXEC)
		} else {
			to, errno = sys(unix.SYS_OPENAT, 0, f.fresh(), unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o755)
		}
		if errno != 0 {
			return 0, errno
		}
		n, _ := unix.Read(int(from), f.out[:])
		unix.Write(int(to), f.out[:max(n, 0)])
		return to, 0
	}},
	{"mprotect", false, func(f *fuzzer) (uintptr, unix.Errno) {
		at, errno := sys(unix.SYS_MMAP, 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE, f.fd(), 0)
		if errno != 0 {
			return 0, errno
		}
		defer sys(unix.SYS_MUNMAP, at, 4096)
		return sys(unix.SYS_MPROTECT, at, 4096, unix.PROT_READ|unix.PROT_EXEC)
	}},
}

// harmless are arguments with which this very program, should it be what is run,
// does nothing.
var harmless = must1(syscall.SlicePtrFromStrings([]string{"-1", "", "0", "hold", "0"}))[:6]

// exec lets a child run a program and looks at how it ended.
func (f *fuzzer) exec(dir, name, flags uintptr) (uintptr, unix.Errno) {
	argv := [8]uint64{uint64(name)}
	for i, arg := range harmless {
		argv[i+1] = uint64(uintptr(unsafe.Pointer(arg)))
	}
	copy(f.words[:], argv[:])
	pid, errno := forkExec(dir, name, uintptr(unsafe.Pointer(&f.words)), flags)
	if errno != 0 {
		return 0, errno
	}
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(int(pid), &status, 0, nil); err != unix.EINTR {
			break
		}
	}
	if status.Exited() && status.ExitStatus() == Evidence {
		f.found = "a program ran that may not"
	}
	if status.Exited() && status.ExitStatus() == 126 {
		return 0, unix.EACCES
	}
	return 0, 0
}

// forkExec runs in the child, too: see forkOpen.
//
//go:norace
//go:noinline
func forkExec(dir, name, argv, flags uintptr) (uintptr, unix.Errno) {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return pid, errno
	}
	unix.RawSyscall6(unix.SYS_EXECVEAT, dir, name, argv, argv+7*8, flags, 0)
	unix.RawSyscall(unix.SYS_EXIT_GROUP, 126, 0, 0)
	return 0, 0
}
