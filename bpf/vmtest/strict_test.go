package vmtest

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
)

func newStrict(t *testing.T, policies ...string) *border {
	t.Helper()
	b := newBorder(t, policies...)
	must(t, b.SetStrict(b.id, true))
	return b
}

// TestStrictMemory makes executable memory that no file holds. Policy permits
// everything.
//
//	@
//	├── data     4096 bytes
//	├── tool     a program
//	└── ovl/data on an overlay
func TestStrictMemory(t *testing.T) {
	b := newStrict(t, everything)
	b.tree("data", "lower/data")
	b.program("tool")
	b.overlay()
	const r, w, x = unix.PROT_READ, unix.PROT_WRITE, unix.PROT_EXEC
	prot := func(n int) string { return fmt.Sprint(n) }
	private, shared := fmt.Sprint(unix.MAP_PRIVATE), fmt.Sprint(unix.MAP_SHARED)
	mapped := denial{actions: "map"}
	in := b.insider(nil)
	pid := fmt.Sprint(in.cmd.Process.Pid)
	own := words("open", "w", "/proc/self/mem")
	b.cross(forbidden(abi.BoundaryMemory, []crossing{
		{name: "filling mappings by userfaultfd is denied", free: words("userfaultfd", "1"), probe: words("userfaultfd", "1"), again: true},
		{name: "executable memory is denied", inside: words("mapanon", prot(r|w)), free: words("mapanon", prot(r|x)), probe: words("mapanon", prot(r|x)), want: mapped},
		{name: "writable and executable memory is denied", free: words("mapanon", prot(r|w|x)), probe: words("mapanon", prot(r|w|x)), want: mapped},
		{name: "memory made executable is denied", free: words("anonymous"), probe: words("anonymous"), want: mapped},
		{name: "private mapping, writable and executable, is denied", inside: words("mapas", prot(r|x), private, "@/data"), free: words("mapas", prot(r|w|x), private, "@/data"),
			probe: words("mapas", prot(r|w|x), private, "@/data"), want: mapped},
		{name: "shared mapping, writable and executable, is denied", inside: words("mapas", prot(r|w), shared, "@/data"), probe: words("mapas", prot(r|w|x), shared, "@/data"), want: mapped},
		{name: "private mapping that was written is not made executable", inside: words("mprotect", "@/data"), free: words("written", "@/data"), probe: words("written", "@/data"), want: mapped},
		{name: "private mapping on an overlay that was written is not made executable", inside: words("mmap", "@/ovl/data"), free: words("written", "@/ovl/data"), probe: words("written", "@/ovl/data"), want: mapped},
		{name: "executable mapping is not made writable", free: words("writable", "@/data"), probe: words("writable", "@/data"), want: mapped},
		{name: "executable memory file is denied", free: words("mapmem"), probe: words("mapmem"), want: mapped},
		{name: "memory file made executable is denied", free: words("mapmem2"), probe: words("mapmem2"), want: mapped},
		{name: "executable memory of System V is denied", free: words("mapshm"), probe: words("mapshm"), want: mapped},
	})...)
	b.stage.run(
		trial{name: "task inside is not traced", control: words("kill", pid, "0"), probe: words("attach_ptrace", pid), errno: eperm, want: denial{actions: "trace", reason: abi.ReasonBoundary}},
		trial{name: "parent inside does not trace", probe: words("traceus"), errno: eperm, want: denial{actions: "trace", reason: abi.ReasonBoundary}},
		trial{name: "program is run", probe: words("exec", "@/tool")},
		trial{name: "memory is written", probe: words("mapanon", prot(r|w))},
	)
	b.step("its own memory by proc is not written", isDenied, func() {
		b.expectAllowed(b.start("", nil, 0, "open", "r", "/proc/self/mem").wait())
		a := b.start("", nil, eperm, own...).wait()
		b.expectBoundary(abi.BoundaryMemory)
		b.expectDenied(a, denial{actions: "open,write", path: fmt.Sprintf("/proc/%d/mem", a.pid), reason: abi.ReasonBoundary})
	})
	for _, how := range [][]string{words("heap"), words("implied", "@/data")} {
		b.step("personality that makes memory executable kills ("+how[0]+")", isDenied, func() {
			a := b.start("", nil, 0, how...).wait()
			if a.startErr != nil || a.code != -1 {
				b.t.Errorf("not killed: %v", a)
			}
			b.expectBoundary(abi.BoundaryMemory)
			b.expectEvents(a.pid, denial{actions: "map", reason: abi.ReasonBoundary})
		})
	}
	must(t, b.SetStrict(b.id, false))
	b.cross(crossing{name: "no longer strict, memory made executable is allowed", probe: words("anonymous")},
		crossing{name: "no longer strict, executable heap is a limit", probe: words("heap"), limit: limitAnonymous})
}

// TestStrictDescriptors uses descriptors that an outsider opened before.
//
//	@
//	├── ws/file, dir/       everything but execute
//	├── look/file           open and read
//	├── bin/tool            execute
//	├── secret/key, dir/    nothing
//	└── ovl/all/file        as ws
func TestStrictDescriptors(t *testing.T) {
	b := newStrict(t, permit(anyUse, "@/ws/", "@/ovl/all/"), permit(look, "@/look/"), permit("execute", "@/bin/"))
	b.tree("ws/file", "ws/dir/", "look/file", "secret/key", "secret/dir/", "lower/all/file", "lower/none/file")
	b.program("bin/tool")
	b.overlay()
	held := func(flags int, paths ...string) []*os.File {
		var list []*os.File
		for _, path := range paths {
			f := must1(os.OpenFile(b.at(path), flags, 0))(t)
			t.Cleanup(func() { f.Close() })
			list = append(list, f)
		}
		return list
	}
	read, write := held(os.O_RDONLY, "@/ws/file", "@/secret/key"), held(os.O_RDWR, "@/ws/file", "@/secret/key")
	look := held(os.O_RDWR, "@/ws/file", "@/look/file")
	dirs, ovl := held(os.O_RDONLY, "@/ws/dir", "@/secret/dir"), held(os.O_RDONLY, "@/ovl/all/file", "@/ovl/none/file")
	key := on("read", "@/secret/key")
	both := on("read,write", "@/secret/key")
	private, shared := fmt.Sprint(unix.MAP_PRIVATE), fmt.Sprint(unix.MAP_SHARED)
	uses := []trial{
		{name: "read is denied", files: read, control: words("readfd", "3"), probe: words("readfd", "4"), errno: eacces, want: key},
		{name: "read on an overlay is denied", files: ovl, control: words("readfd", "3"), probe: words("readfd", "4"), errno: eacces, want: on("read", "@/ovl/none/file")},
		{name: "write is denied", files: write, control: words("writefd", "3"), probe: words("writefd", "4"), errno: eacces, want: on("write", "@/secret/key")},
		{name: "write where reading is granted is denied", files: look, control: words("readfd", "4"), probe: words("writefd", "4"), errno: eacces, want: on("write", "@/look/file")},
		{name: "mapping is denied", files: read, control: words("mapfd", "3", "1", private), probe: words("mapfd", "4", "1", private), errno: eacces, want: key},
		{name: "writable mapping is denied", files: write, control: words("mapfd", "3", "3", shared), probe: words("mapfd", "4", "3", shared), errno: eacces, want: both},
		{name: "sendfile is denied", files: read, control: words("sendfd", "3"), probe: words("sendfd", "4"), errno: eacces, want: key},
		{name: "listing is denied", files: dirs, control: words("listfd", "3"), probe: words("listfd", "4"), errno: eacces,
			want: denial{actions: "read", path: "@/secret/dir", dir: true}},
		{name: "lock is denied", files: read, control: words("lockfd", "3"), probe: words("lockfd", "4"), errno: eacces, want: key},
		{name: "fallocate is denied", files: write, control: words("punchfd", "3"), probe: words("punchfd", "4"), errno: eacces, want: on("write", "@/secret/key")},
	}
	b.stage.run(uses...)
	b.stage.run(
		trial{name: "ioctl is denied", files: read, control: words("kill", "0", "0"), probe: words("sizefd", "4"), errno: eacces, want: key},
		trial{name: "program that may only be executed is run", probe: words("exec", "@/bin/tool")},
		trial{name: "file opened inside is read", probe: words("slurp", "@/ws/file")},
		trial{name: "file opened inside on an overlay is read", probe: words("slurp", "@/ovl/all/file")},
		trial{name: "copy-up inside is allowed", probe: words("open", "rw|append", "@/ovl/all/file")},
	)
	must(t, b.SetStrict(b.id, false))
	for _, u := range uses {
		b.stage.run(trial{name: "not strict, a limit: " + u.name[:len(u.name)-len(" is denied")], files: u.files, probe: u.probe, limit: limitDescriptor})
	}
}
