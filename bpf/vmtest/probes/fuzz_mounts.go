package probes

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// fuzzMounts are the calls by which mounts and superblocks are made step by step:
// what one returns is kept, and may be used by another.
var fuzzMounts = []fuzzCall{
	{"open_tree", true, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_OPEN_TREE, f.at(), f.name(), unix.OPEN_TREE_CLOEXEC|f.bits(unix.OPEN_TREE_CLONE, unix.AT_RECURSIVE, unix.AT_EMPTY_PATH))
	}},
	{"open_tree_attr", true, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(openTreeAttr, f.at(), f.name(), unix.OPEN_TREE_CLOEXEC|f.bits(unix.OPEN_TREE_CLONE, unix.AT_RECURSIVE, unix.AT_EMPTY_PATH), f.mountAttr(), 32)
	}},
	{"move_mount", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_MOVE_MOUNT, f.fd(), f.text(""), f.at(), f.name(), unix.MOVE_MOUNT_F_EMPTY_PATH|f.bits(unix.MOVE_MOUNT_T_EMPTY_PATH, moveBeneath))
	}},
	{"move_mount of a name", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_MOVE_MOUNT, f.at(), f.name(), f.at(), f.name(), f.bits(unix.MOVE_MOUNT_SET_GROUP, moveBeneath))
	}},
	{"mount_setattr", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_MOUNT_SETATTR, f.at(), f.name(), f.bits(unix.AT_EMPTY_PATH, unix.AT_RECURSIVE), f.mountAttr(), 32)
	}},
	{"fsopen", true, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_FSOPEN, f.text(pick(f, fuzzKinds...)), unix.FSOPEN_CLOEXEC)
	}},
	{"fspick", true, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_FSPICK, f.at(), f.name(), unix.FSPICK_CLOEXEC|f.bits(unix.FSPICK_EMPTY_PATH, unix.FSPICK_SYMLINK_NOFOLLOW))
	}},
	{"fsconfig", false, func(f *fuzzer) (uintptr, unix.Errno) { return f.configure(f.fd(), uintptr(f.r.IntN(9))) }},
	{"fsmount", true, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_FSMOUNT, f.fd(), unix.FSMOUNT_CLOEXEC, f.bits(unix.MOUNT_ATTR_RDONLY, unix.MOUNT_ATTR_NOEXEC))
	}},
	{"superblock", true, func(f *fuzzer) (uintptr, unix.Errno) { // all the steps
		fs, errno := sys(unix.SYS_FSOPEN, f.text(pick(f, fuzzKinds...)), unix.FSOPEN_CLOEXEC)
		if errno != 0 {
			return 0, errno
		}
		defer unix.Close(int(fs))
		for range 1 + f.r.IntN(3) {
			f.configure(fs, unix.FSCONFIG_SET_STRING)
		}
		if _, errno = sys(unix.SYS_FSCONFIG, fs, unix.FSCONFIG_CMD_CREATE, 0, 0, 0); errno != 0 {
			return 0, errno
		}
		return sys(unix.SYS_FSMOUNT, fs, unix.FSMOUNT_CLOEXEC, 0)
	}},
	{"reconfigure", false, func(f *fuzzer) (uintptr, unix.Errno) {
		fs, errno := sys(unix.SYS_FSPICK, f.at(), f.name(), unix.FSPICK_CLOEXEC)
		if errno != 0 {
			return 0, errno
		}
		defer unix.Close(int(fs))
		f.configure(fs, unix.FSCONFIG_SET_FLAG)
		return sys(unix.SYS_FSCONFIG, fs, unix.FSCONFIG_CMD_RECONFIGURE, 0, 0, 0)
	}},
}

const openTreeAttr, moveBeneath = 467, 0x200

var fuzzKinds = []string{"tmpfs", "tmpfs", "overlay", "overlay", "proc", "bpf", "ramfs", "ext4", "romfs", "mqueue", "cgroup2", "debugfs", "nothing"}

// configure is fsconfig with a key that some filesystem has.
func (f *fuzzer) configure(fs, cmd uintptr) (uintptr, unix.Errno) {
	f.say("cmd%d", cmd)
	key := f.text(pick(f, "lowerdir", "upperdir", "workdir", "source", "ro", "rw", "size", "mode", "subset"))
	switch cmd {
	case unix.FSCONFIG_SET_FLAG:
		return sys(unix.SYS_FSCONFIG, fs, cmd, key, 0, 0)
	case unix.FSCONFIG_SET_STRING:
		value := f.text(pick(f, f.dir+"/secret:"+f.dir+"/ws", f.dir+"/secret", f.dir+"/ws/own", "/dev/ram0", "1M", "777", f.alias()))
		return sys(unix.SYS_FSCONFIG, fs, cmd, key, value, 0)
	case unix.FSCONFIG_SET_BINARY:
		return sys(unix.SYS_FSCONFIG, fs, cmd, key, f.buf(), 16)
	case unix.FSCONFIG_SET_PATH, unix.FSCONFIG_SET_PATH_EMPTY:
		return sys(unix.SYS_FSCONFIG, fs, cmd, key, f.name(), f.at())
	case unix.FSCONFIG_SET_FD:
		return sys(unix.SYS_FSCONFIG, fs, cmd, key, 0, f.fd())
	}
	return sys(unix.SYS_FSCONFIG, fs, cmd, 0, 0, 0)
}

// mountAttr is a struct mount_attr.
func (f *fuzzer) mountAttr() uintptr {
	f.words[0] = pick[uint64](f, 0, unix.MOUNT_ATTR_RDONLY, unix.MOUNT_ATTR_NOEXEC, unix.MOUNT_ATTR_NOSUID, unix.MOUNT_ATTR_IDMAP)
	f.words[1] = pick[uint64](f, 0, 0, unix.MOUNT_ATTR_RDONLY, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	f.words[2] = pick[uint64](f, 0, 0, unix.MS_SHARED, unix.MS_SLAVE, unix.MS_PRIVATE)
	f.words[3] = uint64(f.fd())
	f.say("attr %x %x %x", f.words[0], f.words[1], f.words[2])
	return uintptr(unsafe.Pointer(&f.words))
}
