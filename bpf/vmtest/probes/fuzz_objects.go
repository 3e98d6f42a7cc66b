package probes

import (
	"encoding/binary"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fuzzObjects reach for what the kernel keeps beside files: its netlink sockets, message
// queues, and pages of memory.
var fuzzObjects = []fuzzCall{
	{"netlink", false, func(f *fuzzer) (uintptr, unix.Errno) {
		protocol := pick(f, unix.NETLINK_ROUTE, unix.NETLINK_ROUTE, unix.NETLINK_KOBJECT_UEVENT, unix.NETLINK_KOBJECT_UEVENT,
			unix.NETLINK_AUDIT, unix.NETLINK_NETFILTER, unix.NETLINK_GENERIC, unix.NETLINK_CONNECTOR, f.r.IntN(24))
		kind := pick[uintptr](f, unix.SOCK_RAW, unix.SOCK_DGRAM)
		f.say("protocol %d", protocol)
		fd, errno := sys(unix.SYS_SOCKET, unix.AF_NETLINK, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, uintptr(protocol))
		if errno != 0 {
			return 0, errno
		}
		defer unix.Close(int(fd))
		address := uintptr(unsafe.Pointer(&f.words[30]))
		if f.r.IntN(3) == 0 {
			f.netlinkAddress(0)
			sys(unix.SYS_BIND, fd, address, unix.SizeofSockaddrNetlink)
		}
		message := f.netlinkMessage(protocol)
		f.netlinkAddress(uint32(pick(f, 0, 0, 1, f.pid())))
		if f.r.IntN(4) == 0 {
			if _, errno = sys(unix.SYS_CONNECT, fd, address, unix.SizeofSockaddrNetlink); errno == 0 {
				return sys(unix.SYS_WRITE, fd, f.buf(), uintptr(message))
			}
		}
		return sys(unix.SYS_SENDTO, fd, f.buf(), uintptr(message), unix.MSG_DONTWAIT, address, unix.SizeofSockaddrNetlink)
	}},
	{"mq_open", true, func(f *fuzzer) (uintptr, unix.Errno) {
		flags := pick(f, unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR) | unix.O_NONBLOCK | unix.O_CLOEXEC
		return sys(unix.SYS_MQ_OPEN, f.queue(), uintptr(flags)|f.bits(unix.O_CREAT, unix.O_EXCL), 0o666, 0)
	}},
	{"mq_unlink", false, func(f *fuzzer) (uintptr, unix.Errno) { return sys(unix.SYS_MQ_UNLINK, f.queue()) }},
	{"mq_send", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_MQ_TIMEDSEND, f.fd(), f.text("forged"), 6, uintptr(f.r.IntN(9)), f.never())
	}},
	{"mq_receive", false, func(f *fuzzer) (uintptr, unix.Errno) {
		return sys(unix.SYS_MQ_TIMEDRECEIVE, f.fd(), f.buf(), uintptr(len(f.out)), 0, f.never())
	}},
	{"mq_notify", false, func(f *fuzzer) (uintptr, unix.Errno) {
		const none = 1 // SIGEV_NONE
		f.words[0], f.words[1] = 0, none<<32
		return sys(unix.SYS_MQ_NOTIFY, f.fd(), uintptr(unsafe.Pointer(&f.words)))
	}},
	{"mq_setattr", false, func(f *fuzzer) (uintptr, unix.Errno) {
		f.words[0] = unix.O_NONBLOCK
		return sys(unix.SYS_MQ_GETSETATTR, f.fd(), uintptr(unsafe.Pointer(&f.words)), 0)
	}},
	{"madvise", false, func(f *fuzzer) (uintptr, unix.Errno) {
		size := uintptr(os.Getpagesize())
		flags, fd := uintptr(unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE), ^uintptr(0)
		if f.r.IntN(2) == 0 {
			flags, fd = pick[uintptr](f, unix.MAP_SHARED, unix.MAP_PRIVATE), f.fd()
		}
		at, errno := sys(unix.SYS_MMAP, 0, size, pick[uintptr](f, unix.PROT_READ, unix.PROT_READ|unix.PROT_WRITE), flags, fd, 0)
		if errno != 0 {
			return 0, errno
		}
		defer sys(unix.SYS_MUNMAP, at, size)
		advice := pick(f, unix.MADV_HWPOISON, unix.MADV_HWPOISON, madvSoftOffline, madvSoftOffline, unix.MADV_REMOVE, unix.MADV_DONTNEED, f.r.IntN(26), 100+f.r.IntN(8))
		f.say("advice %d", advice)
		return sys(unix.SYS_MADVISE, at, size, uintptr(advice))
	}},
}

const madvSoftOffline = 101

// Queue is a message queue that no policy names.
const Queue = "outside"

func (f *fuzzer) queue() uintptr { return f.text(pick(f, Queue, Queue, "a", "b", "..")) }

// never is a time that is over.
func (f *fuzzer) never() uintptr {
	f.words[28], f.words[29] = 0, 0
	return uintptr(unsafe.Pointer(&f.words[28]))
}

// netlinkAddress puts a sockaddr_nl into the last words.
func (f *fuzzer) netlinkAddress(pid uint32) {
	groups := pick[uint64](f, 0, 0, 1, 2, 3, f.r.Uint64N(1<<32))
	f.say("to %d groups %x", pid, groups)
	f.words[30], f.words[31] = unix.AF_NETLINK|uint64(pid)<<32, groups
}

// uevent makes a service manager start a unit when it comes from the kernel.
const uevent = "add@/devices/virtual/mem/null\x00ACTION=add\x00DEVPATH=/devices/virtual/mem/null\x00SUBSYSTEM=mem\x00TAGS=:systemd:\x00SYSTEMD_WANTS=debug-shell.service\x00SEQNUM=9999\x00"

// netlinkMessage puts a message into out and returns its length: an event, or a request
// that is about an interface, a record of audit, or anything.
func (f *fuzzer) netlinkMessage(protocol int) int {
	if protocol == unix.NETLINK_KOBJECT_UEVENT && f.r.IntN(4) > 0 {
		return copy(f.out[:], uevent)
	}
	kind := pick(f, unix.RTM_NEWLINK, unix.RTM_SETLINK, unix.RTM_DELLINK, unix.RTM_NEWADDR, unix.RTM_DELADDR, unix.RTM_NEWROUTE, unix.RTM_GETLINK,
		1100, f.r.IntN(128))
	f.say("kind %d", kind)
	length := unix.SizeofNlMsghdr + unix.SizeofIfInfomsg
	ne := binary.NativeEndian
	ne.PutUint32(f.out[:], uint32(length))
	ne.PutUint16(f.out[4:], uint16(kind))
	ne.PutUint16(f.out[6:], uint16(unix.NLM_F_REQUEST|unix.NLM_F_ACK|int(f.bits(unix.NLM_F_CREATE, unix.NLM_F_REPLACE, unix.NLM_F_DUMP))))
	ne.PutUint32(f.out[unix.SizeofNlMsghdr+4:], 1)            // the loopback interface
	ne.PutUint32(f.out[unix.SizeofNlMsghdr+12:], unix.IFF_UP) // is to be changed: down
	return length
}
