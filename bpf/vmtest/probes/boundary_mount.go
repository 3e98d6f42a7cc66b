package probes

import (
	"errors"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// escapes are the ways to another view of the file system.
var escapes = map[string]probe{
	// mount TYPE PATH
	"mount": func(a args) error { return unix.Mount("none", a.str(1), a.str(0), 0, "") },
	// mountwith TYPE OPTIONS PATH
	"mountwith": func(a args) error { return unix.Mount("none", a.str(2), a.str(0), 0, a.str(1)) },
	// newfswith TYPE KEY VALUE: its superblock alone
	"newfswith": func(a args) error {
		fs := must1(unix.Fsopen(a.str(0), unix.FSOPEN_CLOEXEC))
		if err := unix.FsconfigSetString(fs, a.str(1), a.str(2)); err != nil {
			return err
		}
		return unix.FsconfigCreate(fs)
	},
	// alone PROBE...: in a mount namespace of its own, of which nobody else sees anything
	"alone": func(a args) error {
		runtime.LockOSThread()
		must(unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS))
		must(unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		return run(a)
	},
	// setgroup FROM TO: into the group of another mount
	"setgroup": func(a args) error {
		const setGroup = 0x100
		return unix.MoveMount(unix.AT_FDCWD, a.str(0), unix.AT_FDCWD, a.str(1), setGroup)
	},
	// mountdev DEVICE TYPE PATH: read-only
	"mountdev": func(a args) error { return unix.Mount(a.str(0), a.str(2), a.str(1), unix.MS_RDONLY, "") },
	// newmountdev DEVICE TYPE: its superblock alone
	"newmountdev": func(a args) error {
		fs := must1(unix.Fsopen(a.str(1), unix.FSOPEN_CLOEXEC))
		if err := unix.FsconfigSetString(fs, "source", a.str(0)); err != nil {
			return err
		}
		must(unix.FsconfigSetFlag(fs, "ro"))
		return unix.FsconfigCreate(fs)
	},
	// mountcontext FD: a mount of an inherited context
	"mountcontext": func(a args) error {
		if err := unix.FsconfigCreate(a.num(0)); err != nil {
			return err
		}
		_, err := unix.Fsmount(a.num(0), unix.FSMOUNT_CLOEXEC, 0)
		return err
	},
	// bindmount FROM TO
	"bindmount": func(a args) error { return unix.Mount(a.str(0), a.str(1), "", unix.MS_BIND, "") },
	// movemount FROM TO
	"movemount": func(a args) error { return unix.Mount(a.str(0), a.str(1), "", unix.MS_MOVE, "") },
	// remount PATH: read-only
	"remount": func(a args) error {
		return unix.Mount("none", a.str(0), "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
	},
	// propagate PATH: makes the mount a slave
	"propagate": func(a args) error { return unix.Mount("none", a.str(0), "", unix.MS_SLAVE, "") },
	// setattr PATH: makes the mount read-only
	"setattr": func(a args) error {
		return unix.MountSetattr(unix.AT_FDCWD, a.str(0), 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	},
	// reconfigure PATH: makes the file system read-only
	"reconfigure": func(a args) error {
		fs, err := unix.Fspick(unix.AT_FDCWD, a.str(0), unix.FSPICK_CLOEXEC)
		if err != nil {
			return err
		}
		must(unix.FsconfigSetFlag(fs, "ro"))
		return unix.FsconfigReconfigure(fs)
	},
	// umount PATH
	"umount": func(a args) error { return unix.Unmount(a.str(0), 0) },
	// detach PATH
	"detach": func(a args) error { return unix.Unmount(a.str(0), unix.MNT_DETACH) },
	// attach FROM TO: a copy of FROM's mount
	"attach": func(a args) error {
		fd, err := unix.OpenTree(unix.AT_FDCWD, a.str(0), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return err
		}
		return unix.MoveMount(fd, "", unix.AT_FDCWD, a.str(1), unix.MOVE_MOUNT_F_EMPTY_PATH)
	},
	// clones N PATH PROBE...: while this task holds N copies of PATH's mount
	"clones": func(a args) error {
		for range a.num(0) {
			must1(unix.OpenTree(unix.AT_FDCWD, a.str(1), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC))
		}
		return run(a.rest(2))
	},
	// treeattr PATH: a copy of the mount with other attributes
	"treeattr": func(a args) error {
		name := must1(unix.BytePtrFromString(a.str(0)))
		attr := memory(unix.MOUNT_ATTR_RDONLY)
		return call(openTreeAttr, uintptr(0xffffffffffffff9c), uintptr(unsafe.Pointer(name)), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC, attr, 32)
	},
	// shift FROM TO: move_mount of what is mounted
	"shift": func(a args) error { return unix.MoveMount(unix.AT_FDCWD, a.str(0), unix.AT_FDCWD, a.str(1), 0) },
	// newmount TYPE PATH
	"newmount": func(a args) error {
		fs, err := unix.Fsopen(a.str(0), unix.FSOPEN_CLOEXEC)
		if err != nil {
			return err
		}
		must(unix.FsconfigCreate(fs))
		fd := must1(unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0))
		return unix.MoveMount(fd, "", unix.AT_FDCWD, a.str(1), unix.MOVE_MOUNT_F_EMPTY_PATH)
	},
	// pivot NEW OLD
	"pivot": func(a args) error { return unix.PivotRoot(a.str(0), a.str(1)) },
	// jail DIR: a mount namespace whose root is a new tmpfs on DIR
	"jail": func(a args) error {
		runtime.LockOSThread()
		must(unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS))
		must(unix.Mount("none", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""))
		must(unix.Mount("none", a.str(0), "tmpfs", 0, ""))
		must(os.Mkdir(a.str(0)+"/old", 0o755))
		if err := unix.PivotRoot(a.str(0), a.str(0)+"/old"); err != nil {
			return err
		}
		must(unix.Chdir("/"))
		return nil
	},
	// chroot DIR
	"chroot": func(a args) error { return unix.Chroot(a.str(0)) },
	// userns HOW: unshare or clone
	"userns": func(a args) error {
		if a.str(0) == "unshare" {
			return childCall(unix.SYS_UNSHARE, unix.CLONE_NEWUSER)
		}
		pid, errno := forkExit(unix.CLONE_NEWUSER | uintptr(unix.SIGCHLD))
		if errno != 0 {
			return errno
		}
		_, err := unix.Wait4(int(pid), nil, 0, nil)
		return err
	},
	// newns PROBE...: in a new mount namespace
	"newns": func(a args) error {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return err
		}
		return run(a)
	},
	// setns FD PROBE...: in the mount namespace of an inherited descriptor
	"setns": func(a args) error {
		runtime.LockOSThread()
		must(unix.Unshare(unix.CLONE_FS))
		if err := unix.Setns(a.num(0), unix.CLONE_NEWNS); err != nil {
			return err
		}
		return run(a.rest(1))
	},
	// setnspath PATH: by the path of a mount namespace
	"setnspath": func(a args) error {
		fd, err := unix.Open(a.str(0), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return enter(fd)
	},
	// setnspid PID: by a pidfd
	"setnspid": func(a args) error { return enter(must1(unix.PidfdOpen(a.num(0), 0))) },
	// pidfdns PID: the mount namespace of a pidfd
	"pidfdns": func(a args) error {
		const getMountNS = 0xff03 // PIDFD_GET_MNT_NAMESPACE
		return call(unix.SYS_IOCTL, uintptr(must1(unix.PidfdOpen(a.num(0), 0))), getMountNS, 0)
	},
}

// enter sets the mount namespace of a thread of its own.
func enter(fd int) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_FS)
		done <- errors.Join(err, unix.Setns(fd, unix.CLONE_NEWNS))
	}()
	return <-done
}

// forkExit makes a child that exits.
//
//go:norace
//go:noinline
func forkExit(flags uintptr) (uintptr, unix.Errno) {
	runtime.LockOSThread()
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, flags, 0, 0, 0, 0, 0)
	if errno == 0 && pid == 0 {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	return pid, errno
}
