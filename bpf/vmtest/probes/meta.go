package probes

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// acl is a POSIX ACL that grants user 1000 reading.
func acl() []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 6, ^uint32(0)}, {2, 4, 1000}, {4, 4, ^uint32(0)}, {16, 4, ^uint32(0)}, {32, 4, ^uint32(0)}} {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

// chattr sets the flag "no dump" by the ioctl.
func chattr(path string) error {
	fd := must1(unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0))
	flags := 0x40
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.FS_IOC_SETFLAGS, uintptr(unsafe.Pointer(&flags)))
	if errno != 0 {
		return errno
	}
	return nil
}

// metadata are the operations that change what is known about a file.
var metadata = map[string]probe{
	"utimes": func(a args) error {
		return unix.UtimesNanoAt(unix.AT_FDCWD, a.str(0), []unix.Timespec{{Sec: 1}, {Sec: 1}}, unix.AT_SYMLINK_NOFOLLOW)
	},
	"touch": func(a args) error { return unix.UtimesNanoAt(unix.AT_FDCWD, a.str(0), nil, 0) },
	"futimes": func(a args) error {
		fd := must1(unix.Open(a.str(0), unix.O_RDONLY|unix.O_CLOEXEC, 0))
		return unix.Futimes(fd, []unix.Timeval{{Sec: 1}, {Sec: 1}})
	},
	"setxattr":    func(a args) error { return unix.Setxattr(a.str(0), "user.x", []byte("1"), 0) },
	"settrusted":  func(a args) error { return unix.Setxattr(a.str(0), "trusted.x", []byte("1"), 0) },
	"removexattr": func(a args) error { return unix.Removexattr(a.str(0), "trusted.old") },
	"setacl":      func(a args) error { return unix.Setxattr(a.str(0), "system.posix_acl_access", acl(), 0) },
	"removeacl":   func(a args) error { return unix.Removexattr(a.str(0), "system.posix_acl_access") },
	"chattr":      func(a args) error { return chattr(a.str(0)) },
}
