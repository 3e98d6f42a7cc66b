package vmtest

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/vmtest/probes"
)

// Commands of ioctl and fcntl that the library does not name.
const (
	setEncryption = "0x800c6613" // FS_IOC_SET_ENCRYPTION_POLICY
	enableVerity  = "0x40806685" // FS_IOC_ENABLE_VERITY
	setVersion    = "0x40087602" // FS_IOC_SETVERSION
	reserve       = "0x40305828" // FS_IOC_RESVSP
	fibmap        = "0x1"
	dedupe        = "0xc0189436" // FIDEDUPERANGE
	setDelegation = "1040"       // F_SETDELEG
)

// commanding is a border with files that an ordinary user owns.
//
//	@
//	├── ws/      everything but execute, and set_x_attr
//	│   ├── file
//	│   └── dir/
//	├── look/    open and read
//	│   ├── file
//	│   └── dir/
//	└── drop/    open and write
//	    └── file
type commanding struct{ *border }

func newCommanding(t *testing.T) *commanding {
	t.Helper()
	b := newBorder(t, permit(anyUse+" set_x_attr", "@/ws/"), permit(look, "@/look/", "/proc/", "/dev/"), permit("open write", "@/drop/", "/dev/"))
	b.tree("ws/file", "ws/other", "ws/dir/", "look/file", "look/dir/", "drop/file")
	c := &commanding{b}
	must(t, filepath.Walk(b.at("@"), func(path string, _ os.FileInfo, err error) error {
		if err == nil {
			err = os.Chown(path, 1000, 1000)
		}
		return err
	}))
	return c
}

// everybody tries crossings as root, and once more as an ordinary user: what the
// kernel answers to that one when nothing confines it is in users, by name.
func (c *commanding) everybody(list []crossing, users map[string]syscall.Errno) {
	c.t.Helper()
	asUser := func(argv []string) []string {
		if argv == nil {
			return nil
		}
		return append(words("asuser"), argv...)
	}
	all := list
	for _, x := range list {
		if freed, differs := users[x.name]; differs {
			x.freed = freed
		}
		x.name += ", as a user"
		x.inside, x.free, x.probe = asUser(x.inside), asUser(x.free), asUser(x.probe)
		all = append(all, x)
	}
	c.cross(all...)
}

// passes asserts that a confined task gets the answer that others get, and that
// there is no event.
func (c *commanding) passes(name string, files []*os.File, argv ...string) {
	c.t.Helper()
	c.step(name+" is allowed", isAllowed, func() {
		free := c.loose(0, files, argv)
		if free.startErr != nil || free.code == probes.CannotTry {
			c.t.Fatalf("unconfined task: %v", free)
		}
		c.t.Logf("the kernel's answer: %v", free.errno)
		a := c.launch(free.errno, files, argv)
		if a.startErr != nil || a.errno != free.errno || a.code == probes.CannotTry {
			c.t.Errorf("confined task: %v, others get errno %d (%v)", a, int(free.errno), free.errno)
		}
	})
}

// TestBoundaryCommands changes filesystems, terminals and devices by ioctl, most
// of it through descriptors for reading.
func TestBoundaryCommands(t *testing.T) {
	c := newCommanding(t)
	slave, path := c.terminal()
	tty := []*os.File{slave}
	at := func(name, path string, freed syscall.Errno, argv ...string) crossing {
		return crossing{name: name + " is denied", free: argv, freed: freed, probe: argv, errno: eacces, want: on("", path)}
	}
	verity := at("verity", "@/look/file", unix.ENOTTY, "command", "r", "@/look/file", enableVerity, "1")
	verity.want.actions = "write"
	encryption := at("encryption of a directory", "@/look/dir", unix.ENOTTY, "command", "r", "@/look/dir", setEncryption)
	encryption.want = onDir("create,set_x_attr", "@/look/dir")
	version := at("setting a version", "@/look/file", unix.ENOTTY, "command", "r", "@/look/file", setVersion)
	version.want.actions = "set_x_attr"
	space := at("preallocation", "@/look/file", unix.EBADF, "command", "r", "@/look/file", reserve, "0", "0", "4096")
	space.want.actions, space.inside = "write", words("command", "rw", "@/ws/file", reserve, "0", "0", "4096")
	c.everybody([]crossing{verity, encryption, version, space}, nil)

	unknown := func(name, path string, freed syscall.Errno, argv ...string) crossing {
		x := at(name, path, freed, argv...)
		x.errno = unix.ENOTTY
		return x
	}
	subvolume := func(name, number string) crossing {
		x := unknown(name, "@/ws/dir", unix.ENOTTY, "command", "r", "@/ws/dir", number)
		x.want.dir = true
		return x
	}
	blocks := unknown("finding blocks", "@/ws/file", unix.EINVAL, "command", "r", "@/ws/file", fibmap, "0")
	list := []crossing{
		subvolume("snapshot", "0x50009401"),
		subvolume("second kind of snapshot", "0x50009417"),
		subvolume("new subvolume", "0x5000940e"),
		subvolume("removing a subvolume", "0x5000940f"),
		subvolume("searching a file system's trees", "0xd0009411"),
		subvolume("command of a later kernel", "0x50009480"),
		unknown("command of a later kernel to a file", "@/ws/file", unix.ENOTTY, "command", "rw", "@/ws/file", "0x400866f0"),
		unknown("comparison with a file", "@/ws/file", unix.EOPNOTSUPP, "command", "rw", "@/ws/file", dedupe, "0", "4096"),
		unknown("unknown command to procfs", "/proc/version", unix.ENOTTY, "command", "r", "/proc/version", "0x5a01"),
	}
	discipline := unknown("line discipline", path, 0, "commandfd", "3", fmt.Sprint(unix.TIOCSETD), "0")
	discipline.files = tty
	socket := unknown("command of a protocol to a socket", "", unix.ENOENT, "commandof", "socket", "0x89e0")
	c.everybody(forbidden(abi.BoundaryCommand, append(list, blocks, discipline, socket)),
		map[string]syscall.Errno{blocks.name: eperm, socket.name: eperm})
	list = []crossing{
		unknown("reseeding of the random numbers", "/dev/urandom", 0, "command", "r", "/dev/urandom", "0x5207"),
		unknown("command to a device", "/dev/fuse", unix.EINVAL, "command", "rw", "/dev/fuse", "0x8004e500", "0"),
	}
	null := at("command by io_uring", "/dev/null", 0, "uringcommand", "/dev/null")
	null.errno, null.absent = eperm, []unix.Errno{unix.EOPNOTSUPP}
	c.cross(forbidden(abi.BoundaryCommand, append(list, null))...)
	thaw := at("freezing", "", unix.EOPNOTSUPP, "command", "r", "@/ws/dir", "0xc0045877")
	thaw.errno, thaw.want = eperm, denial{}
	c.everybody(forbidden(abi.BoundarySystem, []crossing{thaw}), map[string]syscall.Errno{thaw.name: eperm})
}

// TestCommandsThatPass asks what any file may be asked, and what the kernel
// itself answers: no event may come of it.
func TestCommandsThatPass(t *testing.T) {
	c := newCommanding(t)
	slave, _ := c.terminal()
	names := must1(os.Open("/proc/self/ns/uts"))(t)
	defer names.Close()
	tty, ns := []*os.File{slave}, []*os.File{names}
	number := func(n int) string { return fmt.Sprint(n) }
	for _, x := range []struct {
		name  string
		files []*os.File
		argv  []string
	}{
		{"bytes waiting in a pipe", nil, words("commandof", "pipe", "0x541b")},
		{"bytes left in a file", nil, words("command", "r", "@/look/file", "0x541b")},
		{"terminal's settings", tty, words("commandfd", "3", number(unix.TCGETS))},
		{"setting a terminal", tty, words("commandfd", "3", number(unix.TIOCSWINSZ), "0")},
		{"terminal's settings of a file", nil, words("command", "r", "@/look/file", number(unix.TCGETS))},
		{"console's command to a terminal", tty, words("commandfd", "3", "0x4b33")},
		{"close-on-exec", nil, words("command", "r", "@/look/dir", "0x5451")},
		{"no waiting", nil, words("commandof", "socket", "0x5421", "1")},
		{"signals of its own socket", nil, words("commandof", "socket", "0x5452", "1")},
		{"interfaces", nil, words("commandof", "udp", number(unix.SIOCGIFCONF), "0")},
		{"mark in a stream", nil, words("commandof", "socket", "0x8905")},
		{"flags", nil, words("command", "r", "@/look/file", number(unix.FS_IOC_GETFLAGS))},
		{"project", nil, words("command", "r", "@/look/file", "0x801c581f")},
		{"extents", nil, words("command", "r", "@/look/file", "0xc020660b", "0", "4096", "1")},
		{"digest of verity", nil, words("command", "r", "@/look/file", "0xc0046686")},
		{"encryption", nil, words("command", "r", "@/look/dir", "0x400c6615")},
		{"verity of a file that may be written", nil, words("command", "r", "@/ws/file", enableVerity, "1")},
		{"encryption of a directory of its own", nil, words("command", "r", "@/ws/dir", setEncryption)},
		{"version of a file of its own", nil, words("command", "r", "@/ws/file", setVersion)},
		{"flags of a file of its own", nil, words("command", "r", "@/ws/file", number(unix.FS_IOC_SETFLAGS))},
		{"clone between permitted files", nil, words("clonerange", "@/look/file", "@/ws/file")},
		{"unknown command to a file that has none", nil, words("command", "r", "@/look/file", "0x5a01")},
		{"amount of randomness", nil, words("command", "r", "/dev/urandom", "0x80045200")},
		{"unknown command to a device that has none", nil, words("command", "rw", "/dev/null", "0x5a01")},
		{"ticks of a timer", nil, words("commandof", "timer", "0x40085400", "1")},
		{"number of a watch", nil, words("commandof", "inotify", "0x40044900", "9")},
		{"userfaultfd", nil, words("commandof", "userfaultfd", "0xc018aa3f", "0xaa")},
		{"kind of a namespace", ns, words("commandfd", "3", "0xb703")},
		{"pidfd", nil, words("commandof", "pidfd", "0xc040ff0b")},
		{"copy of a descriptor", nil, words("fcntl", "r", "@/look/file", number(unix.F_DUPFD_CLOEXEC), "10")},
		{"flags of a descriptor", nil, words("fcntl", "r", "@/look/file", number(unix.F_SETFL), number(unix.O_NONBLOCK))},
		{"signals of its own file", nil, words("fcntlof", "socket", number(unix.F_SETFL), number(unix.O_ASYNC))},
		{"owner", nil, words("fcntl", "r", "@/look/file", number(unix.F_GETOWN), "0")},
		{"lease that is there", nil, words("fcntl", "r", "@/look/file", number(unix.F_GETLEASE), "0")},
		{"end of a lease", nil, words("fcntl", "r", "@/look/file", number(unix.F_SETLEASE), number(unix.F_UNLCK))},
		{"seals", nil, words("fcntlof", "memory", number(unix.F_ADD_SEALS), number(unix.F_SEAL_SHRINK))},
		{"size of a pipe", nil, words("fcntlof", "pipe", number(unix.F_SETPIPE_SZ), "8192")},
		{"watch of a directory", nil, words("fcntl", "r", "@/look/dir", number(unix.F_NOTIFY), "2")},
		{"hint for a file that may be written", nil, words("fcntlwords", "r", "@/ws/file", number(unix.F_SET_RW_HINT), "2")},
		{"hint of a file", nil, words("fcntlwords", "r", "@/look/file", number(unix.F_GET_RW_HINT))},
		{"shared lock", nil, words("flock", "r", "@/look/file", number(unix.LOCK_SH))},
		{"exclusive lock of a file for writing", nil, words("flock", "rw", "@/ws/file", number(unix.LOCK_EX))},
		{"end of a lock", nil, words("flock", "r", "@/look/file", number(unix.LOCK_UN))},
		{"lock of a record", nil, words("fcntlwords", "rw", "@/ws/file", number(unix.F_SETLK), "1")},
		{"shared lock of a record", nil, words("fcntlwords", "r", "@/look/file", number(unix.F_OFD_SETLK), "0")},
		{"who has a lock", nil, words("fcntlwords", "r", "@/look/file", number(unix.F_GETLK), "1")},
	} {
		c.passes(x.name, x.files, x.argv...)
		c.passes(x.name+", as a user", x.files, append(words("asuser"), x.argv...)...)
	}
}

// TestBoundaryLeases holds up what others open and lock.
func TestBoundaryLeases(t *testing.T) {
	c := newCommanding(t)
	lease := func(name, path, kind string) crossing {
		argv := words("fcntl", "r", path, fmt.Sprint(unix.F_SETLEASE), kind)
		return crossing{name: name + " is denied", free: argv, probe: argv, want: on("", path)}
	}
	delegation := words("fcntlwords", "r", "@/ws/dir", setDelegation, "0")
	c.everybody(forbidden(abi.BoundaryLease, []crossing{
		lease("lease of a file that may be read", "@/look/file", "0"),
		lease("exclusive lease of a file that may be read", "@/look/file", "1"),
		lease("lease of a file of its own", "@/ws/file", "0"),
		{name: "delegation of a directory is denied", free: delegation, probe: delegation, want: onDir("", "@/ws/dir"), absent: []unix.Errno{unix.EINVAL}},
	}), nil)

	exclusive, shared := fmt.Sprint(unix.LOCK_EX), fmt.Sprint(unix.LOCK_SH)
	lock := func(name, how, path, kind string, want denial) crossing {
		argv := words("flock", how, path, kind)
		return crossing{name: name + " is denied", free: argv, probe: argv, errno: eacces, want: want}
	}
	file := lock("exclusive lock of a file that may be read", "r", "@/look/file", exclusive, on("write", "@/look/file"))
	file.inside = words("flock", "r", "@/ws/file", exclusive)
	dir := lock("exclusive lock of a directory that may be read", "r", "@/look/dir", exclusive, onDir("create", "@/look/dir"))
	dir.inside = words("flock", "r", "@/ws/dir", exclusive)
	drop := lock("shared lock of a file that may be written only", "w", "@/drop/file", shared, on("read", "@/drop/file"))
	drop.inside = words("flock", "w", "@/ws/file", shared)
	hint := words("fcntlwords", "r", "@/look/file", fmt.Sprint(unix.F_SET_RW_HINT), "2")
	c.everybody([]crossing{file, dir, drop,
		{name: "hint for a file that may be read is denied", free: hint, probe: hint, errno: eacces, want: on("write", "@/look/file")}}, nil)
	later := words("fcntl", "r", "@/ws/file", "2000", "0")
	c.everybody(forbidden(abi.BoundaryCommand, []crossing{
		{name: "fcntl of a later kernel is denied", free: later, freed: unix.EINVAL, probe: later, errno: unix.EINVAL, want: on("", "@/ws/file")},
	}), nil)
}

// TestBoundaryHandedFiles gives commands to descriptors that an outsider opened.
func TestBoundaryHandedFiles(t *testing.T) {
	c := newCompany(t)
	c.tree("dir/", "secret/")
	c.install(abi.Enforce, permit(look, "@/dir/"))
	var dirs []*os.File
	for _, path := range []string{"@/dir", "@/secret"} {
		f := must1(os.Open(c.at(path)))(t)
		t.Cleanup(func() { f.Close() })
		dirs = append(dirs, f)
	}
	const modified = "2" // DN_MODIFY
	watch := func(fd string) []string { return words("fcntlfd", fd, fmt.Sprint(unix.F_NOTIFY), modified) }
	c.cross(crossing{name: "watch by fcntl of a secret directory is denied", files: dirs, inside: watch("3"), free: watch("4"), probe: watch("4"),
		errno: eacces, want: onDir("open,read", "@/secret"), again: true})
	r, w, err := os.Pipe()
	must(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	must1(unix.FcntlInt(r.Fd(), unix.F_SETOWN, c.out.cmd.Process.Pid))(t)
	on, end, err := os.Pipe()
	must(t, err)
	t.Cleanup(func() { on.Close(); end.Close() })
	must1(unix.FcntlInt(on.Fd(), unix.F_SETOWN, c.out.cmd.Process.Pid))(t)
	must1(unix.FcntlInt(on.Fd(), unix.F_SETFL, unix.O_ASYNC))(t)
	going := words("fcntlfd", "3", fmt.Sprint(unix.F_SETFL), fmt.Sprint(unix.O_ASYNC|unix.O_NONBLOCK))
	owned := func(name string, argv ...string) crossing {
		return crossing{name: name + " is denied", files: []*os.File{r}, free: append(words("then"), append(argv, "--", "fcntlfd", "3", fmt.Sprint(unix.F_SETFL), "0")...), probe: argv, want: denial{actions: "kill"}}
	}
	c.cross(forbidden(abi.BoundarySignal, []crossing{
		owned("beginning of an outsider's signals", "fcntlfd", "3", fmt.Sprint(unix.F_SETFL), fmt.Sprint(unix.O_ASYNC)),
		owned("beginning of an outsider's signals by ioctl", "commandfd", "3", "0x5452", "1"),
		{name: "going on with an outsider's signals is denied", files: []*os.File{on}, free: going, probe: going, want: denial{actions: "kill"}},
	})...)
}

// TestBoundaryClones makes children in other cgroups, and devices by a rename.
func TestBoundaryClones(t *testing.T) {
	b := newBorder(t, everything)
	b.tree("ws/key", "ws/a", "ws/b")
	outward := must1(os.Open(cgroups))(t)
	defer outward.Close()
	inward := b.subgroup("child")
	clone := func(name string, files []*os.File, argv ...string) crossing {
		return crossing{name: name + " is denied", files: files, inside: words("fork", "@/ws/key"), free: argv, probe: argv, again: true}
	}
	b.cross(forbidden(abi.BoundaryControl, []crossing{
		clone("child cloned outward", nil, "into", cgroups, "@/ws/key"),
		clone("child cloned outward by a handed descriptor", []*os.File{outward}, "intofd", "3", "@/ws/key"),
		clone("child cloned into a child cgroup", []*os.File{inward}, "intofd", "3", "@/ws/key"),
	})...)
	c := &commanding{b}
	must(t, os.Chown(b.at("@/ws"), 1000, 1000))
	c.everybody(forbidden(abi.BoundaryDevice, []crossing{{name: "device in place of what is renamed is denied",
		free:  words("then", "whiteout", "@/ws/a", "@/ws/c", "--", "then", "unlink", "@/ws/a", "--", "rename", "@/ws/c", "@/ws/a"),
		probe: words("whiteout", "@/ws/b", "@/ws/d"), want: denial{actions: "create,delete,move", path: "@/ws/b", dest: "@/ws/d"}}}), nil)
}
