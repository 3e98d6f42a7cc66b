package probes

import (
	"encoding/binary"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Payload returns a static program, as small as can be: it opens its argument
// for reading and exits with the errno.
func Payload() []byte {
	const base, head = 0x400000, 64 + 56
	code := []byte{
		0x48, 0x8b, 0x74, 0x24, 0x10, // mov rsi, [rsp+16]: argv[1]
		0x6a, 0x9c, 0x5f, // push -100; pop rdi: AT_FDCWD
		0x31, 0xd2, // xor edx, edx: O_RDONLY
		0xb8, 0x01, 0x01, 0, 0, 0x0f, 0x05, // mov eax, 257; syscall: openat
		0x31, 0xff, // xor edi, edi
		0x85, 0xc0, 0x79, 0x04, // test eax, eax; jns exit
		0xf7, 0xd8, 0x89, 0xc7, // neg eax; mov edi, eax: errno
		0xb8, 0x3c, 0, 0, 0, 0x0f, 0x05, // exit: mov eax, 60; syscall
	}
	b := make([]byte, head, head+len(code))
	le := binary.LittleEndian
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 2)         // executable
	le.PutUint16(b[18:], 62)        // x86-64
	le.PutUint32(b[20:], 1)         //
	le.PutUint64(b[24:], base+head) // entry
	le.PutUint64(b[32:], 64)        // program headers
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 1)
	le.PutUint32(b[64:], 1) // load
	le.PutUint32(b[68:], 5) // read, execute
	le.PutUint64(b[80:], base)
	le.PutUint64(b[88:], base)
	le.PutUint64(b[96:], uint64(head+len(code)))
	le.PutUint64(b[104:], uint64(head+len(code)))
	le.PutUint64(b[112:], 4096)
	return append(b, code...)
}

// Loader is a payload that may be an ELF loader: older kernels write to its page.
func Loader() []byte {
	b := Payload()
	b[68] = 7 // read, write, execute
	return b
}

// Interpreted returns a program that its ELF loader runs in its place: a payload.
func Interpreted(loader string) []byte {
	const base, head = 0x10000000, 64 + 2*56
	b := make([]byte, head, head+len(loader)+1)
	le := binary.LittleEndian
	copy(b, Payload()[:64])
	le.PutUint64(b[24:], base+head) // entry
	le.PutUint16(b[56:], 2)         // program headers
	copy(b[64:], Payload()[64:120])
	le.PutUint64(b[80:], base)
	le.PutUint64(b[88:], base)
	size := uint64(head + len(loader) + 1)
	le.PutUint64(b[96:], size)
	le.PutUint64(b[104:], size)
	le.PutUint32(b[120:], 3) // interpreter
	le.PutUint64(b[128:], head)
	le.PutUint64(b[152:], uint64(len(loader)+1))
	le.PutUint64(b[160:], uint64(len(loader)+1))
	return append(append(b, loader...), 0)
}

// executions are the ways to run a program or to map one.
var executions = map[string]probe{
	// exec PATH [ARG...]: ARG... begins with argv[0]; without, PATH is a payload
	"exec": func(a args) error {
		argv := payloadArgs
		if len(a) > 1 {
			argv = a.rest(1)
		}
		return unix.Exec(a.str(0), argv, nil)
	},
	// execenv ENTRY PATH ARG...: with one entry in the environment
	"execenv": func(a args) error { return unix.Exec(a.str(1), a.rest(2), []string{a.str(0)}) },
	// execthread PATH ARG...: by a thread that is not its process's first
	"execthread": func(a args) error {
		failed := make(chan error)
		go func() {
			runtime.LockOSThread()
			if unix.Gettid() == unix.Getpid() { // keep it, and take another
				go func() {
					runtime.LockOSThread()
					failed <- unix.Exec(a.str(0), a.rest(1), nil)
				}()
				select {}
			}
			failed <- unix.Exec(a.str(0), a.rest(1), nil)
		}()
		return <-failed
	},
	// execfd PATH: by a descriptor
	"execfd": func(a args) error {
		fd := must1(unix.Open(a.str(0), unix.O_PATH|unix.O_CLOEXEC, 0))
		return execFD(fd)
	},
	// execheld FD: an inherited descriptor
	"execheld": func(a args) error { return execFD(a.num(0)) },
	// execproc PATH: through /proc/self/fd
	"execproc": func(a args) error {
		fd := must1(unix.Open(a.str(0), unix.O_PATH, 0))
		return unix.Exec(procFD(fd), payloadArgs, nil)
	},
	// execcomm PATH COMM: after a change of the thread's name
	"execcomm": func(a args) error {
		name := must1(syscall.BytePtrFromString(a.str(1)))
		must(unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(name)), 0, 0, 0))
		return unix.Exec(a.str(0), []string{a.str(1), "/proc/self/comm"}, nil)
	},
	// execmem NAME
	"execmem": func(a args) error {
		fd := must1(unix.MemfdCreate(a.str(0), unix.MFD_CLOEXEC))
		must1(unix.Write(fd, Payload()))
		return execFD(fd)
	},
	// exectmp DIR: a file that never had a name
	"exectmp": func(a args) error {
		w := must1(unix.Open(a.str(0), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o755))
		must1(unix.Write(w, Payload()))
		fd := must1(unix.Open(procFD(w), unix.O_RDONLY|unix.O_CLOEXEC, 0))
		unix.Close(w)
		return execFD(fd)
	},
	// execgone PATH: a program whose name is gone
	"execgone": func(a args) error {
		fd := must1(unix.Open(a.str(0), unix.O_PATH|unix.O_CLOEXEC, 0))
		must(unix.Unlink(a.str(0)))
		return execFD(fd)
	},
	// mmap PATH: executable
	"mmap": func(a args) error { return mapFile(a.str(0), unix.PROT_READ|unix.PROT_EXEC) },
	// mmapread PATH: readable only
	"mmapread": func(a args) error { return mapFile(a.str(0), unix.PROT_READ) },
	// implied PATH: readable only, with a personality that adds executable
	"implied": func(a args) error {
		const readImpliesExec = 0x0400000
		if _, _, errno := unix.Syscall(unix.SYS_PERSONALITY, readImpliesExec, 0, 0); errno != 0 {
			must(errno)
		}
		return mapFile(a.str(0), unix.PROT_READ)
	},
	// mprotect PATH: mapped readable, then made executable
	"mprotect": func(a args) error {
		fd := must1(unix.Open(a.str(0), unix.O_RDONLY|unix.O_CLOEXEC, 0))
		mem := must1(unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE))
		return unix.Mprotect(mem, unix.PROT_READ|unix.PROT_EXEC)
	},
	// anonymous memory made executable
	"anonymous": func(args) error {
		mem := must1(unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON))
		return unix.Mprotect(mem, unix.PROT_READ|unix.PROT_EXEC)
	},
}

// payloadArgs make the payload exit with 0.
var payloadArgs = []string{"payload", "/proc/self/comm"}

func execFD(fd int) error {
	empty := [1]byte{}
	argv := must1(syscall.SlicePtrFromStrings(payloadArgs))
	envp := []*byte{nil}
	_, _, errno := syscall.RawSyscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&empty[0])),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envp[0])), unix.AT_EMPTY_PATH, 0)
	return errno
}

func mapFile(path string, prot int) error {
	fd := must1(unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0))
	_, err := unix.Mmap(fd, 0, 4096, prot, unix.MAP_PRIVATE)
	return err
}
