package cgroup

import (
	"errors"

	"golang.org/x/sys/unix"
)

// mounts are the places where distributions mount cgroup2: the second is that
// of hosts that still have version 1 beside it.
var mounts = []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}

// Mountpoint returns where cgroup2 is mounted.
func Mountpoint() (string, error) {
	for _, path := range mounts {
		var st unix.Statfs_t
		if unix.Statfs(path, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			return path, nil
		}
	}
	return "", errors.New("/sys/fs/cgroup: cgroup2 is not mounted: nothing can be confined; mount -t cgroup2 none /sys/fs/cgroup")
}
