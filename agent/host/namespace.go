package host

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/thread"
)

// Numbers of the namespaces that the kernel starts with (include/linux/proc_ns.h).
const (
	firstPIDs    = "pid:[4026531836]"
	firstCgroups = "cgroup:[4026531835]"
)

// Enter has a process that runs in a container with the host's processes see the host's
// cgroups, too: it joins their namespace and starts the program anew, since the one that
// is running has threads that stay behind. Where there is nothing to join it does nothing.
func Enter() error {
	own, err := os.Readlink("/proc/self/ns/cgroup")
	if err != nil || own == firstCgroups {
		return nil
	}
	if pids, err := os.Readlink("/proc/self/ns/pid"); err != nil || pids != firstPIDs {
		return nil // process 1 is not the host's
	}
	if err := thread.Do(enter); err != nil {
		return fmt.Errorf("cgroup namespace: the host's cannot be entered: %w: nothing was done; start it in the host's, or with CAP_SYS_ADMIN and CAP_SYS_PTRACE", err)
	}
	return nil
}

func enter() error {
	const first = "/proc/1/ns/cgroup"
	if which, err := os.Readlink(first); err != nil || which != firstCgroups {
		return fmt.Errorf("%s: %q, %v", first, which, err)
	}
	fd, err := unix.Open(first, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Setns(fd, unix.CLONE_NEWCGROUP); err != nil {
		return err
	}
	return unix.Exec("/proc/self/exe", os.Args, os.Environ())
}
