package probes

import (
	"maps"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

func init() { maps.Copy(table, memories) }

const page = 4096

// memories are ways to executable memory, and uses of descriptors.
var memories = map[string]probe{
	// mapanon PROT: memory without a file
	"mapanon": func(a args) error {
		_, err := unix.Mmap(-1, 0, page, a.num(0), unix.MAP_PRIVATE|unix.MAP_ANON)
		return err
	},
	// mapas PROT FLAGS PATH
	"mapas": func(a args) error {
		fd := must1(unix.Open(a.str(2), unix.O_RDWR|unix.O_CLOEXEC, 0))
		_, err := unix.Mmap(fd, 0, page, a.num(0), a.num(1))
		return err
	},
	// written PATH: a private copy of its first page is changed, then made executable
	"written": func(a args) error {
		fd := must1(unix.Open(a.str(0), unix.O_RDONLY|unix.O_CLOEXEC, 0))
		mem := must1(unix.Mmap(fd, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE))
		mem[0] = 'y'
		return unix.Mprotect(mem, unix.PROT_READ|unix.PROT_EXEC)
	},
	// writable PATH: an executable mapping is made writable as well
	"writable": func(a args) error {
		fd := must1(unix.Open(a.str(0), unix.O_RDONLY|unix.O_CLOEXEC, 0))
		mem := must1(unix.Mmap(fd, 0, page, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE))
		return unix.Mprotect(mem, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC)
	},
	// mapmem: a memory file
	"mapmem": func(args) error {
		fd := must1(unix.MemfdCreate("code", unix.MFD_CLOEXEC))
		must(unix.Ftruncate(fd, page))
		_, err := unix.Mmap(fd, 0, page, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_SHARED)
		return err
	},
	// mapmem2: a memory file, made executable after it was mapped
	"mapmem2": func(args) error {
		fd := must1(unix.MemfdCreate("code", unix.MFD_CLOEXEC))
		must(unix.Ftruncate(fd, page))
		mem := must1(unix.Mmap(fd, 0, page, unix.PROT_READ, unix.MAP_SHARED))
		return unix.Mprotect(mem, unix.PROT_READ|unix.PROT_EXEC)
	},
	// mapshm: memory of System V
	"mapshm": func(args) error {
		id := must1(unix.SysvShmGet(0, page, unix.IPC_CREAT|0o700))
		defer unix.SysvShmCtl(id, unix.IPC_RMID, nil)
		const shmExec = 0o100000
		_, err := unix.SysvShmAttach(id, 0, shmExec)
		return err
	},
	// heap: made executable by the personality
	"heap": func(args) error {
		runtime.LockOSThread()
		const readImpliesExec = 0x0400000
		must(call(unix.SYS_PERSONALITY, readImpliesExec))
		end, _, _ := unix.RawSyscall(unix.SYS_BRK, 0, 0, 0)
		if now, _, _ := unix.RawSyscall(unix.SYS_BRK, end+page, 0, 0); now != end+page {
			return unix.ENOMEM
		}
		return nil
	},
	// readfd FD
	"readfd": func(a args) error {
		_, err := unix.Read(a.num(0), make([]byte, 8))
		return err
	},
	// mapfd FD PROT FLAGS
	"mapfd": func(a args) error {
		_, err := unix.Mmap(a.num(0), 0, page, a.num(1), a.num(2))
		return err
	},
	// sendfd FD: to a pipe
	"sendfd": func(a args) error {
		var ends [2]int
		must(unix.Pipe2(ends[:], unix.O_CLOEXEC))
		_, err := unix.Sendfile(ends[1], a.num(0), nil, 8)
		return err
	},
	// listfd FD
	"listfd": func(a args) error {
		_, err := unix.Getdents(a.num(0), make([]byte, 512))
		return err
	},
	// lockfd FD
	"lockfd": func(a args) error { return unix.Flock(a.num(0), unix.LOCK_SH|unix.LOCK_NB) },
	// sizefd FD: an ioctl
	"sizefd": func(a args) error {
		return call(unix.SYS_IOCTL, uintptr(a.num(0)), unix.FS_IOC_GETFLAGS, uintptr(unsafe.Pointer(&fixed)))
	},
	// punchfd FD: fallocate
	"punchfd": func(a args) error { return unix.Fallocate(a.num(0), 0, 0, page) },
}
