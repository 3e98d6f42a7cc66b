package cgroup

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// readProc reads a file of /proc, and nothing that covers /proc or the file: who may mount
// would say of any process which group it is in.
func readProc(name string) ([]byte, error) {
	failed := func(err error) error { return &fs.PathError{Op: "open", Path: "/proc/" + name, Err: err} }
	proc, err := unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, failed(err)
	}
	defer unix.Close(proc)
	var st unix.Statfs_t
	if err := unix.Fstatfs(proc, &st); err != nil || st.Type != unix.PROC_SUPER_MAGIC {
		return nil, failed(errors.Join(err, errors.New("/proc is another file system")))
	}
	fd, err := unix.Openat2(proc, name, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_XDEV})
	if err != nil {
		return nil, failed(err)
	}
	file := os.NewFile(uintptr(fd), "/proc/"+name)
	defer file.Close()
	return io.ReadAll(file)
}
