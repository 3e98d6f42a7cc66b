package vmtest

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/vmtest/probes"
)

// TestBoundaryMachine changes the machine as a whole, by calls that name no
// file. Policy permits everything.
func TestBoundaryMachine(t *testing.T) {
	b := newBorder(t, everything)
	b.tree("file", "own/", "quota/")
	b.mounted("tmpfs", "@/own")
	one := func(name string, freed syscall.Errno, argv ...string) crossing {
		return crossing{name: name + " is denied", free: argv, freed: freed, probe: argv}
	}
	hosts := must1(os.Open("/proc/1/ns/mnt"))(t)
	defer hosts.Close()
	machine := []crossing{
		one("reboot", 0, "ctrlaltdel"),
		one("swap to a file", unix.EINVAL, "swapon", "@/file"),
		one("end of swapping", unix.EINVAL, "swapoff", "@/file"),
		one("accounting of processes", 0, "acct"),
		one("name of the machine", 0, "hostname"),
		one("domain of the machine", 0, "domainname"),
		one("audit", 0, "audit"),
		one("thawing a file system", unix.EINVAL, "thaw", "@/file"),
	}
	if b.has("quota is denied", unix.Mount("none", b.at("@/quota"), "tmpfs", 0, "usrquota"), unix.EINVAL) {
		t.Cleanup(func() { unix.Unmount(b.at("@/quota"), unix.MNT_DETACH) })
		dir := must1(os.Open(b.at("@/quota")))(t)
		t.Cleanup(func() { dir.Close() })
		c := one("quota", 0, "quota", "3")
		c.files = []*os.File{dir}
		machine = append(machine, c)
	}
	must(t, b.Grant(b.id, abi.Grants{Sockets: (abi.SocketNetlink + unix.NETLINK_AUDIT).Mask()}))
	b.cross(forbidden(abi.BoundarySystem, machine)...)
	b.cross(forbidden(abi.BoundaryCapability, []crossing{
		one("clearing the kernel's log", 0, "syslog", "5"),
		one("level of the console", unix.EINVAL, "syslog", "8"),
	})...)
	b.cross(forbidden(abi.BoundaryLease, []crossing{
		{name: "faults of the kernel by userfaultfd are denied", inside: words("userfaultfd", "1"), free: words("userfaultfd", "0"), probe: words("userfaultfd", "0"), again: true},
	})...)
	b.cross(forbidden(abi.BoundaryCommand, []crossing{
		{name: "faults of the kernel by userfaultfd's device are denied", inside: words("open", "rw", "/dev/userfaultfd"), free: words("faultdevice"), probe: words("faultdevice"), again: true,
			errno: syscall.ENOTTY, want: denial{path: "/dev/userfaultfd"}, absent: []syscall.Errno{syscall.ENOENT}},
	})...)
	b.cross(forbidden(abi.BoundaryModule, []crossing{one("unloading a module", unix.ENOENT, "unload")})...)
	b.cross(
		crossing{name: "name of its own machine is allowed", probe: words("newuts", "hostname"), again: true},
		crossing{name: "memory of its own by userfaultfd is allowed", probe: words("userfaultfd", "1"), again: true},
		crossing{name: "permitted change of mount attributes in a mount namespace of its own is allowed", probe: words("newns", "setattr", "@/own")},
		crossing{name: "permitted change of a file system's options is allowed", probe: words("reconfigure", "@/own")},
	)
	b.cross(forbidden(abi.BoundaryControl, []crossing{
		{name: "mount attributes of the host's are denied", inside: words("newns", "setattr", "@/own"), probe: words("setattr", "@/own"), want: denial{actions: "mount"}},
		{name: "mount attributes of the host's, entered from another namespace, are denied", files: []*os.File{hosts}, inside: words("newns", "setattr", "@/own"),
			probe: words("newns", "setns", "3", "setattr", "@/own"), want: denial{actions: "mount"}},
	})...)
}

// TestBoundaryForcedTerminals takes terminals away from other sessions.
func TestBoundaryForcedTerminals(t *testing.T) {
	b := newBorder(t, everything)
	var slaves []*os.File
	for range 2 {
		slave, _ := b.terminal()
		holder := b.command([]*os.File{slave}, "-1", "", 0, words("holdterminal", "3", "gate", "hold", "0"))
		holder.startErr = holder.cmd.Start()
		holder.ready()
		t.Cleanup(func() { holder.cmd.Process.Kill(); holder.wait() })
		slaves = append(slaves, slave)
	}
	own, _ := b.terminal()
	b.cross(crossing{name: "terminal without a session is taken", files: []*os.File{own}, probe: words("session", "controlling", "3", "1"), again: true})
	b.cross(forbidden(abi.BoundarySystem, []crossing{
		{name: "terminal of another session is not taken", files: slaves, free: words("session", "controlling", "3", "1"), probe: words("session", "controlling", "4", "1")},
	})...)
	b.cross(forbidden(abi.BoundaryCapability, []crossing{{name: "hanging up is denied", free: words("vhangup"), probe: words("vhangup")}})...)
}

// TestBoundaryKernelNames makes objects of the kernel by making directories.
// Policy permits everything.
func TestBoundaryKernelNames(t *testing.T) {
	b := newBorder(t, everything)
	b.tree("config/", "dir/")
	const instances = "/sys/kernel/tracing/instances"
	t.Cleanup(func() { os.Remove(instances + "/free") })
	cases := []crossing{
		{name: "making an instance of tracing is denied", inside: words("mkdir", "@/dir/new"), free: words("mkdir", instances+"/free"), probe: words("mkdir", instances+"/made"), want: onDir("create", instances+"/made")},
		{name: "removing an instance of tracing is denied", probe: words("rmdir", instances+"/free"), want: onDir("delete", instances+"/free")},
	}
	if b.has("making a directory in configfs is denied", unix.Mount("none", b.at("@/config"), "configfs", 0, ""), unix.ENODEV) {
		t.Cleanup(func() { unix.Unmount(b.at("@/config"), unix.MNT_DETACH) })
		cases = append(cases, crossing{name: "making a directory in configfs is denied", probe: words("mkdir", "@/config/made"), want: onDir("create", "@/config/made")})
	}
	b.cross(forbidden(abi.BoundaryControl, cases)...)
	must(t, unix.Mknod(b.at("@/uinput"), unix.S_IFCHR|0o644, int(unix.Mkdev(10, 223))))
	b.cross(forbidden(abi.BoundaryDevice, []crossing{{name: "typing by uinput is denied", probe: words("open", "w", "@/uinput"), want: on("open,write", "@/uinput")}})...)
}

// TestBoundaryOwners reaches processes by what the kernel keeps of them.
func TestBoundaryOwners(t *testing.T) {
	c := newCompany(t)
	leader := c.outsider("session", "gate", "hold", "0")
	leader.ready()
	t.Cleanup(func() { leader.pass(); leader.wait() })
	r, w, err := os.Pipe()
	must(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	must1(unix.FcntlInt(r.Fd(), unix.F_SETOWN, c.out.cmd.Process.Pid))(t)
	kill := fmt.Sprint(int(unix.SIGKILL))
	group := words("kill", fmt.Sprint(-leader.cmd.Process.Pid), "23")
	c.cross(forbidden(abi.BoundarySignal, []crossing{
		{name: "signal of an outsider's file is not chosen", files: []*os.File{r}, free: words("setsig", "3", "0"), probe: words("setsig", "3", kill), want: denial{actions: "kill"}},
		{name: "signal to a group of outsiders is denied", free: group, probe: group, want: denial{actions: "kill"}},
	})...)
	c.cross(forbidden(abi.BoundaryProcess, []crossing{c.both("advice on an outsider's memory is denied", eacces, "trace", "madvise", "PID")})...)
}

// TestBoundaryRequestedKeys has the host's maker of keys, which is root's, do what a
// task asks for.
func TestBoundaryRequestedKeys(t *testing.T) {
	const maker = "/sbin/request-key"
	b := newBorder(t, everything)
	b.tree("made")
	if _, err := os.Lstat(maker); err == nil {
		t.Fatal(maker + ": is there: this test puts its own there; run it in a VM")
	}
	must(t, os.WriteFile(maker, []byte("#!/bin/sh\necho ran >> "+b.at("@/made")+"\n"), 0o755))
	t.Cleanup(func() { os.Remove(maker) })
	ran := func(want int) {
		t.Helper()
		if got := strings.Count(string(must1(os.ReadFile(b.at("@/made")))(t)), "ran"); got != want {
			t.Errorf("%s ran %d times, want %d", maker, got, want)
		}
	}
	must1(unix.AddKey("user", "there"+b.dir, []byte("x"), unix.KEY_SPEC_USER_KEYRING))(t) // a session keyring of its own would hide it
	b.cross(forbidden(abi.BoundarySystem, []crossing{
		{name: "key that the host would make is denied", inside: words("requestkey", "there"+b.dir), free: words("requestkey", "new"+b.dir, "text"), freed: unix.ENOKEY,
			probe: words("requestkey", "new"+b.dir+"2", "text"), errno: unix.ENOKEY},
	})...)
	ran(1) // for the task that nothing confines
}

// TestBoundaryParentsKeys gives keys to a process that may be outside.
func TestBoundaryParentsKeys(t *testing.T) {
	b := newBorder(t, everything)
	give := words("givekeys")
	// The parent has threads, so that the kernel refuses it, later.
	b.cross(forbidden(abi.BoundaryProcess, []crossing{{name: "keys for the parent are denied", free: give, freed: eperm, probe: give, errno: unix.ENOMEM}})...)
}

// TestBoundaryCrowds makes objects of System V while half of the room for them is used.
func TestBoundaryCrowds(t *testing.T) {
	b := newBorder(t, everything)
	var list []crossing
	for _, k := range []struct{ kind, sysctl, full string }{
		{"memory", "shmmni", "4"}, {"queue", "msgmni", "4"}, {"semaphores", "sem", "32000 1024000000 500 4"},
	} {
		b.cross(crossing{name: k.kind + " of System V is allowed while there is room", probe: words("object", k.kind)})
		path := "/proc/sys/kernel/" + k.sysctl
		was := must1(os.ReadFile(path))(t)
		must(t, os.WriteFile(path, []byte(k.full), 0))
		t.Cleanup(func() { os.WriteFile(path, was, 0) })
		for range 2 {
			remove := must1(probes.Object(k.kind))(t)
			t.Cleanup(func() { must(t, remove()) })
		}
		list = append(list, crossing{name: k.kind + " of System V is denied where half of the room is used", free: words("object", k.kind),
			probe: words("object", k.kind), errno: unix.ENOSPC})
	}
	b.cross(forbidden(abi.BoundarySystem, list)...)
}

// TestLimitsOfObjects reaches what is neither a file nor a process: objects that
// the kernel keeps for a user. No policy names them.
func TestLimitsOfObjects(t *testing.T) {
	b := newBorder(t)
	b.tree("secret/key")
	must(t, unix.Setxattr(b.at("@/secret/key"), "trusted.old", []byte("1"), 0))
	must1(unix.AddKey("user", "stockade"+b.dir, []byte("secret"), unix.KEY_SPEC_USER_KEYRING))(t)
	const restricted = "/proc/sys/kernel/dmesg_restrict"
	was := must1(os.ReadFile(restricted))(t)
	must(t, os.WriteFile(restricted, []byte("0"), 0))
	t.Cleanup(func() { os.WriteFile(restricted, was, 0) })
	id := must1(unix.SysvShmGet(0, 4096, unix.IPC_CREAT|0o600))(t)
	t.Cleanup(func() { unix.SysvShmCtl(id, unix.IPC_RMID, nil) })
	b.cross(
		crossing{name: "key of the same user is a limit", probe: words("readkey", "stockade"+b.dir), limit: limitObjects},
		crossing{name: "shared memory of System V is a limit", probe: words("attachmemory", fmt.Sprint(id)), limit: limitObjects},
		crossing{name: "reading the kernel's log is a limit", probe: words("syslog", "3"), limit: limitLog},
		crossing{name: "reading an extended attribute of a secret is a limit", probe: words("getxattr", "@/secret/key"), limit: limitXattr},
	)
}
