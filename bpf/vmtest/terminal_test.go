package vmtest

import (
	"fmt"
	"os"
	"strings"
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
	_, slave, path := b.terminalOf("/dev/ptmx", "/dev/pts")
	return slave, path
}

// terminalOf makes a terminal of a devpts that is mounted on dir, which everybody
// may open.
func (b *border) terminalOf(ptmx, dir string) (master, slave *os.File, path string) {
	b.t.Helper()
	master = must1(os.OpenFile(b.at(ptmx), os.O_RDWR|unix.O_NOCTTY, 0))(b.t)
	b.t.Cleanup(func() { master.Close() })
	must(b.t, unlock(master))
	path = fmt.Sprintf("%s/%d", dir, must1(unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN))(b.t))
	slave = must1(os.OpenFile(b.at(path), os.O_RDWR|unix.O_NOCTTY, 0))(b.t)
	b.t.Cleanup(func() { slave.Close() })
	must(b.t, slave.Chmod(0o666))
	return master, slave, path
}

func unlock(master *os.File) error {
	return unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
}

// terminalBorder is a border at which policy grants what makes terminals, and no
// terminal but those in places.
//
//	@
//	├── bound/   /dev/pts
//	└── other/   another devpts
func terminalBorder(t *testing.T, places ...string) *border {
	t.Helper()
	b := newBorder(t, permit("*", append(places, "/dev/ptmx", "/dev/tty", "/dev/null", "@/other/ptmx")...))
	b.tree("bound/", "other/")
	must(t, unix.Mount("/dev/pts", b.at("@/bound"), "", unix.MS_BIND, ""))
	t.Cleanup(func() { unix.Unmount(b.at("@/bound"), unix.MNT_DETACH) })
	must(t, unix.Mount("none", b.at("@/other"), "devpts", 0, "newinstance,ptmxmode=0666"))
	t.Cleanup(func() { unix.Unmount(b.at("@/other"), unix.MNT_DETACH) })
	return b
}

// TestTerminalsOfOthers opens terminals that outsiders have. The same is allowed
// where policy permits them.
func TestTerminalsOfOthers(t *testing.T) {
	for _, places := range [][]string{nil, {"/dev/pts/", "@/bound/", "@/other/"}} {
		b := terminalBorder(t, places...)
		_, slave, path := b.terminalOf("/dev/ptmx", "/dev/pts")
		number := path[len("/dev/pts/"):]
		_, _, other := b.terminalOf("@/other/ptmx", "@/other")
		holder := b.command([]*os.File{slave}, "-1", "", 0, words("holdterminal", "3", "gate", "hold", "0"))
		holder.startErr = holder.cmd.Start()
		holder.ready()
		t.Cleanup(func() { holder.cmd.Process.Kill(); holder.wait() })
		handle := must1(os.OpenFile(path, unix.O_PATH, 0))(t)
		t.Cleanup(func() { handle.Close() })
		const all = "open,read,write"
		one := func(name, actions, path string, files []*os.File, argv ...string) crossing {
			c := crossing{name: name, files: files, inside: words("ownterminal", "/dev/ptmx", "/dev/pts", "name"), free: argv, probe: argv, errno: eacces, want: on(actions, path)}
			if places != nil {
				c.name, c.errno, c.want, c.again = name+" where policy permits it", 0, denial{}, true
			}
			return c
		}
		b.cross(
			one("by its name", all, path, nil, "open", "rw", path),
			one("for reading", "open,read", path, nil, "open", "r", path),
			one("for writing", "open,write", path, nil, "open", "w", path),
			one("by O_PATH", all, path, nil, "reopen", "rw", path),
			one("by a descriptor of O_PATH", all, path, []*os.File{handle}, "reopenfd", "3", "rw"),
			one("by a descriptor that does not control", all, path, []*os.File{slave}, "reopenfd", "3", "rw"),
			one("by a bind mount", all, "@/bound/"+number, nil, "open", "rw", "@/bound/"+number),
			one("by another devpts", all, other, nil, "open", "rw", other),
			one("by io_uring", all, path, nil, "uring", "inline", "open", "rw", path),
			one("by io_uring's worker", all, path, nil, "uring", "async", "open", "rw", path),
			one("as a user", all, path, nil, "asuser", "open", "rw", path),
			one("as a user by a bind mount", all, "@/bound/"+number, nil, "asuser", "open", "rw", "@/bound/"+number),
			one("with a terminal of its own", all, path, nil, "withterminal", "/dev/ptmx", "open", "rw", path),
		)
		if places == nil {
			link := words("open", "rw", holder.proc()+"/fd/3")
			b.cross(crossing{name: "by the link of its holder", free: link, probe: link, errno: eacces, want: denial{actions: "trace"}, boundary: abi.BoundaryProcess})
		}
	}
}

// TestTerminalsOfItsOwn opens terminals that the workload made, or was given.
// Policy permits none.
func TestTerminalsOfItsOwn(t *testing.T) {
	b := terminalBorder(t)
	var cases []crossing
	for _, how := range []string{"name", "creat", "path", "descriptor", "peer", "received"} {
		for what, argv := range map[string][]string{"": words("/dev/ptmx", "/dev/pts"), " in a bind mount": words("/dev/ptmx", "@/bound"), " of another devpts": words("@/other/ptmx", "@/other")} {
			probe := append(append(words("ownterminal"), argv...), how)
			cases = append(cases, crossing{name: "own terminal" + what + " by " + how, probe: probe, again: true},
				crossing{name: "own terminal" + what + " by " + how + ", as a user", probe: append(words("asuser"), probe...), again: true})
		}
	}
	b.cross(cases...)

	next := b.freeTerminal()
	maker := b.insider(nil, "withterminal", "/dev/ptmx")
	b.cross(crossing{name: "terminal that another task inside made", probe: words("open", "rw", next), again: true})
	foreign := newStage(t, permit("*", "/dev/null"))
	foreign.run(trial{name: "terminal of another workload is denied", control: words("open", "rw", "/dev/null"), probe: words("open", "rw", next), errno: eacces, want: on("open,read,write", next)})
	maker.pass()
	maker.wait()

	controlled := func(name string, argv ...string) trial { // its end hangs the terminal up
		slave, path := b.terminal()
		for i := range argv {
			argv[i] = strings.ReplaceAll(argv[i], "TERMINAL", path)
		}
		return trial{name: "controlling terminal " + name, steps: "controlled", files: []*os.File{slave}, probe: argv}
	}
	master, _, path := b.terminalOf("/dev/ptmx", "/dev/pts")
	denied := func(name string) trial {
		return trial{name: name, control: words("open", "rw", "/dev/null"), probe: words("open", "rw", path), errno: eacces, want: on("open,read,write", path)}
	}
	b.stage.run(
		denied("terminal of an outsider is denied"),
		controlled("by its name", "open", "rw", "TERMINAL"),
		controlled("by its descriptor", "reopenfd", "3", "rw"),
		controlled("by /dev/tty", "open", "rw", "/dev/tty"),
		controlled("by its name, as a user", "asuser", "open", "rw", "TERMINAL"),
		trial{name: "terminal whose other side was handed", files: []*os.File{master},
			probe: words("then", "commandfd", "3", fmt.Sprint(unix.TIOCSPTLCK), "0", "--", "open", "rw", path)},
	)
	must(t, unlock(master))
	b.stage.run(denied("terminal that an outsider takes back is denied"))
}

// freeTerminal returns the path that the next terminal will have.
func (b *border) freeTerminal() string {
	b.t.Helper()
	master := must1(os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0))(b.t)
	defer master.Close()
	return fmt.Sprintf("/dev/pts/%d", must1(unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN))(b.t))
}

// TestTerminalsUsedAgain: numbers and memory of the workload's terminals serve
// outsiders later, and its own number another workload.
func TestTerminalsUsedAgain(t *testing.T) {
	b := terminalBorder(t)
	const many = 16
	next := b.freeTerminal()
	b.step("terminal at the place of an own one is denied", isDenied, func() {
		for range 4 {
			b.expectAllowed(b.start("", nil, 0, "manyterminals", "/dev/ptmx", fmt.Sprint(many)).wait())
			var masters []*os.File
			same := false
			for range many {
				master, slave, path := b.terminalOf("/dev/ptmx", "/dev/pts")
				same = same || path == next
				b.expectDenied(b.start("", nil, eacces, "open", "rw", path).wait(), on("open,read,write", path))
				masters = append(masters, master, slave)
			}
			if !same {
				b.t.Errorf("%s was not used again", next)
			}
			for _, f := range masters {
				f.Close()
			}
		}
	})

	master, _, path := b.terminalOf("/dev/ptmx", "/dev/pts")
	b.expectAllowed(b.start("", []*os.File{master}, 0, "then", "commandfd", "3", fmt.Sprint(unix.TIOCSPTLCK), "0", "--", "open", "rw", path).wait())
	must(t, os.Remove(b.cgroup))
	must(t, b.Release(b.id))
	last := b.last
	b.last = b.id - 1
	must(t, os.Rename(b.dir, b.dir+".old"))
	heir := newStage(t, permit("*", "/dev/null"))
	b.last = last
	if heir.id != b.id {
		t.Fatalf("workload %d, want %d", heir.id, b.id)
	}
	heir.run(trial{name: "terminal of a workload that had the number is denied", control: words("open", "rw", "/dev/null"), probe: words("open", "rw", path), errno: eacces, want: on("open,read,write", path)})
}

// TestStrictTerminals uses terminals that an outsider opened. Policy permits none.
func TestStrictTerminals(t *testing.T) {
	b := newStrict(t, permit("*", "/dev/ptmx"))
	slave, path := b.terminal()
	b.stage.run(
		trial{name: "own terminal is used", probe: words("ownterminal", "/dev/ptmx", "/dev/pts", "name")},
		trial{name: "controlling terminal is used", steps: "controlled", files: []*os.File{slave}, probe: words("writefd", "3")},
		trial{name: "terminal of another session is not used", files: []*os.File{slave}, control: words("ownterminal", "/dev/ptmx", "/dev/pts", "peer"), probe: words("writefd", "3"), errno: eacces,
			want: on("write", path)},
	)
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
