package probes

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// fuzzCall is one kind of random call.
type fuzzCall struct {
	name string
	fd   bool // its result is a descriptor
	run  func(f *fuzzer) (uintptr, unix.Errno)
}

// fuzzed are all of them.
var fuzzed []fuzzCall

func init() {
	for _, group := range [][]fuzzCall{fuzzOpens, fuzzReads, fuzzChanges, fuzzNames, fuzzViews, fuzzMounts, fuzzTasks, fuzzPrograms, fuzzObjects} {
		fuzzed = append(fuzzed, group...)
	}
}

const fsSetXattr, fiClone = 0x401c5820, 0x40049409

var fuzzOpens = []fuzzCall{
	{"open", true, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_OPENAT, f.at(), f.name(), f.openFlags(), 0o755)
	}},
	{"open", true, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_OPENAT, f.at(), f.name(), f.openFlags(), 0o755)
	}},
	{"path", true, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_OPENAT, f.at(), f.name(), unix.O_PATH|unix.O_CLOEXEC, 0)
	}},
	{"create", true, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_OPENAT, f.at(), f.fresh(), unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o755)
	}},
	{"openat2", true, func(f *fuzzer) (uintptr, unix.Errno) {
		how := unix.OpenHow{Flags: uint64(f.openFlags()) &^ 040, Resolve: uint64(f.bits(unix.RESOLVE_IN_ROOT, unix.RESOLVE_BENEATH, unix.RESOLVE_NO_SYMLINKS, unix.RESOLVE_NO_XDEV))}
		if how.Flags&unix.O_CREAT != 0 {
			how.Mode = 0o755
		}
		f.words[0], f.words[1], f.words[2] = how.Flags, how.Mode, how.Resolve
		return sys(unix.SYS_OPENAT2, f.at(), f.name(), uintptr(unsafe.Pointer(&f.words)), unsafe.Sizeof(how))
	}},
	{"handle", true, func(f *fuzzer) (uintptr, unix.Errno) {
		f.words[0] = 128 // bytes for the handle; its mount goes to the last word
		handle := uintptr(unsafe.Pointer(&f.words))
		_, errno := sys(unix.SYS_NAME_TO_HANDLE_AT, f.at(), f.name(), handle, uintptr(unsafe.Pointer(&f.words[31])), f.bits(unix.AT_EMPTY_PATH, unix.AT_SYMLINK_FOLLOW))
		if errno != 0 {
			return 0, errno
		}
		return sys(unix.SYS_OPEN_BY_HANDLE_AT, f.at(), handle, f.openFlags()&^unix.O_CREAT)
	}},
	{"dup", true, func(f *fuzzer) (uintptr, unix.Errno) { return sys(unix.SYS_DUP, f.fd()) }},
	{"ring", true, func(f *fuzzer) (uintptr, unix.Errno) {
		if f.ring == nil {
			f.ring = &ring{}
			f.ring.setup(f.r.IntN(4) == 0)
		}
		q := request{op: pick[byte](f, opOpenat, opOpenat, opRename, opLink, opUnlink, opSymlink), flags: pick[byte](f, 0, sqeAsync), addr: f.alias(), length: 0o755}
		switch q.op {
		case opOpenat:
			q.extra = uint32(f.openFlags())
		case opUnlink:
		default:
			q.addr2, q.twoFolder = f.alias(), q.op != opSymlink
		}
		f.say("%d %q %q", q.op, q.addr, q.addr2)
		r, err := f.ring.one(q)
		if q.op != opOpenat || err != 0 {
			return ^uintptr(0), err
		}
		return uintptr(r), 0
	}},
	{"inotify", false, func(f *fuzzer) (uintptr, unix.Errno) {
		fd, errno := sys(unix.SYS_INOTIFY_INIT1, unix.IN_NONBLOCK|unix.IN_CLOEXEC)
		if errno != 0 {
			return 0, errno
		}
		defer unix.Close(int(fd))
		return sys(unix.SYS_INOTIFY_ADD_WATCH, fd, f.name(), unix.IN_ALL_EVENTS)
	}},
	{"memfd", true, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_MEMFD_CREATE, f.text("key"), unix.MFD_CLOEXEC)
	}},
	{"userfaultfd", true, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|unix.O_NONBLOCK)
	}},
}

var fuzzReads = []fuzzCall{
	{"pread", false, func(f *fuzzer) (uintptr, unix.Errno) { return sys(unix.SYS_PREAD64, f.fd(), f.buf(), 512, 0) }},
	{"readlink", false, func(f *fuzzer) (uintptr, unix.Errno) { return sys(unix.SYS_READLINKAT, f.at(), f.name(), f.buf(), 512) }},
	{"getdents", false, func(f *fuzzer) (uintptr, unix.Errno) { return sys(unix.SYS_GETDENTS64, f.fd(), f.buf(), 4096) }},
	{"getxattr", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_GETXATTR, f.name(), f.text("security.capability"), f.buf(), 512)
	}},
	{"mmap", false, func(f *fuzzer) (uintptr, unix.Errno) {
		at, errno := sys(unix.SYS_MMAP, 0, 4096, uintptr(pick(f, 1, 1, 3, 5, 7)), uintptr(pick(f, unix.MAP_SHARED, unix.MAP_PRIVATE)), f.fd(), 0)
		if errno != 0 {
			return 0, errno
		}
		// Read by the kernel: beyond the file's end that is an error, not a signal.
		_, errno = sys(unix.SYS_PROCESS_VM_READV, uintptr(unix.Getpid()), f.vector(0, f.buf(), 512), 1, f.vector(2, at, 512), 1, 0)
		sys(unix.SYS_MUNMAP, at, 4096)
		return 0, errno
	}},
	{"sendfile", false, func(f *fuzzer) (uintptr, unix.Errno) {
		f.words[0] = 0
		return sys(unix.SYS_SENDFILE, f.fd(), f.fd(), uintptr(unsafe.Pointer(&f.words)), 512)
	}},
	{"copy_file_range", false, func(f *fuzzer) (uintptr, unix.Errno) {
		f.words[0], f.words[1] = 0, 0
		return sys(unix.SYS_COPY_FILE_RANGE, f.fd(), uintptr(unsafe.Pointer(&f.words)), f.fd(), uintptr(unsafe.Pointer(&f.words[1])), 512, 0)
	}},
	{"splice", false, func(f *fuzzer) (uintptr, unix.Errno) {
		var ends [2]int
		if unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
			return 0, unix.EMFILE
		}
		defer unix.Close(ends[0])
		defer unix.Close(ends[1])
		f.words[0] = 0
		_, errno := sys(unix.SYS_SPLICE, f.fd(), uintptr(unsafe.Pointer(&f.words)), uintptr(ends[1]), 0, 512, unix.SPLICE_F_NONBLOCK)
		unix.Read(ends[0], f.out[:512])
		return 0, errno
	}},
}

var fuzzChanges = []fuzzCall{
	{"pwrite", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_PWRITE64, f.fd(), f.text("overwritten"), 11, 0)
	}},
	{"truncate", false, func(f *fuzzer) (uintptr, unix.Errno) { return sys(unix.SYS_TRUNCATE, f.name(), uintptr(f.r.IntN(100))) }},
	{"ftruncate", false, func(f *fuzzer) (uintptr, unix.Errno) { return sys(unix.SYS_FTRUNCATE, f.fd(), uintptr(f.r.IntN(100))) }},
	{"fallocate", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_FALLOCATE, f.fd(), f.bits(1, 2, 16), 0, 4096)
	}},
	{"chmod", false, func(f *fuzzer) (uintptr, unix.Errno) { return sys(unix.SYS_FCHMODAT, f.at(), f.name(), 0o777) }},
	{"fchmod", false, func(f *fuzzer) (uintptr, unix.Errno) { return sys(unix.SYS_FCHMOD, f.fd(), 0o777) }},
	{"fchmodat2", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(sysFchmodat2, f.fd(), f.text(""), 0o777, unix.AT_EMPTY_PATH)
	}},
	{"chown", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_FCHOWNAT, f.at(), f.name(), 1, 1, f.bits(unix.AT_EMPTY_PATH, unix.AT_SYMLINK_NOFOLLOW))
	}},
	{"fchown", false, func(f *fuzzer) (uintptr, unix.Errno) { return sys(unix.SYS_FCHOWN, f.fd(), 1, 1) }},
	{"utimensat", false, func(f *fuzzer) (uintptr, unix.Errno) { return sys(unix.SYS_UTIMENSAT, f.at(), f.name(), 0, 0) }},
	{"futimens", false, func(f *fuzzer) (uintptr, unix.Errno) { return sys(unix.SYS_UTIMENSAT, f.fd(), 0, 0, 0) }},
	{"setxattr", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(pick[uintptr](f, unix.SYS_SETXATTR, unix.SYS_LSETXATTR), f.name(), f.text("trusted.fuzz"), f.buf(), 1, 0)
	}},
	{"fsetxattr", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_FSETXATTR, f.fd(), f.text("trusted.fuzz"), f.buf(), 1, 0)
	}},
	{"removexattr", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_REMOVEXATTR, f.name(), f.text("trusted.old"))
	}},
	{"ioctl", false, func(f *fuzzer) (uintptr, unix.Errno) {
		f.words[0] = 0x40
		return sys(unix.SYS_IOCTL, f.fd(), f.command(), pick(f, uintptr(unsafe.Pointer(&f.words)), f.buf(), f.fd()))
	}},
	{"clone", false, func(f *fuzzer) (uintptr, unix.Errno) { return sys(unix.SYS_IOCTL, f.fd(), fiClone, f.fd()) }},
	{"fcntl", false, func(f *fuzzer) (uintptr, unix.Errno) {
		cmd := pick(f, unix.F_SETFL, unix.F_SETOWN, unix.F_NOTIFY, unix.F_ADD_SEALS, unix.F_SETSIG, unix.F_SETLEASE, unix.F_SET_RW_HINT, f.r.IntN(40), 1024+f.r.IntN(20))
		arg := pick(f, 0, 1, unix.O_APPEND|unix.O_NONBLOCK, unix.O_ASYNC)
		if cmd == unix.F_SETOWN {
			arg = f.pid()
		}
		return sys(unix.SYS_FCNTL, f.fd(), uintptr(cmd), uintptr(arg))
	}},
	{"flock", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_FLOCK, f.fd(), pick[uintptr](f, unix.LOCK_EX, unix.LOCK_SH, unix.LOCK_UN)|unix.LOCK_NB)
	}},
	{"quotactl", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_QUOTACTL, 0x80000200, f.name(), 0, f.name())
	}},
	{"acct", false, func(f *fuzzer) (uintptr, unix.Errno) { return sys(unix.SYS_ACCT, f.name()) }},
	{"swapon", false, func(f *fuzzer) (uintptr, unix.Errno) { return sys(unix.SYS_SWAPON, f.name(), 0) }},
}

var fuzzNames = []fuzzCall{
	{"rename", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_RENAMEAT2, f.at(), f.name(), f.at(), f.target(), uintptr(pick(f, 0, 0, 0, unix.RENAME_EXCHANGE, unix.RENAME_NOREPLACE, unix.RENAME_WHITEOUT)))
	}},
	{"link", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_LINKAT, f.at(), f.name(), f.at(), f.fresh(), f.bits(unix.AT_SYMLINK_FOLLOW))
	}},
	{"flink", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_LINKAT, f.fd(), f.text(""), f.at(), f.fresh(), unix.AT_EMPTY_PATH)
	}},
	{"symlink", false, func(f *fuzzer) (uintptr, unix.Errno) { return sys(unix.SYS_SYMLINKAT, f.name(), f.at(), f.fresh()) }},
	{"unlink", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_UNLINKAT, f.at(), f.name(), f.bits(unix.AT_REMOVEDIR))
	}},
	{"mkdir", false, func(f *fuzzer) (uintptr, unix.Errno) { return sys(unix.SYS_MKDIRAT, f.at(), f.target(), 0o755) }},
	{"mknod", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_MKNODAT, f.at(), f.fresh(), pick[uintptr](f, unix.S_IFREG, unix.S_IFCHR, unix.S_IFBLK)|0o777, pick[uintptr](f, 0, 1<<8|1, 7<<8))
	}},
	{"chdir", false, func(f *fuzzer) (uintptr, unix.Errno) { return sys(unix.SYS_CHDIR, f.name()) }},
	{"fchdir", false, func(f *fuzzer) (uintptr, unix.Errno) { return sys(unix.SYS_FCHDIR, f.fd()) }},
}

// command is one of ioctl: one that changes something, or any of a type that
// filesystems and terminals have.
func (f *fuzzer) command() uintptr {
	if f.r.IntN(2) == 0 {
		return pick[uintptr](f, unix.FS_IOC_SETFLAGS, fsSetXattr, fiClone, unix.TIOCSTI, 0x40806685, 0x800c6613, 0x40087602, 0x40305828, 0xc0189436, 0x5000940e, 0x50009417, 0xc0045877)
	}
	return uintptr(f.r.IntN(4))<<30 | pick[uintptr](f, 0, 4, 8, 12, 28, 48, 64)<<16 | pick[uintptr](f, 0, 0x12, 0x15, 'T', 'X', 'f', 'v', 0x89, 0x94)<<8 | uintptr(f.r.IntN(256))
}

// one does what do does, for a ring that is used again and again.
func (r *ring) one(q request) (int32, unix.Errno) {
	res, err := r.submit(q)
	if err != 0 {
		return 0, err
	}
	if res < 0 {
		return 0, unix.Errno(-res)
	}
	return res, 0
}
