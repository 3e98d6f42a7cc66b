package vmtest

import (
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/vmtest/probes"
	"github.com/stockade-dev/stockade/thread"
)

// TestBoundaryMounts changes what is mounted where, and roots. Files are
// granted nearly everywhere, mounts only in one place.
//
//	@
//	├── ws/           everything but execute and mounts
//	│   ├── at/, dir/
//	│   ├── away/     tmpfs
//	│   └── own/      tmpfs with old/
//	├── mnt/          the same, and mount and unmount
//	│   ├── a/ … i/
//	│   └── own/      tmpfs
//	├── jail/         chroot
//	└── secret/       nothing
//	    └── key
func TestBoundaryMounts(t *testing.T) {
	b := newBorder(t, permit(anyUse, "@/ws/", "@/mnt/"), permit("mount unmount", "@/mnt/"), permit("chroot", "@/jail/"))
	b.tree("ws/at/", "ws/dir/", "ws/own/", "ws/away/", "mnt/own/", "jail/", "secret/key")
	for _, d := range "abcdefghi" {
		b.tree("mnt/" + string(d) + "/")
	}
	b.mounted("tmpfs", "@/ws/own")
	b.mounted("tmpfs", "@/ws/away")
	b.mounted("tmpfs", "@/mnt/own")
	b.mounted("tmpfs", "@/mnt/i")
	b.tree("ws/own/old/", "mnt/i/old/")
	t.Cleanup(func() {
		for _, d := range "abcdefghi" {
			for unix.Unmount(b.at("@/mnt/"+string(d)), unix.MNT_DETACH) == nil {
			}
		}
	})
	at := onDir("mount", "@/ws/at")
	own := onDir("mount", "@/ws/own")
	user := denial{actions: "userns", path: b.exe}
	everywhere := denial{actions: "mount", dir: true} // what no hook tells the place of

	b.cross(
		crossing{name: "new mount is denied", inside: words("mount", "tmpfs", "@/mnt/a"), probe: words("mount", "tmpfs", "@/ws/at"), errno: eacces, want: at},
		crossing{name: "bind is denied", inside: words("bindmount", "@/ws", "@/mnt/b"), probe: words("bindmount", "@/ws/dir", "@/ws/at"), errno: eacces, want: at},
		crossing{name: "bind of a secret is denied", inside: words("bindmount", "@/ws", "@/mnt/b"), probe: words("bindmount", "@/secret", "@/ws/at"), errno: eacces, want: at},
		crossing{name: "bind of a file is denied", probe: words("bindmount", "@/secret/key", b.exe), errno: eacces, want: on("mount", b.exe)},
		crossing{name: "bind of a secret to where mount is granted is a limit", limit: limitMounts,
			probe: words("then", "bindmount", "@/secret", "@/mnt/c", "--", "open", "r", "@/mnt/c/key")},
		forbidden(abi.BoundaryControl, []crossing{{name: "moving a mount is denied", free: words("movemount", "@/mnt/own", "@/mnt/d"), probe: words("movemount", "@/ws/own", "@/mnt/h"), want: onDir("mount", "@/mnt/h")}})[0],
		crossing{name: "remount is denied", inside: words("remount", "@/mnt/d"), probe: words("remount", "@/ws/own"), errno: eacces, want: own},
		crossing{name: "change of propagation is denied", inside: words("propagate", "@/mnt/d"), probe: words("propagate", "@/ws/own"), errno: eacces, want: own},
		crossing{name: "umount is denied", inside: words("umount", "@/mnt/d"), probe: words("umount", "@/ws/own"), errno: eacces, want: onDir("unmount", "@/ws/own")},
		crossing{name: "lazy umount is denied", inside: words("detach", "@/mnt/b"), probe: words("detach", "@/ws/own"), errno: eacces, want: onDir("unmount", "@/ws/own")},
		crossing{name: "attaching a cloned tree is denied", free: words("attach", "@/ws", "@/mnt/e"), probe: words("attach", "@/ws/dir", "@/ws/at"), errno: eperm, want: everywhere},
		crossing{name: "attaching a new file system is denied", free: words("newmount", "tmpfs", "@/mnt/f"), probe: words("newmount", "tmpfs", "@/ws/at"), errno: eperm, want: everywhere},
		crossing{name: "new file system where mount is granted is denied", probe: words("newmount", "tmpfs", "@/mnt/e"), errno: eperm, want: everywhere},
		crossing{name: "move_mount is denied", inside: words("then", "mount", "tmpfs", "@/mnt/e", "--", "shift", "@/mnt/e", "@/mnt/g"), probe: words("shift", "@/ws/own", "@/ws/at"), errno: eacces, want: at},
		forbidden(abi.BoundaryControl, []crossing{{name: "pivot_root is denied", probe: words("pivot", "@/mnt/i", "@/mnt/i/old"), want: onDir("mount", "@/mnt/i")}})[0],
		crossing{name: "chroot is denied", inside: words("chroot", "@/jail"), probe: words("chroot", "@/ws"), errno: eacces, want: onDir("chroot", "@/ws")},
		crossing{name: "user namespace by unshare is denied", free: words("userns", "unshare"), probe: words("userns", "unshare"), errno: eacces, want: user},
		crossing{name: "user namespace by clone is denied", free: words("userns", "clone"), probe: words("userns", "clone"), errno: eacces, want: user},
		crossing{name: "move_mount of what may not be unmounted is denied", inside: words("then", "mount", "tmpfs", "@/mnt/h", "--", "shift", "@/mnt/h", "@/mnt/e"),
			probe: words("shift", "@/ws/away", "@/mnt/h"), errno: eacces, want: onDir("unmount", "@/ws/away")},
		crossing{name: "reconfiguring a file system is denied", probe: words("reconfigure", "@/ws/own"), errno: eperm, want: everywhere},
	)
	b.cross(forbidden(abi.BoundaryControl, []crossing{
		{name: "attributes of a cloned tree are denied", free: words("treeattr", "@/mnt/own"), probe: words("treeattr", "@/mnt/own"), want: denial{actions: "mount"}},
		{name: "mount attributes are denied", probe: words("setattr", "@/ws/own"), want: denial{actions: "mount"}},
		{name: "mount attributes where mount is granted are denied", probe: words("setattr", "@/mnt/own"), want: denial{actions: "mount"}},
	})...)
	b.cross(
		crossing{name: "mount attributes in a mount namespace of its own are denied", probe: words("newns", "setattr", "@/mnt/own"), errno: eperm, want: everywhere},
		crossing{name: "attributes of a cloned tree in a mount namespace of its own are denied", free: words("newns", "treeattr", "@/mnt/own"), probe: words("newns", "treeattr", "@/mnt/own"), errno: eperm, want: everywhere},
	)
}

// TestBoundaryBlockDevices mounts filesystems of a block device. Policy permits mount
// everywhere.
//
//	@/a/, b/
func TestBoundaryBlockDevices(t *testing.T) {
	const device, kind = "/dev/ram0", "romfs"
	b := newBorder(t, everything)
	b.tree("a/", "b/")
	if err := os.WriteFile(device, romfs(), 0); err != nil {
		b.skip("no block device: " + err.Error())
	}
	if err := unix.Mount(device, b.at("@/b"), kind, unix.MS_RDONLY, ""); err != nil {
		b.skip("no filesystem for it: " + err.Error())
	}
	t.Cleanup(func() {
		for _, d := range []string{"@/a", "@/b"} {
			for unix.Unmount(b.at(d), unix.MNT_DETACH) == nil {
			}
		}
	})
	refused := func(name string, argv ...string) crossing {
		return crossing{name: name + " is denied", free: argv, probe: argv, want: denial{actions: "mount"}}
	}
	b.cross(forbidden(abi.BoundaryDevice, []crossing{
		refused("mounting a device", "mountdev", device, kind, "@/a"),
		refused("superblock of a device", "newmountdev", device, kind),
	})...)
	context := func() []*os.File {
		fs := must1(unix.Fsopen(kind, unix.FSOPEN_CLOEXEC))(t)
		f := os.NewFile(uintptr(fs), "context")
		t.Cleanup(func() { f.Close() })
		must(t, unix.FsconfigSetString(fs, "source", device))
		must(t, unix.FsconfigSetFlag(fs, "ro"))
		return []*os.File{f}
	}
	b.step("context of a device that an outsider made is not mounted", isDenied, func() {
		if a := b.loose(0, context(), words("mountcontext", "3")); a.code != probes.Allowed {
			b.t.Errorf("unconfined task: %v", a)
		}
		b.expectRefused(b.launch(eperm, context(), words("mountcontext", "3")), denial{actions: "mount"}, abi.BoundaryDevice)
	})
	b.cross(
		crossing{name: "file system without a device is allowed", probe: words("mount", "tmpfs", "@/a")},
		crossing{name: "bind of a device's file system is allowed", probe: words("bindmount", "@/b", "@/a")},
		crossing{name: "remount of a device's file system is allowed", probe: words("remount", "@/b")},
	)
}

// romfs is an image of the file system of that name: an empty directory.
func romfs() []byte {
	const size, directory = 1024, 9 // executable, a directory
	be := binary.BigEndian
	image := make([]byte, size)
	copy(image, "-rom1fs-")
	be.PutUint32(image[8:], size)
	copy(image[16:], "test") // the volume's name, in 16 bytes
	entry := image[32:]
	be.PutUint32(entry, directory)
	be.PutUint32(entry[4:], 32) // its first file: itself
	entry[16] = '.'
	sum(entry[:32])
	sum(image[:512])
	return image
}

// sum makes the words of a part of an image add up to 0, by its fourth.
func sum(b []byte) {
	var total uint32
	for at := range len(b) / 4 {
		total += binary.BigEndian.Uint32(b[4*at:])
	}
	binary.BigEndian.PutUint32(b[12:], -total)
}

// TestBoundaryPermittedEscapes has a policy that permits each of them.
func TestBoundaryPermittedEscapes(t *testing.T) {
	open(t)
	exe := must1(prober())(t)
	b := newBorder(t, permit("userns", exe))
	b.cross(
		crossing{name: "permitted user namespace by unshare is allowed", probe: words("userns", "unshare")},
		crossing{name: "permitted user namespace by clone is allowed", probe: words("userns", "clone")},
	)
	b = newBorder(t, everything)
	b.tree("root/", "new/", "copy/")
	t.Cleanup(func() {
		unix.Unmount(b.at("@/copy"), unix.MNT_DETACH)
		unix.Unmount(b.at("@/new"), unix.MNT_DETACH)
	})
	b.cross(
		crossing{name: "permitted pivot_root is allowed", probe: words("jail", "@/root")},
		crossing{name: "permitted attaching of a new file system is allowed", probe: words("newmount", "tmpfs", "@/new")},
		crossing{name: "permitted attaching of a cloned tree is allowed", probe: words("attach", "@/root", "@/copy")},
	)
}

// TestBoundaryNamespaces enters other mount namespaces. A policy that permits
// something on every resource permits it there; any other, nothing.
//
//	@/ws/key    open and read
func TestBoundaryNamespaces(t *testing.T) {
	b := newBorder(t, permit(look, "@/ws/"))
	b.tree("ws/key", "ws/dir/")
	other := otherNamespace(t)
	gone := outsidePath(b.at("@/ws/key"), "open,read")
	mount := outsidePath(b.at("@/ws/dir"), "mount")
	mount.dir = true
	read := words("open", "r", "@/ws/key")
	b.cross(
		crossing{name: "everything in a mount namespace of its own is outside", inside: read, probe: append(words("newns"), read...), errno: eacces, want: gone},
		crossing{name: "mount in a mount namespace of its own is outside", probe: words("newns", "mount", "tmpfs", "@/ws/dir"), errno: eacces, want: mount},
		crossing{name: "everything in a mount namespace handed over is outside", inside: read, files: []*os.File{other},
			probe: append(words("setns", "3"), read...), errno: eacces, want: gone},
	)
}

// TestBoundaryForeignNamespaces reaches for the mount namespace of an outsider.
func TestBoundaryForeignNamespaces(t *testing.T) {
	b := newBorder(t, everything)
	out, in := b.bystander(), b.insider(nil)
	trace := denial{actions: "trace"}
	pid := func(a *attempt) string { return fmt.Sprint(a.cmd.Process.Pid) }
	cases := []crossing{
		{name: "mount namespace of an outsider by its path is denied", inside: words("setnspath", in.proc()+"/ns/mnt"), free: words("setnspath", out.proc()+"/ns/mnt"),
			probe: words("setnspath", out.proc()+"/ns/mnt"), errno: eacces},
		{name: "mount namespace of an outsider by its pidfd is denied", inside: words("setnspid", pid(in)), free: words("setnspid", pid(out)),
			probe: words("setnspid", pid(out)), errno: eperm},
		{name: "mount namespace of an outsider from its pidfd is denied", inside: words("pidfdns", pid(in)), free: words("pidfdns", pid(out)),
			probe: words("pidfdns", pid(out)), errno: eacces, absent: []unix.Errno{unix.ENOTTY}},
	}
	for i := range cases {
		cases[i].want, cases[i].boundary, cases[i].again = trace, abi.BoundaryProcess, true
	}
	b.cross(cases...)
}

// otherNamespace returns a mount namespace that nobody else uses.
func otherNamespace(t *testing.T) *os.File {
	t.Helper()
	var f *os.File
	must(t, thread.Do(func() (err error) {
		if err = unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return err
		}
		f, err = os.Open("/proc/thread-self/ns/mnt")
		return err
	}))
	t.Cleanup(func() { f.Close() })
	return f
}
