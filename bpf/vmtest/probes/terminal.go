package probes

import (
	"fmt"
	"maps"

	"golang.org/x/sys/unix"
)

func init() { maps.Copy(table, terminals) }

// terminals are pseudo-terminals that a probe makes.
var terminals = map[string]probe{
	// ownterminal PTMX DIR HOW: makes a terminal and opens it, by its name in DIR, by
	// that with O_CREAT, by that as O_PATH, by a descriptor that was opened in another way, or by peer: from
	// its other side, or received: by a socket. What is written there arrives
	"ownterminal": func(a args) error {
		master, name := newTerminal(a.str(0), a.str(1))
		fd, err := openTerminal(master, name, a.str(2))
		if err != nil {
			return err
		}
		if _, err := unix.Write(fd, []byte("x")); err != nil {
			return err
		}
		_, err = unix.Read(master, make([]byte, 8))
		return err
	},
	// withterminal PTMX PROBE...: while this task has made one
	"withterminal": func(a args) error {
		newTerminal(a.str(0), "")
		return run(a.rest(1))
	},
	// manyterminals PTMX N: makes as many at once, and ends
	"manyterminals": func(a args) error {
		for range a.num(1) {
			newTerminal(a.str(0), "")
		}
		return nil
	},
}

const rwTerminal = unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC

func newTerminal(ptmx, dir string) (master int, name string) {
	master = must1(unix.Open(ptmx, rwTerminal, 0))
	must(unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0))
	return master, fmt.Sprintf("%s/%d", dir, must1(unix.IoctlGetInt(master, unix.TIOCGPTN)))
}

func openTerminal(master int, name, how string) (int, error) {
	peer := func() (int, error) {
		fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, rwTerminal)
		if errno != 0 {
			return -1, errno
		}
		return int(fd), nil
	}
	switch how {
	case "name":
		return unix.Open(name, rwTerminal, 0)
	case "creat":
		return unix.Open(name, rwTerminal|unix.O_CREAT|unix.O_TRUNC, 0o644)
	case "path":
		return unix.Open(procFD(must1(unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0))), rwTerminal, 0)
	case "descriptor":
		return unix.Open(procFD(must1(peer())), rwTerminal, 0)
	case "peer":
		return peer()
	case "received": // from a task of the same workload, such as this one
		ends := must1(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
		must(unix.Sendmsg(ends[0], []byte("x"), unix.UnixRights(must1(peer())), nil, 0))
		return receive(ends[1])
	}
	cannot("no way %q", how)
	return -1, nil
}
