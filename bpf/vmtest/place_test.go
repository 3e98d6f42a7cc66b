package vmtest

import (
	"os"
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
