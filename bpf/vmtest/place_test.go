package vmtest

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// TestBoundaryOwnDirectories reaches for what the agent keeps. Policy permits everything.
//
//	@
//	├── up/own/     is guarded: key, file, sub/
//	├── up/keep/    as well: key, file, sub/
//	├── alias/      the same, by a bind mount
//	├── plain/      is not: file, other, dir/, at/, up/, above/
//	└── low/, work/ what else an overlay takes
func TestBoundaryOwnDirectories(t *testing.T) {
	b := newBorder(t, everything)
	b.tree("up/own/key", "up/own/file", "up/own/sub/", "up/keep/key", "up/keep/file", "up/keep/sub/", "up/side/", "plain/file", "plain/other", "plain/dir/", "plain/at/", "alias/",
		"plain/up/key", "plain/up/file", "plain/up/kept", "plain/up/sub/", "plain/above/own/", "low/", "work/")
	must(t, unix.Mount(b.at("@/up/own"), b.at("@/alias"), "", unix.MS_BIND, ""))
	t.Cleanup(func() {
		must(t, b.Guard(nil))
		must(t, unix.Unmount(b.at("@/alias"), unix.MNT_DETACH))
		for unix.Unmount(b.at("@/plain/at"), unix.MNT_DETACH) == nil {
		}
	})
	must(t, b.Guard([]string{b.at("@/up/own"), b.at("@/up/keep"), b.at("@/none")}))
	layer := denial{actions: "open,read", path: "(outside)/key", status: abi.PathOutside}
	if kernel() == "6.1" { // which shows the file of a layer by none of its paths
		layer = denial{actions: "open,read"}
	}
	moved := func(from, to string) denial {
		return denial{actions: "create,delete,move", path: from, dest: to}
	}
	dirMoved := func(from, to string) denial {
		return denial{actions: "create,delete,move", path: from, dest: to, dir: true}
	}
	b.cross(forbidden(abi.BoundaryControl, []crossing{
		{name: "reading a key is denied", inside: words("open", "r", "@/plain/file"), free: words("open", "r", "@/up/own/key"), probe: words("open", "r", "@/up/own/key"), want: on("open,read", "@/up/own/key"), again: true},
		{name: "reading it by another mount is denied", free: words("open", "r", "@/alias/key"), probe: words("open", "r", "@/alias/key"), want: on("open,read", "@/alias/key")},
		{name: "writing is denied", inside: words("open", "w", "@/plain/file"), free: words("open", "w", "@/up/own/file"), probe: words("open", "w", "@/up/own/file"), want: on("open,write", "@/up/own/file")},
		{name: "listing is denied", inside: words("open", "r", "@/plain"), free: words("open", "r", "@/up/own"), probe: words("open", "r", "@/up/own"), want: onDir("open,read", "@/up/own")},
		{name: "making a file is denied", inside: words("mkreg", "@/plain/new"), probe: words("mkreg", "@/up/own/new"), want: on("create", "@/up/own/new")},
		{name: "making a directory is denied", inside: words("mkdir", "@/plain/newdir"), probe: words("mkdir", "@/up/own/newdir"), want: onDir("create", "@/up/own/newdir")},
		{name: "making a symbolic link is denied", inside: words("symlink", "x", "@/plain/sym"), probe: words("symlink", "x", "@/up/own/sym"), want: on("create", "@/up/own/sym")},
		{name: "a link in is denied", inside: words("link", "@/plain/other", "@/plain/link"), probe: words("link", "@/plain/other", "@/up/own/link"), want: denial{actions: "create", path: "@/plain/other", dest: "@/up/own/link"}},
		{name: "a link out is denied", probe: words("link", "@/up/own/key", "@/plain/key"), want: denial{actions: "create", path: "@/up/own/key", dest: "@/plain/key"}},
		{name: "removing is denied", inside: words("unlink", "@/plain/link"), probe: words("unlink", "@/up/own/file"), want: on("delete", "@/up/own/file")},
		{name: "removing a directory in it is denied", inside: words("rmdir", "@/plain/newdir"), probe: words("rmdir", "@/up/own/sub"), want: onDir("delete", "@/up/own/sub")},
		{name: "moving out is denied", inside: words("rename", "@/plain/new", "@/plain/newer"), probe: words("rename", "@/up/own/file", "@/plain/out"), want: moved("@/up/own/file", "@/plain/out")},
		{name: "moving in is denied", probe: words("rename", "@/plain/other", "@/up/own/in"), want: moved("@/plain/other", "@/up/own/in")},
		{name: "moving it away is denied", inside: words("rename", "@/plain/dir", "@/plain/dir2"), probe: words("rename", "@/up/own", "@/up/away"), want: dirMoved("@/up/own", "@/up/away")},
		{name: "moving what it is in away is denied", probe: words("rename", "@/up", "@/away"), want: dirMoved("@/up", "@/away")},
		{name: "another in its place is denied", probe: words("exchange", "@/up/side", "@/up/own"), want: dirMoved("@/up/side", "@/up/own")},
		{name: "chmod is denied", inside: words("chmod", "@/plain/file"), free: words("chmod", "@/up/own/key"), probe: words("chmod", "@/up/own/key"), want: on("chmod", "@/up/own/key")},
		{name: "touching is denied", inside: words("touch", "@/plain/file"), free: words("touch", "@/up/keep/key"), probe: words("touch", "@/up/keep/key"), want: on("write,touch", "@/up/keep/key")},
		{name: "an access list is denied", inside: words("setacl", "@/plain/file"), probe: words("setacl", "@/up/keep/key"), want: on("set_x_attr", "@/up/keep/key")},
		{name: "reading a layer of an overlay is denied", inside: words("fsoverlay", "@/plain", "@/up/side", "other"), free: words("fsoverlay", "@/up/own", "@/up/side", "key"), probe: words("fsoverlay", "@/up/own", "@/up/side", "key"), want: layer},
		{name: "mounting over it is denied", inside: words("mount", "tmpfs", "@/plain/at"), probe: words("mount", "tmpfs", "@/up/own"), want: onDir("mount", "@/up/own")},
		{name: "mounting over the root is denied", probe: words("mount", "tmpfs", "/"), want: onDir("mount", "/")},
		{name: "making the root read-only is denied", probe: words("remount", "/"), want: onDir("mount", "/")},
		{name: "making the root's file system read-only is denied", probe: words("reconfigure", "/"), want: denial{actions: "mount"}},
		{name: "mounting over what it is in is denied", probe: words("bindmount", "@/plain", "@/up"), want: onDir("mount", "@/up")},
	})...)
	b.layers()
	// What is beside it, or above, is as policy says.
	b.cross(crossing{name: "beside it is allowed", inside: words("mkdir", "@/up/side/new"), probe: words("rename", "@/up/side", "@/up/moved")})
	// And one that was made anew is guarded once it is said again.
	must(t, os.Rename(b.at("@/up/own"), b.at("@/up/old")))
	must(t, os.Mkdir(b.at("@/up/own"), 0o755))
	must(t, os.WriteFile(b.at("@/up/own/key"), nil, 0o600))
	must(t, b.Guard([]string{b.at("@/up/own")}))
	b.cross(forbidden(abi.BoundaryControl, []crossing{
		{name: "the one made anew is denied", inside: words("open", "r", "@/up/old/key"), free: words("open", "r", "@/up/own/key"), probe: words("open", "r", "@/up/own/key"), want: on("open,read", "@/up/own/key")},
	})...)
}

// TestBoundaryViewsOfTheKernel takes away, or covers, what all others look at the kernel by,
// and changes its options. Policy permits everything.
//
//	@/at/     for what is mounted
//	@/own/    procfs, of the test's own
func TestBoundaryViewsOfTheKernel(t *testing.T) {
	b := newBorder(t, everything)
	b.tree("at/", "own/", "shared/")
	b.mounted("proc", "@/own")
	t.Cleanup(func() {
		for unix.Unmount(b.at("@/at"), unix.MNT_DETACH) == nil {
		}
	})
	must(t, unix.Mount("none", "/proc", "", unix.MS_SHARED, ""))
	t.Cleanup(func() { must(t, unix.Mount("none", "/proc", "", unix.MS_PRIVATE, "")) })
	var views []crossing
	for _, view := range []string{"/proc", "/sys"} {
		do := func(what string, inside, probe []string, want denial) {
			if inside != nil {
				inside = append(words("alone"), inside...)
			}
			views = append(views, crossing{name: what + " " + view + " is denied", inside: inside, probe: probe, want: want})
		}
		do("mounting over", words("mount", "tmpfs", view), words("mount", "tmpfs", view), onDir("mount", view))
		do("binding over", words("bindmount", "@/at", view), words("bindmount", "@/at", view), onDir("mount", view))
		do("making read-only", words("remount", view), words("remount", view), onDir("mount", view))
		do("moving", nil, words("shift", view, "@/at"), onDir("mount", "@/at"))
		do("unmounting", words("detach", "@/own"), words("detach", view), onDir("unmount", view))
	}
	views = append(views,
		crossing{name: "mounting over a part of procfs is denied", inside: words("alone", "mount", "tmpfs", "/proc/sys"), probe: words("mount", "tmpfs", "/proc/sys"), want: onDir("mount", "/proc/sys")},
		crossing{name: "attaching over /sys is denied", inside: words("alone", "attach", "@/at", "/sys"), probe: words("attach", "@/at", "/sys"), want: onDir("mount", "/sys")},
		crossing{name: "mounting over /proc where others see it is denied", probe: words("newns", "mount", "tmpfs", "/proc"), want: denial{actions: "mount", path: "(outside)/proc", dir: true, status: abi.PathOutside}},
	)
	for _, view := range []string{"/proc", "/sys"} {
		views = append(views, crossing{name: "changing the file system of " + view + " is denied", probe: words("reconfigure", view), want: denial{actions: "mount"}})
	}
	b.cross(forbidden(abi.BoundaryControl, views)...)
	b.cross(forbidden(abi.BoundaryControl, []crossing{
		{name: "options of debugfs are denied", inside: words("mountwith", "tmpfs", "mode=0700", "@/at"), free: words("mountwith", "debugfs", "mode=0700", "@/shared"), probe: words("mountwith", "debugfs", "mode=0777", "@/at"), want: onDir("mount", "@/at")},
		{name: "options of tracefs are denied", free: words("mountwith", "tracefs", "mode=0700", "@/shared"), probe: words("mountwith", "tracefs", "mode=0777", "@/at"), want: onDir("mount", "@/at")},
		{name: "options of /dev are denied", free: words("mountwith", "devtmpfs", "mode=0755", "@/shared"), probe: words("mountwith", "devtmpfs", "mode=0777", "@/at"), want: onDir("mount", "@/at")},
		{name: "options of debugfs in a new context are denied", inside: words("newfswith", "tmpfs", "mode", "0700"), free: words("newfswith", "debugfs", "mode", "0700"), probe: words("newfswith", "debugfs", "mode", "0777"), want: denial{actions: "mount"}},
		{name: "options of cgroups in a new context are denied", free: words("newfswith", "cgroup", "name", "trial"), freed: unix.EINVAL, probe: words("newfswith", "cgroup", "name", "trial2"), want: denial{actions: "mount"}},
	})...)
	for range 3 {
		must(t, unix.Unmount(b.at("@/shared"), 0))
	}
	for dir, mode := range map[string]os.FileMode{"/sys/kernel/debug": 0o700, "/sys/kernel/tracing": 0o700, "/dev": 0o755} {
		if info := must1(os.Stat(dir))(t); info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v", dir, info.Mode())
		}
	}
	// A directory on which others have something mounted loses that as it is removed where it is not mounted.
	b.tree("host/", "file", "bare/", "shared2/", "shared3/")
	b.mounted("tmpfs", "@/host")
	b.mounted("tmpfs", "@/shared2")
	must(t, unix.Mount(b.at("@/shared2"), b.at("@/shared3"), "", unix.MS_BIND, ""))
	t.Cleanup(func() { unix.Unmount(b.at("@/shared3"), unix.MNT_DETACH) })
	must(t, unix.Mount("none", b.at("@/shared2"), "", unix.MS_SHARED, ""))
	away := func(probe ...string) []string {
		return append(words("alone", "then", "umount", "@/host", "--"), probe...)
	}
	outside := func(actions, path string) denial {
		return denial{actions: actions, path: "(outside)" + b.at(path), dir: true, status: abi.PathOutside}
	}
	moving := outside("create,delete,move", "@/host")
	moving.dest = "(outside)" + b.at("@/other")
	over := outside("create,delete,move", "@/bare")
	over.dest = "(outside)" + b.at("@/host")
	b.cross(forbidden(abi.BoundaryControl, []crossing{
		{name: "removing what others have mounted is denied", inside: words("then", "mkdir", "@/gone", "--", "rmdir", "@/gone"), probe: away("rmdir", "@/host"), want: outside("delete", "@/host")},
		{name: "moving what others have mounted is denied", probe: away("rename", "@/host", "@/other"), want: moving},
		{name: "another in its place is denied", probe: away("rename", "@/bare", "@/host"), want: over},
		{name: "another group of mounts is denied", free: words("setgroup", "@/shared2", "@/shared3"), probe: words("setgroup", "@/shared2", "@/shared3"), want: onDir("mount", "@/shared3")},
	})...)
	if st := must1(os.ReadFile("/proc/self/mountinfo"))(t); strings.Count(string(st), b.at("@/host")+" ") != 1 {
		t.Errorf("the host's mount is gone: %s", st)
	}
	b.cross(
		crossing{name: "a procfs of its own is allowed", probe: words("mountwith", "proc", "hidepid=2", "@/at")},
		crossing{name: "unmounting what is not seen by others is allowed", probe: words("alone", "detach", "@/own"), again: true},
	)
}

// layers changes what is guarded through an overlay of which it is the upper layer, and
// the same in one of which it is not.
func (b *border) layers() {
	upper := func(dir, do string, more ...string) []string {
		return append(words("upper", "@/low", dir, "@/work", "@/plain/at", do), more...)
	}
	list := []crossing{{name: "moving it away in a layer is denied", // which marks it first
		inside: upper("@/plain/above", "rename", "@/plain/at/own", "@/plain/at/away"),
		probe:  upper("@/up", "rename", "@/plain/at/keep", "@/plain/at/away"), want: onDir("set_x_attr", "@/up/keep")}}
	for _, c := range []struct {
		name string
		do   []string
		want denial
	}{
		{"making a file", words("mkreg", "@/plain/at/new"), on("create", "@/up/keep/new")},
		{"making a directory", words("mkdir", "@/plain/at/newdir"), denial{actions: "create"}},
		{"making a symbolic link", words("symlink", "x", "@/plain/at/sym"), denial{actions: "create"}},
		{"making a fifo", words("fifo", "@/plain/at/fifo"), denial{actions: "create"}},
		{"a link", words("link", "@/plain/at/key", "@/plain/at/link"), denial{actions: "create"}},
		{"moving", words("rename", "@/plain/at/key", "@/plain/at/moved"), denial{actions: "move"}},
		{"removing", words("unlink", "@/plain/at/file"), on("delete", "@/up/keep/file")},
		{"removing a directory", words("rmdir", "@/plain/at/sub"), denial{actions: "delete"}},
	} {
		list = append(list, crossing{name: c.name + " in a layer is denied", want: c.want,
			inside: upper("@/plain/up", c.do[0], c.do[1:]...), probe: upper("@/up/keep", c.do[0], c.do[1:]...)})
	}
	for _, c := range []struct {
		name, do string
		want     denial
	}{
		{"truncating", "truncate", on("write", "@/up/keep/key")},
		{"chmod", "chmod", on("chmod", "@/up/keep/key")},
		{"chown", "chown", on("chown", "@/up/keep/key")},
		{"touching", "touch", on("write,touch", "@/up/keep/key")},
		{"an access list", "setacl", on("set_x_attr", "@/up/keep/key")},
	} {
		list = append(list, crossing{name: c.name + " in a layer is denied", want: c.want, again: true,
			inside: upper("@/plain/up", c.do, "@/plain/at/kept"), free: upper("@/up/keep", c.do, "@/plain/at/key"), probe: upper("@/up/keep", c.do, "@/plain/at/key")})
	}
	b.cross(forbidden(abi.BoundaryControl, list)...)
	work := bpffs + "/vmtest-layer"
	for _, dir := range []string{work, work + "/upper", work + "/work"} {
		must(b.t, os.Mkdir(dir, 0o755))
	}
	b.t.Cleanup(func() { must(b.t, os.RemoveAll(work)) })
	// The overlay is read-only then.
	b.cross(crossing{name: "an overlay's directory among pins is denied", inside: upper("@/plain/up", "mkdir", "@/plain/at/pins"),
		probe: words("upper", "@/low", work+"/upper", work+"/work", "@/plain/at", "mkdir", "@/plain/at/pins"),
		errno: unix.EROFS, want: denial{actions: "create"}, boundary: abi.BoundaryControl})
	if list, err := os.ReadDir(work + "/work"); err != nil || len(list) != 0 {
		b.t.Errorf("among pins there is %v, %v", list, err)
	}
}
