package probes

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The probes of the boundary join the table by one of its groups: this runs
// before the table is made.
func init() {
	for _, group := range []map[string]probe{escapes, controls, strangers, descriptors, sockets} {
		maps.Copy(tasks, group)
	}
}

// controls reach for the kernel itself.
var controls = map[string]probe{
	// slurp PATH: opens for reading, and reads
	"slurp": func(a args) error {
		f, err := os.Open(a.str(0))
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, f)
		return err
	},
	// mkdirat FD PATH
	"mkdirat": func(a args) error { return unix.Mkdirat(a.num(0), a.str(1), 0o755) },
	// mkdev KIND MAJOR MINOR PATH: KIND is b or c
	"mkdev": func(a args) error {
		kind := uint32(unix.S_IFCHR)
		if a.str(0) == "b" {
			kind = unix.S_IFBLK
		}
		return unix.Mknod(a.str(3), kind|0o644, int(unix.Mkdev(uint32(a.num(1)), uint32(a.num(2)))))
	},
	// setxattrname PATH NAME
	"setxattrname": func(a args) error { return unix.Setxattr(a.str(0), a.str(1), []byte("x"), 0) },
	// bpf create, bpf get PATH, bpf next
	"bpf": func(a args) error {
		switch a.str(0) {
		case "create":
			return bpf(unix.BPF_MAP_CREATE, 4<<32|unix.BPF_MAP_TYPE_ARRAY, 1<<32|4) // key size, type; entries, value size
		case "get":
			name := must1(syscall.BytePtrFromString(a.str(1)))
			defer runtime.KeepAlive(name)
			return bpf(unix.BPF_OBJ_GET, uint64(uintptr(unsafe.Pointer(name))))
		}
		return bpf(unix.BPF_PROG_GET_NEXT_ID, 0)
	},
	"perf": func(args) error {
		attr := &unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK}
		attr.Size = uint32(unsafe.Sizeof(*attr))
		_, err := unix.PerfEventOpen(attr, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
		return err
	},
	// module PATH: finit_module; without PATH init_module of garbage
	"module": func(a args) error {
		if len(a) == 0 {
			return unix.InitModule(make([]byte, 4096), "")
		}
		fd := must1(unix.Open(a.str(0), unix.O_RDONLY|unix.O_CLOEXEC, 0))
		return unix.FinitModule(fd, "", 0)
	},
	// kexec: unloads a kernel that is not there; kexec PATH: loads a file as kernel
	"kexec": func(a args) error {
		if len(a) == 0 {
			return call(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0)
		}
		const noInitramfs = 4
		fd := must1(unix.Open(a.str(0), unix.O_RDONLY|unix.O_CLOEXEC, 0))
		return call(unix.SYS_KEXEC_FILE_LOAD, uintptr(fd), ^uintptr(0), 1, memory(0), noInitramfs)
	},
	// ports: access to the machine's ports, for this thread
	"ports": func(args) error {
		runtime.LockOSThread()
		return unix.Ioperm(0x80, 1, 1)
	},
	// ioctl FD COMMAND VALUE: VALUE is a byte, passed by its address
	"ioctl": func(a args) error {
		return call(unix.SYS_IOCTL, uintptr(a.num(0)), uintptr(a.num(1)), memory(uint64(a.num(2))))
	},
	// child32 FD PROGRAM: runs a program with the descriptor as its input; its
	// exit code is an errno
	"child32": func(a args) error {
		pid, err := syscall.ForkExec(a.str(1), a[1:2], &syscall.ProcAttr{Files: []uintptr{uintptr(a.num(0)), 2, 2}})
		if err != nil {
			return err
		}
		fmt.Printf("pid=%d\n", pid)
		var status unix.WaitStatus
		must1(unix.Wait4(pid, &status, 0, nil))
		if status.Signaled() {
			cannot("the program ended by %v", status.Signal())
		}
		if status.ExitStatus() != 0 {
			return syscall.Errno(status.ExitStatus())
		}
		return nil
	},
	// inotify PATH
	"inotify": func(a args) error {
		fd := must1(unix.InotifyInit1(unix.IN_CLOEXEC))
		_, err := unix.InotifyAddWatch(fd, a.str(0), unix.IN_ATTRIB)
		return err
	},
	// fanotify INIT FLAGS MASK PATH: numbers of fanotify_init and fanotify_mark
	"fanotify": func(a args) error {
		fd, err := unix.FanotifyInit(uint(a.num(0))|unix.FAN_CLOEXEC, unix.O_RDONLY)
		if err != nil {
			return err
		}
		return unix.FanotifyMark(fd, uint(a.num(1))|unix.FAN_MARK_ADD, uint64(a.num(2)), unix.AT_FDCWD, a.str(3))
	},
}

func bpf(cmd uintptr, words ...uint64) error {
	var attr [16]uint64
	copy(attr[:], words)
	fd, _, errno := unix.Syscall(unix.SYS_BPF, cmd, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return errno
	}
	if cmd != unix.BPF_PROG_GET_NEXT_ID {
		unix.Close(int(fd))
	}
	return nil
}

// fixed is memory that does not move.
var fixed [16]uint64

// memory fills it with words and returns its address.
func memory(words ...uint64) uintptr {
	clear(fixed[copy(fixed[:], words):])
	return uintptr(unsafe.Pointer(&fixed))
}

// call is a system call whose result does not matter.
func call(trap uintptr, a ...uintptr) error {
	var six [6]uintptr
	copy(six[:], a)
	if _, _, errno := unix.Syscall6(trap, six[0], six[1], six[2], six[3], six[4], six[5]); errno != 0 {
		return errno
	}
	return nil
}

// childCall lets a child of one thread make a system call: what the kernel
// refuses to threads, or answers by the parent.
func childCall(trap uintptr, a ...uintptr) error {
	var six [6]uintptr
	copy(six[:], a)
	var pipe [2]int
	must(unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	runtime.LockOSThread()
	pid, errno := forkCall(uintptr(pipe[1]), trap, &six)
	runtime.UnlockOSThread()
	if errno != 0 {
		must(errno)
	}
	unix.Close(pipe[1])
	answer := make([]byte, 8)
	n, err := unix.Read(pipe[0], answer)
	must1(unix.Wait4(int(pid), nil, 0, nil))
	if n != len(answer) {
		cannot("the child sent %d bytes (%v)", n, err)
	}
	fmt.Printf("pid=%d\n", pid)
	if e := binary.NativeEndian.Uint64(answer); e != 0 {
		return syscall.Errno(e)
	}
	return nil
}

// forkCall runs in the child, too: see forkOpen.
//
//go:norace
//go:noinline
func forkCall(pipe, trap uintptr, a *[6]uintptr) (uintptr, syscall.Errno) {
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return pid, errno
	}
	var answer uint64
	_, _, errno = syscall.RawSyscall6(trap, a[0], a[1], a[2], a[3], a[4], a[5])
	answer = uint64(errno)
	syscall.RawSyscall(unix.SYS_WRITE, pipe, uintptr(unsafe.Pointer(&answer)), 8)
	syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	return 0, 0
}

// with replaces "%" in a probe's arguments by a descriptor, and runs it.
func with(fd int, a args) error {
	if len(a) == 0 {
		return nil
	}
	out := make(args, len(a))
	for i, s := range a {
		out[i] = strings.ReplaceAll(s, "%", fmt.Sprint(fd))
	}
	return run(out)
}

// Typist returns a static program that makes ioctl(0, TIOCSTI, "x") by the
// 32-bit gate and exits with the errno.
func Typist() []byte {
	elf := Payload()
	const base, head = 0x400000, 64 + 56
	code := []byte{
		0xb8, 54, 0, 0, 0, // mov eax, 54: ioctl
		0x31, 0xdb, // xor ebx, ebx
		0xb9, 0x12, 0x54, 0, 0, // mov ecx, TIOCSTI
		0xba, base & 0xff, base >> 8 & 0xff, base >> 16, 0, // mov edx, base: a byte
		0xcd, 0x80, // int 0x80
		0xf7, 0xd8, 0x89, 0xc7, // neg eax; mov edi, eax
		0xb8, 0x3c, 0, 0, 0, 0x0f, 0x05, // mov eax, 60; syscall: exit
	}
	elf = append(elf[:head], code...)
	binary.LittleEndian.PutUint64(elf[96:], uint64(len(elf)))
	binary.LittleEndian.PutUint64(elf[104:], uint64(len(elf)))
	return elf
}
