package vmtest

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
)

const bpffs = "/sys/fs/bpf"

// TestBoundaryPins touches what is pinned in bpffs. Policy permits everything.
//
//	/sys/fs/bpf/<name>/
//	├── pin            a map
//	└── sub/
//	@
//	├── tmp/           tmpfs, moved to mnt2/ and mnt/
//	├── tree/          tmpfs
//	│   └── pins/      another bpffs
//	├── pins/, pins2/, pins3/   another bpffs each
//	├── view/          bind of /sys/fs/bpf
//	└── mnt/, mnt2/, file, dir/
func TestBoundaryPins(t *testing.T) {
	b := newBorder(t, everything)
	home := bpffs + "/vmtest" + strings.ReplaceAll(b.dir, "/", "-")
	b.tree("tree/", "tmp/", "pins/", "mnt/", "mnt2/", "pins2/", "pins3/", "view/", "file", "dir/")
	must(t, os.MkdirAll(home+"/sub", 0o700))
	pin(t, home+"/pin")
	t.Cleanup(func() { os.RemoveAll(home) })
	b.mounted("tmpfs", "@/tree")
	b.mounted("tmpfs", "@/tmp")
	t.Cleanup(func() { unix.Unmount(b.at("@/mnt"), unix.MNT_DETACH) })
	b.tree("tree/pins/")
	b.mounted("bpf", "@/tree/pins")
	b.mounted("bpf", "@/pins")
	b.mounted("bpf", "@/pins2")
	b.mounted("bpf", "@/pins3")
	must(t, unix.Mount(bpffs, b.at("@/view"), "", unix.MS_BIND, ""))
	t.Cleanup(func() { unix.Unmount(b.at("@/view"), unix.MNT_DETACH) })
	viewed := strings.Replace(home, bpffs, "@/view", 1)

	cases := []crossing{
		{name: "reading a pin is denied", inside: words("open", "r", "@/file"), probe: words("open", "r", home+"/pin"), want: on("open,read", home+"/pin")},
		{name: "writing a pin is denied", inside: words("open", "w", "@/file"), probe: words("open", "w", home+"/pin"), want: on("open,write", home+"/pin")},
		{name: "listing pins is denied", inside: words("open", "r", "@/dir"), free: words("open", "r", home), probe: words("open", "r", home), want: onDir("open,read", home)},
		{name: "reading a pin by a bind mount is denied", probe: words("open", "r", viewed+"/pin"), want: on("open,read", viewed+"/pin")},
		{name: "unlink of a pin is denied", probe: words("unlink", home+"/pin"), want: on("delete", home+"/pin")},
		{name: "unlink of a pin by a bind mount is denied", probe: words("unlink", viewed+"/pin"), want: on("delete", viewed+"/pin")},
		{name: "rename of a pin is denied", probe: words("rename", home+"/pin", home+"/nip"),
			want: denial{actions: "create,delete,move", path: home + "/pin", dest: home + "/nip"}},
		{name: "rename of a directory of pins is denied", probe: words("rename", home, home+"2"),
			want: denial{actions: "create,delete,move", path: home, dest: home + "2", dir: true}},
		{name: "link of a pin is denied", probe: words("link", home+"/pin", home+"/nip"),
			want: denial{actions: "create", path: home + "/pin", dest: home + "/nip"}},
		{name: "mkdir among pins is denied", inside: words("mkdir", "@/dir/new"), free: words("mkdir", home+"/new"),
			probe: words("mkdir", home+"/new2"), want: onDir("create", home+"/new2")},
		{name: "rmdir among pins is denied", free: words("rmdir", home+"/new"), probe: words("rmdir", home+"/sub"), want: onDir("delete", home+"/sub")},
		{name: "symlink among pins is denied", probe: words("symlink", "x", home+"/sym"), want: on("create", home+"/sym")},
		{name: "chmod of a pin is denied", inside: words("chmod", "@/file"), probe: words("chmod", home+"/pin"), want: on("chmod", home+"/pin")},
		{name: "chmod of a directory of pins is denied", inside: words("chmod", "@/dir"), probe: words("chmod", home), want: onDir("chmod", home)},
		{name: "chown of a pin is denied", inside: words("chown", "@/file"), probe: words("chown", home+"/pin"), want: on("chown", home+"/pin")},
		{name: "umount of bpffs is denied", probe: words("umount", bpffs), want: onDir("unmount", bpffs)},
		{name: "lazy umount of bpffs is denied", probe: words("detach", bpffs), want: onDir("unmount", bpffs)},
		{name: "lazy umount of another bpffs is denied", probe: words("detach", "@/pins3"), want: onDir("unmount", "@/pins3")},
		{name: "mount over bpffs is denied", inside: words("mount", "tmpfs", "@/dir"), probe: words("mount", "tmpfs", bpffs), want: onDir("mount", bpffs)},
		{name: "bind over bpffs is denied", probe: words("bindmount", "@/dir", bpffs), want: onDir("mount", bpffs)},
		{name: "mount over a directory of pins is denied", probe: words("mount", "tmpfs", home), want: onDir("mount", home)},
		{name: "new mount API over bpffs is denied", probe: words("newmount", "tmpfs", bpffs), want: onDir("mount", bpffs)},
		{name: "remount of bpffs is denied", probe: words("remount", bpffs), want: onDir("mount", bpffs)},
		{name: "reconfiguring bpffs is denied", inside: words("reconfigure", "@/tmp"), probe: words("reconfigure", bpffs), want: denial{actions: "mount"}},
		{name: "reconfiguring cgroups is denied", probe: words("reconfigure", cgroups), want: denial{actions: "mount"}},
		{name: "moving bpffs is denied", free: words("movemount", "@/tmp", "@/mnt2"), probe: words("movemount", bpffs, "@/mnt"), want: onDir("mount", "@/mnt")},
		{name: "move_mount of what carries a bpffs is denied", inside: words("shift", "@/mnt2", "@/mnt"), probe: words("shift", "@/tree", "@/dir"), want: onDir("mount", "@/dir")},
		{name: "pivot_root to bpffs is denied", probe: words("pivot", bpffs, home), want: onDir("mount", bpffs)},
		{name: "lazy umount of what carries a bpffs is denied", probe: words("detach", "@/tree"), want: onDir("unmount", "@/tree")},
		{name: "move_mount of a bpffs is denied", probe: words("shift", "@/pins2", "@/mnt2"), want: onDir("mount", "@/mnt2")},
	}
	b.cross(forbidden(abi.BoundaryControl, cases)...)
}

// pin pins a map.
func pin(t *testing.T, path string) {
	t.Helper()
	m := newMap(t)
	must(t, m.Pin(path))
}

func newMap(t *testing.T) *ebpf.Map {
	t.Helper()
	m := must1(ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}))(t)
	t.Cleanup(func() { m.Close() })
	return m
}

// forbidden completes crossings that no policy can permit.
func forbidden(boundary abi.Boundary, list []crossing) []crossing {
	for i := range list {
		c := &list[i]
		c.boundary, c.want.reason = boundary, abi.ReasonBoundary
		if c.errno == 0 {
			c.errno = eperm
		}
	}
	return list
}

// TestBoundaryKernel makes the calls that reach into the kernel. Policy permits
// everything.
func TestBoundaryKernel(t *testing.T) {
	b := newBorder(t, everything)
	b.tree("file")
	home := bpffs + "/vmtest-get" + strings.ReplaceAll(b.dir, "/", "-")
	pin(t, home)
	t.Cleanup(func() { os.Remove(home) })
	one := func(name string, freed syscall.Errno, argv ...string) crossing {
		return crossing{name: name + " is denied", free: argv, freed: freed, probe: argv}
	}
	b.cross(forbidden(abi.BoundaryBPF, []crossing{
		one("making a map", 0, "bpf", "create"),
		one("getting a pin", 0, "bpf", "get", home),
		one("looking for programs", 0, "bpf", "next"),
	})...)
	b.cross(forbidden(abi.BoundaryPerf, []crossing{one("perf event", 0, "perf")})...)
	b.cross(forbidden(abi.BoundaryModule, []crossing{
		one("loading a module from memory", syscall.ENOEXEC, "module"),
		one("loading a module from a file", syscall.ENOEXEC, "module", "@/file"),
	})...)
	b.cross(forbidden(abi.BoundarySystem, []crossing{
		one("kexec from memory", 0, "kexec"),
		one("kexec from a file", syscall.ENOEXEC, "kexec", "@/file"),
	})...)
	b.cross(forbidden(abi.BoundaryDevice, []crossing{one("use of the machine's ports", 0, "ports")})...)
}

// TestBoundaryControlFiles opens files that control the kernel or others.
// Policy permits everything; what is harmless is read by any policy.
func TestBoundaryControlFiles(t *testing.T) {
	b := newBorder(t, everything)
	b.tree("file", "sys/", "binfmt/")
	out := b.bystander()
	other := b.cgroup + "-other"
	must(t, os.Mkdir(other, 0o755))
	t.Cleanup(func() { removeGroup(t, other) })
	must(t, unix.Mount("/proc/sys", b.at("@/sys"), "", unix.MS_BIND, ""))
	t.Cleanup(func() { unix.Unmount(b.at("@/sys"), unix.MNT_DETACH) })

	write := []string{
		"/proc/sys/kernel/ftrace_enabled", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "@/sys/kernel/core_pattern",
		"/proc/sysrq-trigger",
		b.cgroup + "/cgroup.procs", b.cgroup + "/cgroup.threads", b.cgroup + "/cgroup.kill", cgroups + "/cgroup.procs", cgroups + "/cgroup.subtree_control",
		other + "/cgroup.procs", other + "/cgroup.kill", other + "/cgroup.freeze",
		"/sys/kernel/tracing/tracing_on", "/sys/kernel/tracing/kprobe_events", "/sys/kernel/debug/clear_warn_once",
		"/sys/kernel/rcu_expedited", "/sys/kernel/security/lockdown",
		// What reaches devices without a device file.
		"/proc/bus/pci/00/00.0", "/proc/mtrr", "/proc/irq/default_smp_affinity", "/proc/dynamic_debug/control",
	}
	if b.has("writing @/binfmt/register is denied", unix.Mount("none", b.at("@/binfmt"), "binfmt_misc", 0, ""), unix.ENODEV) {
		t.Cleanup(func() { unix.Unmount(b.at("@/binfmt"), unix.MNT_DETACH) })
		write = append(write, "@/binfmt/register")
	}
	var cases []crossing
	for _, path := range write {
		cases = append(cases, crossing{name: "writing " + b.label(path) + " is denied", free: words("open", "w", path), probe: words("open", "w", path), want: on("open,write", path)})
	}
	ftrace := "/proc/sys/kernel/ftrace_enabled"
	both := on("open,read,write", ftrace)
	cases = append(cases,
		crossing{name: "reading kcore is denied", free: words("open", "r", "/proc/kcore"), probe: words("open", "r", "/proc/kcore"), want: on("open,read", "/proc/kcore")},
		crossing{name: "reading kpagecount is denied", free: words("open", "r", "/proc/kpagecount"), probe: words("open", "r", "/proc/kpagecount"), want: on("open,read", "/proc/kpagecount")},
		crossing{name: "truncating open of a control file is denied", probe: words("open", "r|trunc", ftrace), want: both},
		crossing{name: "control file by openat2 is denied", probe: words("openat2", "rw", ftrace), want: both},
		crossing{name: "control file by proc self root is denied", probe: words("open", "rw", "/proc/self/root"+ftrace), want: both},
		crossing{name: "control file by an O_PATH descriptor is denied", probe: words("reopen", "rw", ftrace), want: both},
		crossing{name: "control file by its handle is denied", probe: words("handle", "w", cgroups+"/cgroup.procs"), want: on("open,write", cgroups+"/cgroup.procs")},
		crossing{name: "control file by io_uring is denied", probe: words("uring", "inline", "open", "rw", ftrace), want: both},
		crossing{name: "control file by io_uring's worker is denied", probe: words("uring", "async", "open", "rw", ftrace), want: both},
		crossing{name: "control file by io_uring's thread is denied", probe: words("uring", "sqpoll", "open", "rw", ftrace), want: both},
	)
	b.cross(forbidden(abi.BoundaryControl, cases)...)
	b.step("enforcement is still on", isDenied, func() {
		if text := string(must1(os.ReadFile(ftrace))(b.t)); text != "1\n" {
			b.t.Errorf("%s holds %q", ftrace, text)
		}
	})

	b.install(abi.Enforce, permit(look, "@/sys/"))
	var reads []crossing
	for _, path := range []string{ftrace, "@/sys/kernel/ostype", cgroups + "/cgroup.procs", b.cgroup + "/cgroup.procs", "/sys/kernel/security/lsm",
		"/sys/kernel/tracing/README", "/sys/kernel/rcu_expedited", out.proc() + "/oom_score_adj"} {
		reads = append(reads, crossing{name: "reading " + b.label(path) + " is allowed", probe: words("open", "r", path)})
	}
	b.cross(reads...)
}

// label makes a path the same in every run.
func (b *border) label(path string) string {
	path = strings.ReplaceAll(path, b.cgroup, "CGROUP")
	parts := strings.Split(path, "/")
	if len(parts) > 2 && parts[1] == "proc" && strings.Trim(parts[2], "0123456789") == "" {
		parts[2] = "PID"
	}
	return strings.Join(parts, "/")
}

// TestBoundaryDetachedControls reaches control files on mounts that an outsider
// made and attached nowhere. Policy permits everything.
func TestBoundaryDetachedControls(t *testing.T) {
	b := newBorder(t, everything)
	var cases []crossing
	for _, c := range []struct{ kind, path, flags string }{
		{"proc", "sys/kernel/ftrace_enabled", "w"},
		{"proc", "sysrq-trigger", "w"},
		{"proc", "kcore", "r"},
		{"cgroup2", "cgroup.procs", "w"},
		{"sysfs", "kernel/rcu_expedited", "w"},
		{"tracefs", "tracing_on", "w"},
		{"debugfs", "clear_warn_once", "w"},
		{"securityfs", "lockdown", "w"},
		{"bpf", ".", "r"},
	} {
		tree := b.detached(c.kind)
		want := denial{actions: "open,write", path: "(outside)/" + c.path, status: abi.PathOutside}
		if c.flags == "r" {
			want.actions = "open,read"
		}
		if c.path == "." {
			want.path, want.dir = "(outside)/", true
		}
		name := c.path + " of a detached " + c.kind
		cases = append(cases,
			crossing{name: name + " by an inherited directory is denied", files: []*os.File{tree},
				free: words("openat", "3", c.flags, c.path), probe: words("openat", "3", c.flags, c.path), want: want},
			crossing{name: name + " by a received directory is denied", gift: func() *os.File { return again(b.t, tree) },
				free: words("receive", "3", "openat", "%", c.flags, c.path), probe: words("receive", "3", "openat", "%", c.flags, c.path), want: want})
	}
	cases = append(cases, crossing{name: "mkdir in a detached bpffs is denied", files: []*os.File{b.detached("bpf")}, probe: words("mkdirat", "3", "new"),
		want: denial{actions: "create", path: "(outside)/new", status: abi.PathOutside, dir: true}})
	b.cross(forbidden(abi.BoundaryControl, cases)...)
}

// detached makes a mount that is attached nowhere.
func (b *border) detached(kind string) *os.File {
	b.t.Helper()
	fs := must1(unix.Fsopen(kind, unix.FSOPEN_CLOEXEC))(b.t)
	defer unix.Close(fs)
	must(b.t, unix.FsconfigCreate(fs))
	f := os.NewFile(uintptr(must1(unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0))(b.t)), kind)
	b.t.Cleanup(func() { f.Close() })
	return f
}

// again duplicates a descriptor.
func again(t *testing.T, f *os.File) *os.File {
	t.Helper()
	return os.NewFile(uintptr(must1(unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0))(t)), f.Name())
}

// TestBoundaryDevices makes and opens devices that reach files under any path.
// Policy permits everything.
//
//	@
//	├── disk         a block device
//	├── mem, port    /dev/mem and /dev/port by other names
//	└── zero
func TestBoundaryDevices(t *testing.T) {
	b := newBorder(t, everything)
	b.tree("file")
	node := func(name string, kind, major, minor uint32) {
		must(t, unix.Mknod(b.at("@/"+name), kind|0o644, int(unix.Mkdev(major, minor))))
	}
	node("disk", unix.S_IFBLK, 7, 0)
	node("mem", unix.S_IFCHR, 1, 1)
	node("port", unix.S_IFCHR, 1, 4)
	node("zero", unix.S_IFCHR, 1, 5)
	cases := []crossing{
		{name: "mknod of a block device is denied", free: words("mkdev", "b", "7", "0", "@/free-b"), probe: words("mkdev", "b", "7", "0", "@/b"), want: on("create", "@/b")},
		{name: "mknod of a character device is denied", free: words("mkdev", "c", "1", "3", "@/free-c"), probe: words("mkdev", "c", "1", "3", "@/c"), want: on("create", "@/c")},
		{name: "opening a block device is denied", free: words("open", "r", "@/disk"), freed: syscall.ENXIO, probe: words("open", "r", "@/disk"), want: on("open,read", "@/disk")},
		{name: "writing a block device is denied", inside: words("open", "w", "@/zero"), probe: words("open", "w", "@/disk"), want: on("open,write", "@/disk")},
		{name: "reading dev mem is denied", free: words("open", "r", "/dev/mem"), probe: words("open", "r", "/dev/mem"), want: on("open,read", "/dev/mem")},
		{name: "reading dev mem by another node is denied", free: words("open", "r", "@/mem"), probe: words("open", "r", "@/mem"), want: on("open,read", "@/mem")},
		{name: "reading dev port by another node is denied", inside: words("open", "r", "@/zero"), probe: words("open", "r", "@/port"), want: on("open,read", "@/port")},
		{name: "hibernation image is denied", probe: words("open", "r", "/dev/snapshot"), want: on("open,read", "/dev/snapshot")},
		{name: "received dev mem is denied", gift: b.opened("/dev/mem", os.O_RDWR), free: words("receive", "3"), probe: words("receive", "3"), errno: syscall.EBADF,
			want: on("open,read,write", "/dev/mem")},
	}
	b.cross(forbidden(abi.BoundaryDevice, cases)...)
	b.cross(
		crossing{name: "overlay's whiteout is allowed", probe: words("mkdev", "c", "0", "0", "@/whiteout")},
		crossing{name: "harmless device is allowed", probe: words("open", "rw", "/dev/null")},
		crossing{name: "new terminal is allowed", probe: words("open", "rw", "/dev/ptmx")},
	)
	b.step("received control file is denied", isDenied, func() {
		procs := cgroups + "/cgroup.procs"
		b.one(crossing{gift: b.opened(procs, os.O_WRONLY), free: words("receive", "3"), probe: words("receive", "3"), errno: syscall.EBADF,
			want: on("open,write", procs), boundary: abi.BoundaryControl})
	})
}
