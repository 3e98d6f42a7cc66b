package vmtest

import (
	"fmt"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/vmtest/probes"
)

func addressOf(b []byte) uintptr { return uintptr(unsafe.Pointer(&b[0])) }

// terminal makes a new terminal and returns its slave.
func (b *border) terminal() (*os.File, string) {
	b.t.Helper()
	master := must1(os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0))(b.t)
	b.t.Cleanup(func() { master.Close() })
	must(b.t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	path := fmt.Sprintf("/dev/pts/%d", must1(unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN))(b.t))
	slave := must1(os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0))(b.t)
	b.t.Cleanup(func() { slave.Close() })
	return slave, path
}

// TestBoundaryTerminals types in the user's place. Policy permits everything.
func TestBoundaryTerminals(t *testing.T) {
	b := newBorder(t, everything)
	slave, path := b.terminal()
	typing := words("ioctl", "3", fmt.Sprint(unix.TIOCSTI), "120")
	cases := []crossing{
		{name: "typing on a terminal is denied", files: []*os.File{slave}, inside: words("ioctl", "3", fmt.Sprint(unix.TIOCGWINSZ), "0"), free: typing, probe: typing, want: on("", path)},
	}
	if f, err := os.OpenFile("/dev/tty0", os.O_RDWR|unix.O_NOCTTY, 0); err == nil {
		defer f.Close()
		const tioclinux, shiftState = "0x541c", "6"
		ask := words("ioctl", "3", tioclinux, shiftState)
		cases = append(cases, crossing{name: "console's own call is denied", files: []*os.File{f}, free: ask, probe: ask, want: on("", "/dev/tty0")})
	} else {
		t.Logf("no console here: %v", err)
	}
	must(t, os.WriteFile(b.at("@/typist"), probes.Typist(), 0o755))
	gate := words("child32", "3", "@/typist")
	cases = append(cases, crossing{name: "typing on a terminal by the 32-bit gate is denied", files: []*os.File{slave}, free: gate, probe: gate,
		want: denial{path: path, exe: "@/typist"}})
	b.cross(forbidden(abi.BoundaryTerminal, cases)...)
}

// TestBoundaryWatches watches files. A watch of one file or directory is by
// policy; of a whole mount, and one that blocks others, never.
//
//	@
//	├── ws/        open and read
//	│   └── file
//	└── secret/    nothing
//	    └── key
func TestBoundaryWatches(t *testing.T) {
	b := newBorder(t, permit(look, "@/ws/"))
	b.tree("ws/file", "secret/key")
	fanotify := func(init, flags, mask uint64, path string) []string {
		return words("fanotify", fmt.Sprint(init), fmt.Sprint(flags), fmt.Sprint(mask), path)
	}
	plain := func(path string) []string { return fanotify(unix.FAN_CLASS_NOTIF, 0, unix.FAN_OPEN, path) }
	b.cross(
		crossing{name: "inotify on a secret directory is denied", inside: words("inotify", "@/ws"), free: words("inotify", "@/secret"), probe: words("inotify", "@/secret"),
			errno: eacces, want: onDir("open,read", "@/secret")},
		crossing{name: "inotify on a secret file is denied", inside: words("inotify", "@/ws/file"), free: words("inotify", "@/secret/key"), probe: words("inotify", "@/secret/key"),
			errno: eacces, want: on("open,read", "@/secret/key")},
		crossing{name: "fanotify on a secret directory is denied", inside: plain("@/ws"), free: plain("@/secret"), probe: plain("@/secret"), errno: eacces, want: onDir("open,read", "@/secret")},
	)
	b.install(abi.Enforce, everything)
	never := func(name string, init, flags, mask uint64) crossing {
		argv := fanotify(init, flags, mask, "@/ws/file")
		return crossing{name: name + " is denied", free: argv, probe: argv, want: on("open,read", "@/ws/file")}
	}
	const preAccess, markMountNS, reportMount, mountAttach = 0x100000, 0x110, 0x4000, 0x1000000 // since 6.14
	namespace := fanotify(reportMount, markMountNS, mountAttach, "/proc/self/ns/mnt")
	cases := []crossing{
		never("watch of a mount", unix.FAN_CLASS_NOTIF, unix.FAN_MARK_MOUNT, unix.FAN_OPEN),
		never("watch of a file system", unix.FAN_CLASS_NOTIF, unix.FAN_MARK_FILESYSTEM, unix.FAN_OPEN),
		never("watch that holds opens", unix.FAN_CLASS_CONTENT, 0, unix.FAN_OPEN_PERM),
		never("watch that holds reads", unix.FAN_CLASS_CONTENT, 0, unix.FAN_ACCESS_PERM),
		never("watch that holds executions", unix.FAN_CLASS_CONTENT, 0, unix.FAN_OPEN_EXEC_PERM),
		{name: "watch of a mount namespace is denied", free: namespace, probe: namespace, absent: []unix.Errno{unix.EINVAL},
			want: denial{actions: "open,read", path: "(outside)/", status: abi.PathOutside}},
	}
	// Since 6.14, and on a few file systems only, tmpfs not among them.
	first := never("watch that holds the first access", unix.FAN_CLASS_PRE_CONTENT, 0, preAccess)
	first.absent = []unix.Errno{unix.EOPNOTSUPP, unix.EINVAL}
	b.cross(forbidden(abi.BoundaryWatch, append(cases, first))...)
}
