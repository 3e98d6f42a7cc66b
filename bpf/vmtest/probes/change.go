package probes

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const sysFchmodat2 = 452

// changes are the operations that change a file or make a name.
var changes = map[string]probe{
	"truncate": func(a args) error { return unix.Truncate(a.str(0), 0) },
	// ftruncate PATH: opened for writing first
	"ftruncate": func(a args) error {
		fd := must1(unix.Open(a.str(0), unix.O_RDWR|unix.O_CLOEXEC, 0))
		return unix.Ftruncate(fd, 1)
	},
	"stat": func(a args) error {
		var st unix.Stat_t
		return unix.Lstat(a.str(0), &st)
	},
	"access": func(a args) error { return unix.Access(a.str(0), unix.R_OK) },
	"readlink": func(a args) error {
		_, err := unix.Readlink(a.str(0), make([]byte, 256))
		return err
	},
	"mkdir":   func(a args) error { return unix.Mkdir(a.str(0), 0o755) },
	"fifo":    func(a args) error { return unix.Mkfifo(a.str(0), 0o644) },
	"mkreg":   func(a args) error { return unix.Mknod(a.str(0), unix.S_IFREG|0o644, 0) },
	"mkchr":   func(a args) error { return unix.Mknod(a.str(0), unix.S_IFCHR|0o644, 1<<8|3) },
	"symlink": func(a args) error { return unix.Symlink(a.str(0), a.str(1)) },
	"unlink":  func(a args) error { return unix.Unlink(a.str(0)) },
	"rmdir":   func(a args) error { return unix.Rmdir(a.str(0)) },
	"bind": func(a args) error {
		fd := must1(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
		return unix.Bind(fd, &unix.SockaddrUnix{Name: a.str(0)})
	},
	"chmod": func(a args) error { return unix.Chmod(a.str(0), 0o777) },
	// fchmod PATH: on a descriptor opened for reading
	"fchmod": func(a args) error {
		fd := must1(unix.Open(a.str(0), unix.O_RDONLY|unix.O_CLOEXEC, 0))
		return unix.Fchmod(fd, 0o777)
	},
	// mode PATH MODE, mkmode PATH MODE, openmode PATH FLAGS MODE: with bits of its own
	"mode":   func(a args) error { return unix.Chmod(a.str(0), uint32(a.num(1))) },
	"mkmode": func(a args) error { return unix.Mknod(a.str(0), unix.S_IFREG|uint32(a.num(1)), 0) },
	"mkdirmode": func(a args) error {
		must(unix.Mkdir(a.str(0), 0o755))
		return unix.Chmod(a.str(0), uint32(a.num(1)))
	},
	"openmode": func(a args) error {
		fd, err := unix.Open(a.str(0), flags(a.str(1)), uint32(a.num(2)))
		if err == nil {
			unix.Close(fd)
		}
		return err
	},
	// fchmodat2 PATH: since 6.6
	"fchmodat2": func(a args) error {
		name := must1(syscall.BytePtrFromString(a.str(0)))
		cwd := unix.AT_FDCWD
		_, _, errno := unix.Syscall6(sysFchmodat2, uintptr(cwd), uintptr(unsafe.Pointer(name)), 0o777, 0, 0, 0)
		if errno != 0 {
			return errno
		}
		return nil
	},
	"chown":  func(a args) error { return unix.Chown(a.str(0), 1000, 1000) },
	"lchown": func(a args) error { return unix.Lchown(a.str(0), 1000, 1000) },
	"fchown": func(a args) error {
		fd := must1(unix.Open(a.str(0), unix.O_RDONLY|unix.O_CLOEXEC, 0))
		return unix.Fchown(fd, 1000, 1000)
	},
	// copyrange FROM TO
	"copyrange": func(a args) error {
		from := must1(unix.Open(a.str(0), unix.O_RDONLY|unix.O_CLOEXEC, 0))
		to := must1(unix.Open(a.str(1), unix.O_WRONLY|unix.O_CLOEXEC, 0))
		_, err := unix.CopyFileRange(from, nil, to, nil, 4, 0)
		return err
	},
}

// moves are the operations with two names.
var moves = map[string]probe{
	"rename": func(a args) error { return unix.Rename(a.str(0), a.str(1)) },
	"exchange": func(a args) error {
		return unix.Renameat2(unix.AT_FDCWD, a.str(0), unix.AT_FDCWD, a.str(1), unix.RENAME_EXCHANGE)
	},
	"noreplace": func(a args) error {
		return unix.Renameat2(unix.AT_FDCWD, a.str(0), unix.AT_FDCWD, a.str(1), unix.RENAME_NOREPLACE)
	},
	"link": func(a args) error { return unix.Link(a.str(0), a.str(1)) },
	// linkfd FROM TO: from an O_PATH descriptor
	"linkfd": func(a args) error {
		fd := must1(unix.Open(a.str(0), unix.O_PATH|unix.O_CLOEXEC, 0))
		return unix.Linkat(fd, "", unix.AT_FDCWD, a.str(1), unix.AT_EMPTY_PATH)
	},
	// linkproc FROM TO: through /proc/self/fd
	"linkproc": func(a args) error {
		fd := must1(unix.Open(a.str(0), unix.O_PATH|unix.O_CLOEXEC, 0))
		return unix.Linkat(unix.AT_FDCWD, procFD(fd), unix.AT_FDCWD, a.str(1), unix.AT_SYMLINK_FOLLOW)
	},
	// tmpfile DIR TO: a file without a name gets one
	"tmpfile": func(a args) error {
		fd := must1(unix.Open(a.str(0), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o644))
		return unix.Linkat(fd, "", unix.AT_FDCWD, a.str(1), unix.AT_EMPTY_PATH)
	},
}
