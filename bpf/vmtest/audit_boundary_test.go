package vmtest

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// TestAuditKeepsTheBoundary tries in audit mode to end enforcement or to leave
// the workload: refused as ever, and the event says so. What policies deny is
// reported, and allowed.
//
//	@/ws/      permitted
//	@/other/   not
func TestAuditKeepsTheBoundary(t *testing.T) {
	b := newBorder(t)
	b.tree("ws/file", "ws/own/", "other/file", "other/own/")
	b.install(abi.Audit, permit(anyUse, "@/ws/"))
	home := bpffs + "/vmtest" + strings.ReplaceAll(b.dir, "/", "-")
	must(t, os.MkdirAll(home, 0o700))
	pin(t, home+"/pin")
	t.Cleanup(func() { os.RemoveAll(home); unix.Unmount(b.at("@/other/own"), unix.MNT_DETACH) })
	out := b.bystander()
	must(t, os.Mkdir(b.cgroup+"/free", 0o755))
	t.Cleanup(func() { os.Remove(b.cgroup + "/free") })
	pid := fmt.Sprint(out.cmd.Process.Pid)

	b.cross(forbidden(abi.BoundaryControl, []crossing{
		{name: "removing a pin is denied", probe: words("unlink", home+"/pin"), want: on("delete", home+"/pin")},
		{name: "reading a pin is denied", probe: words("open", "r", home+"/pin"), want: on("open,read", home+"/pin")},
		{name: "umount of bpffs is denied", probe: words("detach", bpffs), want: onDir("unmount", bpffs)},
		{name: "mount over bpffs is denied", probe: words("mount", "tmpfs", bpffs), want: onDir("mount", bpffs)},
		{name: "remount of bpffs is denied", probe: words("remount", bpffs), want: onDir("mount", bpffs)},
		{name: "moving bpffs is denied", probe: words("movemount", bpffs, "@/ws/own"), want: onDir("mount", "@/ws/own")},
		{name: "move_mount of bpffs is denied", probe: words("shift", bpffs, "@/ws/own"), want: onDir("mount", "@/ws/own")},
		{name: "move_mount of what carries bpffs is denied", probe: words("shift", "/sys", "@/ws/own"), want: onDir("mount", "@/ws/own")},
		{name: "umount of cgroups is denied", probe: words("detach", cgroups), want: onDir("unmount", cgroups)},
		{name: "mount over a cgroup is denied", probe: words("mount", "tmpfs", b.cgroup), want: onDir("mount", b.cgroup)},
		{name: "control of the cgroup is denied", free: words("open", "w", b.cgroup+"/cgroup.procs"), probe: words("open", "w", b.cgroup+"/cgroup.procs"), want: on("open,write", b.cgroup+"/cgroup.procs")},
		{name: "mount attributes are denied", probe: words("setattr", bpffs), want: denial{actions: "mount"}},
		{name: "control of the kernel is denied", probe: words("open", "w", "/proc/sys/kernel/ftrace_enabled"), want: on("open,write", "/proc/sys/kernel/ftrace_enabled")},
	})...)
	b.cross(crossing{name: "device that may do anything is denied", free: words("open", "w", "/dev/kmsg"), probe: words("open", "w", "/dev/kmsg"), errno: eacces, want: on("open,write", "/dev/kmsg")})
	b.cross(crossing{name: "mount attributes in a mount namespace of its own are denied", probe: words("newns", "setattr", bpffs), errno: eperm, want: denial{actions: "mount", dir: true}})
	b.cross(forbidden(abi.BoundarySignal, []crossing{{name: "killing an outsider is denied", probe: words("kill", pid, "9"), want: denial{actions: "kill"}}})...)
	b.cross(forbidden(abi.BoundaryProcess, []crossing{
		{name: "tracing an outsider is denied", probe: words("attach_ptrace", pid), want: denial{actions: "trace"}},
		{name: "memory of an outsider is denied", probe: words("open", "w", out.proc()+"/mem"), want: on("open,write", out.proc()+"/mem")},
		{name: "limit of an outsider is denied", probe: words("prlimit", pid)},
	})...)
	b.cross(forbidden(abi.BoundaryBPF, []crossing{{name: "bpf is denied", free: words("bpf", "next"), probe: words("bpf", "next")}, {name: "making a map is denied", probe: words("bpf", "create")}})...)
	b.cross(forbidden(abi.BoundaryModule, []crossing{{name: "module is denied", free: words("module"), freed: unix.ENOEXEC, probe: words("module")}})...)
	b.cross(forbidden(abi.BoundarySystem, []crossing{{name: "swap is denied", probe: words("swapoff", "@/ws/file")}})...)
	b.cross(forbidden(abi.BoundaryIdentity, []crossing{{name: "another executable is denied", probe: words("setmap")}})...)
	b.cross(forbidden(abi.BoundaryCapability, []crossing{{name: "capability is denied", free: words("realtime"), probe: words("realtime")}})...)

	for _, c := range []struct {
		name string
		argv []string
		want denial
	}{
		{"open that a policy denies is reported", words("open", "r", "@/other/file"), on("open,read", "@/other/file")},
		{"mount that a policy denies is reported", words("mount", "tmpfs", "@/other/own"), onDir("mount", "@/other/own")},
		{"new file system that a policy denies is reported", words("newfs", "tmpfs"), denial{actions: "mount", dir: true}},
	} {
		b.step(c.name, isAllowed, func() {
			c.want.mode = abi.Audit
			b.expectAudited(b.launch(0, nil, c.argv), c.want)
		})
	}
	b.cross(crossing{name: "what is permitted is silent", probe: words("open", "r", "@/ws/file")})
}
