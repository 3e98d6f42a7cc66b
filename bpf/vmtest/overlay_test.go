package vmtest

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// overlay mounts @/ovl over two layers that nothing grants.
//
//	@
//	├── lower/       layer: every file that a test names
//	├── upper/       layer: "up" only
//	├── work/        of overlayfs itself
//	└── ovl/         the mount
func (s *stage) overlay() {
	s.t.Helper()
	s.tree("upper/", "work/", "ovl/")
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", s.at("@/lower"), s.at("@/upper"), s.at("@/work"))
	must(s.t, unix.Mount("overlay", s.at("@/ovl"), "overlay", 0, options))
	s.t.Cleanup(func() {
		if err := unix.Unmount(s.at("@/ovl"), unix.MNT_DETACH); err != nil {
			s.t.Error(err)
		}
	})
}

// TestOverlay uses an overlay that exists, as a container's root is one: only
// the overlay's own paths count, whatever it opens in its layers. Each place
// of the overlay has its rights, and the layers are forbidden to the letter.
//
//	@/ovl
//	├── all/      everything, also execute and map
//	├── edit/     open, read, write
//	├── look/     open and read
//	└── none/     nothing
func TestOverlay(t *testing.T) {
	s := newStage(t, permit(anyUse+" execute map", "@/ovl/all/"), permit("open read write", "@/ovl/edit/"), permit(look, "@/ovl/look/"),
		forbid("*", "@/lower/", "@/upper/", "@/work/"),
		// The layers' private mounts begin at the layer: should such a path
		// ever count, it would be this.
		forbid("*", "/all/", "/edit/"))
	for _, dir := range []string{"all", "edit", "look", "none"} {
		for _, f := range []string{"read", "write", "both", "trunc", "truncate", "chmod", "chown", "unlink", "rename", "link", "map", "copy", "held", "dir/"} {
			s.tree("lower/" + dir + "/" + f)
		}
		s.program("lower/" + dir + "/tool")
	}
	s.tree("upper/all/up", "upper/none/up")
	s.overlay()

	// For /proc/self/map_files.
	must(t, s.Grant(s.id, abi.Grants{Caps: must1(abi.ParseCapability("CHECKPOINT_RESTORE"))(t)}))
	op := func(words ...string) []string { return words }
	on := func(actions, path string) denial { return denial{actions: actions, path: path} }
	open := func(flags, path string) []string { return op("open", flags, path) }
	const all, edit, look, none = "@/ovl/all/", "@/ovl/edit/", "@/ovl/look/", "@/ovl/none/"

	s.run(
		trial{name: "reading the lower layer is denied", control: open("r", all+"read"), probe: open("r", none+"read"), errno: eacces, want: on("open,read", none+"read")},
		trial{name: "reading the upper layer is denied", control: open("r", all+"up"), probe: open("r", none+"up"), errno: eacces, want: on("open,read", none+"up")},
		trial{name: "listing is denied", control: open("r", "@/ovl/all"), probe: open("r", "@/ovl/none"), errno: eacces,
			want: denial{actions: "open,read", path: "@/ovl/none", dir: true}},
		trial{name: "writing with copy-up is denied", control: open("w", all+"write"), probe: open("w", look+"write"), errno: eacces, want: on("write", look+"write")},
		trial{name: "copy-up needs the right to write only", probe: open("rw", edit+"both")},
		trial{name: "truncating open is denied", control: open("w|trunc", edit+"trunc"), probe: open("r|trunc", look+"trunc"), errno: eacces, want: on("write", look+"trunc")},
		trial{name: "truncate is denied", control: op("truncate", edit+"truncate"), probe: op("truncate", look+"truncate"), errno: eacces, want: on("write", look+"truncate")},
		trial{name: "new file is denied", control: open("w|creat", all+"new"), probe: open("w|creat", edit+"new"), errno: eacces, want: on("create", edit+"new")},
		trial{name: "mkdir is denied", control: op("mkdir", all+"d"), probe: op("mkdir", edit+"d"), errno: eacces, want: denial{actions: "create", path: edit + "d", dir: true}},
		trial{name: "symlink is denied", control: op("symlink", "x", all+"s"), probe: op("symlink", "x", edit+"s"), errno: eacces, want: on("create", edit+"s")},
		trial{name: "file without a name is denied", control: open("rw|tmpfile", all[:len(all)-1]), probe: open("rw|tmpfile", edit[:len(edit)-1]), errno: eacces,
			want: on("create", edit+"#*"), absent: []syscall.Errno{syscall.EOPNOTSUPP}},
		trial{name: "unlink is denied", control: op("unlink", all+"unlink"), probe: op("unlink", edit+"unlink"), errno: eacces, want: on("delete", edit+"unlink")},
		trial{name: "rmdir is denied", control: op("rmdir", all+"dir"), probe: op("rmdir", edit+"dir"), errno: eacces, want: denial{actions: "delete", path: edit + "dir", dir: true}},
		trial{name: "rename is denied", control: op("rename", all+"rename", all+"renamed"), probe: op("rename", edit+"rename", edit+"renamed"), errno: eacces,
			want: denial{actions: "create,move", path: edit + "rename", dest: edit + "renamed"}},
		trial{name: "rename that gains is refused", control: op("rename", all+"renamed", all+"rename"), probe: op("rename", all+"rename", edit+"renamed"), errno: eacces,
			want: denial{actions: "create", path: all + "rename", dest: edit + "renamed"}},
		trial{name: "link is refused", control: op("link", all+"link", all+"linked"), probe: op("link", none+"link", all+"linked2"), errno: exdev,
			want: denial{actions: "create", path: none + "link", dest: all + "linked2", reason: abi.ReasonGain}},
		trial{name: "chmod is denied", control: op("chmod", all+"chmod"), probe: op("chmod", edit+"chmod"), errno: eacces, want: on("chmod", edit+"chmod")},
		trial{name: "chown is denied", control: op("chown", all+"chown"), probe: op("chown", edit+"chown"), errno: eacces, want: on("chown", edit+"chown")},
		trial{name: "execution is denied", control: op("exec", all+"tool"), probe: op("exec", look+"tool"), errno: eacces, want: on("execute", look+"tool")},
		trial{name: "executable mapping is denied", control: op("mmap", all+"map"), probe: op("mmap", look+"map"), errno: eacces, want: on("execute,map", look+"map")},
		trial{name: "mapping made executable is denied", control: op("mprotect", all+"map"), probe: op("mprotect", look+"map"), errno: eacces, want: on("execute,map", look+"map")},
		trial{name: "copy between files is allowed", probe: op("copyrange", look+"copy", edit+"copy")},
		trial{name: "descriptor from before copy-up reads on", probe: op("stale", all+"held")},
		trial{name: "reopened O_PATH descriptor is denied", control: op("reopen", "r", all+"read"), probe: op("reopen", "r", none+"read"), errno: eacces, want: on("open,read", none+"read")},
		trial{name: "file handle of the layer is denied", control: open("r", all+"read"), probe: op("handle", "r", "@/lower/all/read"), errno: eacces,
			want: on("open,read", "@/lower/all/read")},
		// The mapping holds the layer's file; its link must not lead there.
		trial{name: "link of a mapping opens the overlay's file", control: op("mapfiles", all+"read", "rw"), probe: op("mapfiles", look+"read", "rw"), errno: eacces, want: on("write", look+"read")},
		trial{name: "layer's own path is denied", control: open("r", all+"read"), probe: open("r", "@/lower/all/read"), errno: eacces, want: on("open,read", "@/lower/all/read")},
	)
}

// TestOverlayAudit counts one event for one operation, although each opens two
// files.
func TestOverlayAudit(t *testing.T) {
	s := newStage(t)
	s.tree("lower/file")
	s.overlay()
	s.install(abi.Audit)
	s.expectAudited(s.start("", nil, 0, "open", "r", "@/ovl/file").wait(), denial{actions: "open,read", path: "@/ovl/file", mode: abi.Audit})
	s.expectAudited(s.start("", nil, 0, "open", "w", "@/ovl/file").wait(), denial{actions: "open,write", path: "@/ovl/file", mode: abi.Audit})
	s.expectAudited(s.start("", nil, 0, "chmod", "@/ovl/file").wait(), denial{actions: "chmod", path: "@/ovl/file", mode: abi.Audit})
}

// TestNestedOverlay uses an overlay whose lower layer is a place of another
// overlay.
//
//	@/top        the upper mount: all/ and none/ as in TestOverlay
//	@/ovl/sub    its lower layer, on the lower mount
func TestNestedOverlay(t *testing.T) {
	s := newStage(t, permit(anyUse+" execute map", "@/top/all/"), permit(look, "@/top/look/"))
	for _, dir := range []string{"all", "look", "none"} {
		s.tree("lower/sub/"+dir+"/read", "lower/sub/"+dir+"/write", "lower/sub/"+dir+"/chmod")
		s.program("lower/sub/" + dir + "/tool")
	}
	s.overlay()
	s.tree("upper2/", "work2/", "top/")
	must(t, unix.Mount("overlay", s.at("@/top"), "overlay", 0, s.at("lowerdir=@/ovl/sub,upperdir=@/upper2,workdir=@/work2")))
	t.Cleanup(func() { unix.Unmount(s.at("@/top"), unix.MNT_DETACH) })
	op := func(words ...string) []string { return words }
	s.run(
		trial{name: "reading is denied", control: op("open", "r", "@/top/all/read"), probe: op("open", "r", "@/top/none/read"), errno: eacces, want: denial{actions: "open,read", path: "@/top/none/read"}},
		trial{name: "execution is denied", control: op("exec", "@/top/all/tool"), probe: op("exec", "@/top/none/tool"), errno: eacces, want: denial{actions: "execute", path: "@/top/none/tool"}},
		trial{name: "layer's own path is denied", control: op("open", "r", "@/top/all/read"), probe: op("open", "r", "@/ovl/sub/all/read"), errno: eacces, want: denial{actions: "open,read", path: "@/ovl/sub/all/read"}},
		trial{name: "copy-up is denied", control: op("open", "rw", "@/top/all/write"), probe: op("open", "rw", "@/top/none/write"), errno: eacces, want: denial{actions: "open,read,write", path: "@/top/none/write"}},
		trial{name: "chmod is denied", control: op("chmod", "@/top/all/chmod"), probe: op("chmod", "@/top/none/chmod"), errno: eacces, want: denial{actions: "chmod", path: "@/top/none/chmod"}},
		trial{name: "executable mapping is denied", control: op("mmap", "@/top/all/read"), probe: op("mmap", "@/top/look/read"), errno: eacces, want: denial{actions: "execute,map", path: "@/top/look/read"}},
	)
	// Where a mapping holds the innermost file, only the middle layer's path is
	// known: refused, although the policy permits it.
	forbidden := denial{actions: "execute,map", path: "@/top/look/read"}
	const permitted = "permitted mapping made executable is allowed"
	s.run(trial{name: permitted, probe: op("mprotect", "@/top/all/read"), errno: eacces, limit: limitNested,
		want: denial{actions: "execute,map", path: "(outside)/all/read", reason: abi.ReasonOutside, status: abi.PathOutside}})
	if results.results["TestNestedOverlay/"+rewrite(permitted)] == isLimit {
		forbidden = denial{actions: "execute,map", path: "(outside)/look/read", reason: abi.ReasonOutside, status: abi.PathOutside}
	}
	s.run(trial{name: "mapping made executable is denied", control: op("mmap", "@/top/all/read"), probe: op("mprotect", "@/top/look/read"), errno: eacces, want: forbidden})
}

// TestFalseLayers shows the confined task files on mounts that are in no
// namespace, or in none of its own, as the layers of an overlay are: they stay
// outside, and denied. The descriptors come from an outsider.
func TestFalseLayers(t *testing.T) {
	s := newStage(t, permit(anyUse+" execute map", "@/ws/"), `permit (principal, action == file_system::Action::"mount", resource);`)
	s.tree("ws/key", "secret/key", "secret/mnt/key")
	outside := func(path string, actions string, dir bool) denial {
		return denial{actions: actions, path: "(outside)" + path, reason: abi.ReasonOutside, status: abi.PathOutside, dir: dir}
	}
	memory := os.NewFile(uintptr(must1(unix.MemfdCreate("layer", 0))(t)), "memory")
	clone := openTree(t, s.at("@/secret"), unix.OPEN_TREE_CLONE)
	bare := openTree(t, s.at("@/secret"), 0)
	fresh := freshMount(t)
	must(t, os.WriteFile(fmt.Sprintf("/proc/self/fd/%d/key", fresh.Fd()), []byte("x"), 0o644))
	gone := detached(t, s.at("@/secret/mnt"))
	for _, f := range []*os.File{memory, clone, bare, fresh, gone} {
		defer f.Close()
	}

	s.run(
		trial{name: "memory file reopened is denied", files: []*os.File{memory}, control: []string{"open", "r", "@/ws/key"},
			probe: []string{"reopenfd", "3", "r"}, errno: eacces, want: outside("/", "open,read", false)},
		trial{name: "memory file made here is denied", control: []string{"open", "r", "@/ws/key"},
			probe: []string{"reopenmem", "rw"}, errno: eacces, want: outside("/", "open,read,write", false)},
		trial{name: "file on a cloned tree is denied", files: []*os.File{clone}, control: []string{"open", "r", "@/ws/key"},
			probe: []string{"openat", "3", "r", "key"}, errno: eacces, want: outside("/key", "open,read", false)},
		trial{name: "directory on a cloned tree is denied", files: []*os.File{clone}, control: []string{"open", "r", "@/ws"},
			probe: []string{"openat", "3", "r", "."}, errno: eacces, want: outside("/", "open,read", true)},
		trial{name: "file on a new mount is denied", files: []*os.File{fresh}, control: []string{"open", "r", "@/ws/key"},
			probe: []string{"openat", "3", "r", "key"}, errno: eacces, want: outside("/key", "open,read", false)},
		trial{name: "new file on a new mount is denied", files: []*os.File{fresh}, control: []string{"open", "w|creat", "@/ws/new"},
			probe: []string{"openat", "3", "w|creat", "new"}, errno: eacces, want: outside("/new", "create", false)},
		trial{name: "file on a detached mount is denied", files: []*os.File{gone}, control: []string{"open", "r", "@/ws/key"},
			probe: []string{"openat", "3", "r", "key"}, errno: eacces, want: outside("/key", "open,read", false)},
		trial{name: "descriptor of a tree that is not cloned keeps its path", files: []*os.File{bare}, control: []string{"open", "r", "@/ws/key"},
			probe: []string{"openat", "3", "r", "key"}, errno: eacces, want: denial{actions: "open,read", path: "@/secret/key"}},
		trial{name: "tree cloned by the workload is denied", control: []string{"open", "r", "@/ws/key"},
			probe: []string{"clonetree", "@/ws", "key"}, errno: eacces, want: outside("/key", "open,read", false)},
		trial{name: "mount made by the workload is denied", control: []string{"open", "r", "@/ws/key"},
			probe: []string{"fsmount", "key"}, errno: eacces, want: outside("/key", "create", false)},
		trial{name: "overlay without a place is denied", control: []string{"open", "r", "@/ws/key"},
			probe: []string{"fsoverlay", "@/secret", "@/ws", "key"}, errno: eacces, want: outside("/key", "open,read", false)},
	)
}

func openTree(t *testing.T, path string, flags uint) *os.File {
	t.Helper()
	return os.NewFile(uintptr(must1(unix.OpenTree(unix.AT_FDCWD, path, flags|unix.OPEN_TREE_CLOEXEC))(t)), path)
}

// freshMount makes a tmpfs that is mounted nowhere.
func freshMount(t *testing.T) *os.File {
	t.Helper()
	fs := must1(unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC))(t)
	defer unix.Close(fs)
	must(t, unix.FsconfigCreate(fs))
	return os.NewFile(uintptr(must1(unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0))(t)), "tmpfs")
}

// detached mounts a tmpfs with a file in it and takes the mount away, but for
// a descriptor.
func detached(t *testing.T, path string) *os.File {
	t.Helper()
	must(t, unix.Mount("none", path, "tmpfs", 0, ""))
	must(t, os.WriteFile(path+"/key", []byte("x"), 0o644))
	dir := must1(os.Open(path))(t)
	must(t, unix.Unmount(path, unix.MNT_DETACH))
	return dir
}
