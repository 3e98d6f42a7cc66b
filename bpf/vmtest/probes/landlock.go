package probes

import (
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Landlock's rights on files; those after refer came with its third version.
const (
	landlockReadFile = 1 << 2
	landlockReadDir  = 1 << 3
	landlockSecond   = 1<<14 - 1 // every right of the second version
	landlockThird    = 1<<15 - 1 // and truncate
)

// landlock confines this thread, by Landlock, to places separated by colons:
// all of the rights, or reading alone after "ro!".
func landlock(places string) error {
	const versionFlag = 1
	runtime.LockOSThread()
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, versionFlag)
	if errno != 0 {
		return errno
	}
	all := uint64(landlockSecond)
	if version >= 3 {
		all = landlockThird
	}
	rules, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&all)), unsafe.Sizeof(all), 0)
	if errno != 0 {
		return errno
	}
	for place := range strings.SplitSeq(places, ":") {
		path, readOnly := strings.CutPrefix(place, "ro!")
		rights := all
		if readOnly {
			rights = landlockReadFile | landlockReadDir
		}
		if err := landlockRule(rules, path, rights); err != nil {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, rules, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

func landlockRule(rules uintptr, path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	rule := [12]byte{} // struct landlock_path_beneath_attr is packed
	*(*uint64)(unsafe.Pointer(&rule[0])) = rights
	*(*int32)(unsafe.Pointer(&rule[8])) = int32(fd)
	const pathBeneath = 1
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, rules, pathBeneath, uintptr(unsafe.Pointer(&rule)), 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
