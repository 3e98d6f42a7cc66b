package vmtest

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/vmtest/probes"
)

const (
	nice   = 1 << unix.CAP_SYS_NICE
	nobody = 65534
)

// shared makes shared memory of another user, and removes it in the end.
func shared(t *testing.T) string {
	t.Helper()
	type result struct {
		id  int
		err error
	}
	made := make(chan result)
	go func() {
		id, err := probes.OwnedMemory(nobody)
		made <- result{id, err}
	}()
	r := <-made
	must(t, r.err)
	t.Cleanup(func() { unix.SysvShmCtl(r.id, unix.IPC_RMID, nil) })
	return fmt.Sprint(r.id)
}

// lacking says what a kernel that was built without this answers.
func (c crossing) lacking(errno syscall.Errno) crossing {
	c.absent = []syscall.Errno{errno}
	return c
}

// TestCapabilities uses, as root, what is not on the list. Policy permits
// everything.
func TestCapabilities(t *testing.T) {
	b := newBorder(t, everything)
	memory, gone := shared(t), shared(t)
	audit, _ := abi.ParseSocket("netlink-audit")
	one := func(name string, errno, freed syscall.Errno, argv ...string) crossing {
		return crossing{name: name + " is denied", free: argv, freed: freed, probe: argv, errno: errno}
	}
	b.cross(forbidden(abi.BoundaryCapability, []crossing{
		one("realtime scheduling", eperm, 0, "realtime"),
		one("priority above all", eacces, 0, "priority", "-20"),
		one("realtime class of input and output", eperm, 0, "iopriority"),
		one("raising a hard limit", eperm, 0, "raiselimit"),
		one("changing an interface", eperm, 0, "interface", "lo"),
		one("timer that wakes the machine", eperm, 0, "wakealarm"),
		one("reading the kernel's log", eperm, 0, "syslog", "3"),
		one("opening the kernel's log", eperm, 0, "open", "r", "/dev/kmsg"),
		one("memory of another user", eacces, 0, "attachmemory", memory),
	})...)
	// Its socket is refused by itself.
	must(t, b.Grant(b.id, abi.Grants{Sockets: audit.Mask()}))
	b.cross(forbidden(abi.BoundaryCapability, []crossing{one("forged record of audit", eperm, 0, "auditrecord")})...)
	must(t, b.Grant(b.id, abi.Grants{}))
	theirs := one("removing memory of another user", eperm, 0, "removememory", gone)
	theirs.free, theirs.probe = nil, words("removememory", memory)
	b.cross(forbidden(abi.BoundarySystem, []crossing{
		theirs,
		one("poisoning a page", eperm, syscall.EFAULT, "hwpoison").lacking(syscall.EINVAL),
		one("taking a page offline", eperm, syscall.EFAULT, "softoffline").lacking(syscall.EINVAL),
	})...)
	a := b.loose(0, nil, words("removememory", gone))
	if a.code != probes.Allowed {
		t.Errorf("unconfined task: %v", a)
	}
	b.step("the event tells which capability", isDenied, func() {
		b.launch(eperm, nil, words("realtime"))
		events := b.take(b.t, b.id)
		if len(events) != 1 || events[0].Boundary != abi.BoundaryCapability || abi.CapabilityName(events[0].Device) != "SYS_NICE" || events[0].Inode != 0 {
			b.t.Errorf("%+v", events)
		}
		b.seq++
		b.balance(1)
	})
}

// TestClockIsSetByNobody: also where no policy reads the clock.
func TestClockIsSetByNobody(t *testing.T) {
	b := newBorder(t, everything)
	want := abi.BoundaryClock // the sets of these tests are loaded for policies that read it
	var list []crossing
	for _, how := range []string{"settime", "settimeofday", "adjtime", "settai"} {
		list = append(list, crossing{name: how + " is denied", free: words(how), probe: words(how)})
	}
	b.cross(forbidden(want, list)...)
	b.cross(crossing{name: "reading the clock is allowed", probe: words("gettime"), again: true})
}

// TestCapabilitiesWithheld refuses without an event what may not fail the call,
// and counts it.
func TestCapabilitiesWithheld(t *testing.T) {
	b := newBorder(t, everything)
	b.tree("file")
	for _, c := range []struct {
		name  string
		errno syscall.Errno
		argv  []string
	}{
		{"buffer beyond the limit", eperm, words("forcebuffer")},
		{"pipe beyond the limit", eperm, words("bigpipe")},
		{"unknown interface", 0, words("nodevice")},
		{"another's number in a message", eperm, words("stealid", "1")},
		{"interface by a chain of io_uring under other credentials", eperm, words("chainedlink")},
		{"another's number in a message of io_uring as a permitted setxattr ends", eperm, words("chainedid", "1", "@/file")},
	} {
		b.step(c.name+" is withheld", isDenied, func() {
			if a := b.loose(0, nil, c.argv); a.code != probes.Allowed {
				b.t.Errorf("unconfined task: %v", a)
			}
			before := must1(b.Counters(b.id))(b.t)
			a := b.launch(c.errno, nil, c.argv)
			if want := min(int(c.errno), probes.Denied); a.startErr != nil || a.code != want {
				b.t.Errorf("%v", a)
			}
			b.quiet("withheld capability")
			if after := must1(b.Counters(b.id))(b.t); after.Withheld == before.Withheld {
				b.t.Errorf("nothing was withheld: %+v", after)
			}
		})
	}
}

// TestCapabilitiesOfRings makes permitted calls by threads that have an io_uring,
// whose requests are done at the end of any call: the call lets no capability through.
func TestCapabilitiesOfRings(t *testing.T) {
	b := newBorder(t, everything)
	b.tree("a/", "b/", "file")
	t.Cleanup(func() {
		for _, d := range []string{"@/a", "@/b"} {
			for unix.Unmount(b.at(d), unix.MNT_DETACH) == nil {
			}
		}
	})
	ringed := func(name string, argv ...string) crossing {
		return crossing{name: name + " beside a ring is denied", inside: argv, free: append(words("ringed"), argv...), probe: append(words("ringed"), argv...)}
	}
	machine := ringed("name of a machine of its own")
	machine.inside, machine.probe = words("newuts", "sethostname", "inside"), words("newuts", "ringed", "sethostname", "inside")
	machine.free = machine.probe
	b.cross(forbidden(abi.BoundarySystem, []crossing{
		ringed("mount", "mount", "tmpfs", "@/a"),
		ringed("context of a file system", "newfs", "tmpfs"),
		ringed("mount namespace", "newns", "kill", "0", "0"),
		machine,
	})...)
	b.cross(
		crossing{name: "permitted file system in its own namespace beside a ring is allowed", probe: words("inuser", "newns", "ringed", "newfs", "tmpfs")},
		crossing{name: "attribute beside a ring is allowed", probe: words("ringed", "setacl", "@/file")},
	)
	b.install(abi.Enforce, everything, `forbid (principal, action == file_system::Action::"mount", resource);`)
	b.step("file system in its own namespace beside a ring is denied", isDenied, func() {
		a := b.launch(eperm, nil, words("inuser", "newns", "ringed", "newfs", "tmpfs"))
		b.expectDenied(a, denial{actions: "mount", dir: true})
	})
}

// TestCapabilitiesAllowed does as root what root's programs do. Policy permits
// everything; nothing is reported.
func TestCapabilitiesAllowed(t *testing.T) {
	b := newBorder(t, everything)
	b.tree("theirs", "chowned", "old")
	must(t, os.Chown(b.at("@/theirs"), nobody, nobody))
	must(t, os.Chmod(b.at("@/theirs"), 0))
	must(t, unix.Setxattr(b.at("@/old"), "trusted.old", []byte("1"), 0))
	in := b.insider(nil)
	ok := func(name string, argv ...string) crossing {
		return crossing{name: name + " is allowed", probe: argvOf(argv, in), again: true}
	}
	b.cross(
		ok("chown", "chown", "@/chowned", "1000"),
		ok("chmod of another user's file", "chmod", "@/theirs"),
		ok("reading another user's file", "open", "r", "@/theirs"),
		ok("other ids", "as", "1000", "1000", "open", "r", "@/chowned"),
		ok("port 80", "listen", "80"),
		ok("seccomp filter without no_new_privs", "filter", "seccomp"),
		ok("filter by prctl without no_new_privs", "filter", "prctl"),
		ok("dropping capabilities", "dropcaps"),
		ok("signal inside", "kill", "PID", "23"),
		ok("reading memory inside", "readmem", "PID"),
		ok("capability of a file", "setxattrname", "@/old", "trusted.new"),
		ok("reading a trusted attribute", "getxattr", "@/old"),
		ok("name of a machine of its own", "newuts", "sethostname", "inside"),
	)
	b.cross(crossing{name: "fifo is allowed", probe: words("fifo", "@/fifo")}, ok("lower priority", "priority", "5"))
}

// TestCapabilitiesOfNamespaces uses capabilities in a user namespace that the
// workload made: they reach what belongs to it. A mount or superblock that no
// hook tells is asked for there, too.
func TestCapabilitiesOfNamespaces(t *testing.T) {
	const noMount = `forbid (principal, action == file_system::Action::"mount", resource);`
	b := newBorder(t, everything)
	b.cross(
		crossing{name: "interface of its own namespace is allowed", probe: words("inuser", "interfaceup")},
		crossing{name: "name of its own namespace is allowed", probe: words("inuser", "sethostname", "inside")},
		crossing{name: "permitted file system in its own namespace is allowed", probe: words("inuser", "newns", "newfs", "tmpfs")},
	)
	b = newBorder(t, everything, noMount)
	b.step("file system in its own namespace is denied", isDenied, func() {
		a := b.launch(eperm, nil, words("inuser", "newns", "newfs", "tmpfs"))
		b.expectDenied(a, denial{actions: "mount", dir: true})
	})
	b.cross(crossing{name: "context of a file system is denied", free: words("newfs", "tmpfs"), probe: words("newfs", "tmpfs"), errno: eperm, want: denial{actions: "mount", dir: true}})
}

// TestGrants lets one capability through, and no other: nor those that nothing
// grants.
func TestGrants(t *testing.T) {
	b := newBorder(t, everything)
	denied := forbidden(abi.BoundaryCapability, []crossing{{name: "realtime scheduling without a grant is denied", probe: words("realtime")}})
	b.cross(denied...)
	must(t, b.Grant(b.id, abi.Grants{Caps: nice}))
	b.cross(
		crossing{name: "granted realtime scheduling is allowed", probe: words("realtime"), again: true},
		crossing{name: "granted priority is allowed", probe: words("priority", "-20"), again: true},
	)
	b.cross(forbidden(abi.BoundaryCapability, []crossing{{name: "limit beside a grant is denied", probe: words("raiselimit")}})...)
	must(t, b.Grant(b.id, abi.Grants{Caps: ^uint64(0)}))
	b.cross(
		crossing{name: "granted limit is allowed", probe: words("raiselimit"), again: true},
		crossing{name: "granted interface is allowed", probe: words("interface", "lo"), again: true},
	)
	b.cross(forbidden(abi.BoundarySystem, []crossing{
		{name: "swap with every grant is denied", probe: words("swapoff", "@/none")},
		{name: "page with every grant is denied", probe: words("hwpoison"), absent: []syscall.Errno{syscall.EINVAL}},
		{name: "clearing the log with every grant is denied", probe: words("syslog", "5")},
	})...)
	b.cross(forbidden(abi.BoundaryClock, []crossing{{name: "clock that policies read with every grant is denied", probe: words("settime")}})...)
	b.cross(forbidden(abi.BoundaryBPF, []crossing{{name: "bpf with every grant is denied", probe: words("bpf", "next")}})...)
	must(t, b.Grant(b.id, abi.Grants{}))
	b.cross(denied...)
}
