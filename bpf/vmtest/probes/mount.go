package probes

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// mounts are files on mounts that have no place in any directory.
var mounts = map[string]probe{
	// reopenmem FLAGS: a memory file made here, through /proc/self/fd
	"reopenmem": func(a args) error {
		fd := must1(unix.MemfdCreate("memory", unix.MFD_CLOEXEC))
		return open(unix.AT_FDCWD, procFD(fd), flags(a.str(0)))
	},
	// clonetree DIR PATH: PATH on a copy of DIR's mount
	"clonetree": func(a args) error {
		fd := must1(unix.OpenTree(unix.AT_FDCWD, a.str(0), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC))
		return open(fd, a.str(1), unix.O_RDONLY|unix.O_CLOEXEC)
	},
	// fsmount PATH: a new file PATH on a new tmpfs
	"fsmount": func(a args) error {
		fs := must1(unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC))
		must(unix.FsconfigCreate(fs))
		fd := must1(unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0))
		return open(fd, a.str(0), unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC)
	},
	// fsoverlay LOWER OTHER PATH: PATH on a new overlay of two lower layers
	"fsoverlay": func(a args) error {
		fs := must1(unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC))
		must(unix.FsconfigSetString(fs, "lowerdir", a.str(0)+":"+a.str(1)))
		must(unix.FsconfigCreate(fs))
		fd := must1(unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0))
		return open(fd, a.str(2), unix.O_RDONLY|unix.O_CLOEXEC)
	},
	// upper LOWER UPPER WORK AT PROBE...: with an overlay at AT that writes to UPPER
	"upper": func(a args) error {
		must(unix.Mount("overlay", a.str(3), "overlay", 0,
			fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s,uuid=off", a.str(0), a.str(1), a.str(2))))
		err := run(a.rest(4))
		must(unix.Unmount(a.str(3), unix.MNT_DETACH))
		return err
	},
	// stale PATH: a descriptor from before the file was copied up
	"stale": func(a args) error {
		old := must1(unix.Open(a.str(0), unix.O_RDONLY|unix.O_CLOEXEC, 0))
		w := must1(unix.Open(a.str(0), unix.O_WRONLY|unix.O_CLOEXEC, 0))
		must1(unix.Write(w, []byte("new")))
		_, err := unix.Read(old, make([]byte, 3))
		return err
	},
}
