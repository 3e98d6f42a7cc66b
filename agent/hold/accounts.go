package hold

import (
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// accounts are the names of users and groups in the files of a root directory.
// Who is in no file may have a name elsewhere: that is not known.
type accounts struct {
	root          *os.File
	users, groups nameFile
}

func newAccounts(root *os.File) *accounts {
	return &accounts{root: root, users: nameFile{path: "/etc/passwd"}, groups: nameFile{path: "/etc/group"}}
}

func (a *accounts) user(uid uint32) (string, bool)  { return a.users.name(a.root, uid) }
func (a *accounts) group(gid uint32) (string, bool) { return a.groups.name(a.root, gid) }

// nameFile is one such file, read again when it has changed.
type nameFile struct {
	path  string
	mu    sync.Mutex
	stamp stamp
	names map[uint32]string
}

// stamp tells one state of a file from another.
type stamp struct {
	device, inode    uint64
	size             int64
	modified, change unix.Timespec
}

// settled is the age at which a file's times tell its states apart: they are as
// coarse as the kernel's clock.
const settled = time.Second

// maxNames bounds such a file, in bytes.
const maxNames = 16 << 20

func (f *nameFile) name(root *os.File, id uint32) (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, err := stampOf(root, f.path)
	if err != nil {
		f.names, f.stamp = nil, stamp{}
		return "", false
	}
	if now != f.stamp {
		text, after, err := readIn(root, f.path)
		if err != nil {
			return "", false
		}
		f.names, f.stamp = parseNames(text), after
		if time.Since(time.Unix(after.change.Unix())) < settled {
			f.stamp = stamp{} // it may change unseen
		}
	}
	name, ok := f.names[id]
	return name, ok
}

// openIn opens a path as a task sees it whose root directory is root.
func openIn(root *os.File, name string, flags uint64, resolve uint64) (*os.File, error) {
	how := &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | resolve}
	conn, err := root.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd, failed := -1, error(nil)
	below := "." + path.Clean("/"+name)
	err = conn.Control(func(dir uintptr) {
		for range 100 { // EAGAIN: a rename elsewhere raced with ..
			if fd, failed = unix.Openat2(int(dir), below, how); failed != unix.EAGAIN && failed != unix.EINTR {
				return
			}
		}
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func stampOf(root *os.File, name string) (stamp, error) {
	file, err := openIn(root, name, unix.O_PATH, 0)
	if err != nil {
		return stamp{}, err
	}
	defer file.Close()
	return stampOfFile(file)
}

func stampOfFile(file *os.File) (stamp, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return stamp{}, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return stamp{}, fmt.Errorf("no regular file")
	}
	return stamp{uint64(st.Dev), st.Ino, st.Size, st.Mtim, st.Ctim}, nil
}

// readIn reads a file that does not change meanwhile.
func readIn(root *os.File, name string) (string, stamp, error) {
	file, err := openIn(root, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", stamp{}, err
	}
	defer file.Close()
	before, err := stampOfFile(file)
	if err != nil {
		return "", stamp{}, err
	}
	text, err := io.ReadAll(io.LimitReader(file, maxNames))
	if err != nil || len(text) == maxNames {
		return "", stamp{}, fmt.Errorf("%s: too long, or not readable", name)
	}
	after, err := stampOfFile(file)
	if err != nil || before != after {
		return "", stamp{}, fmt.Errorf("%s: changes", name)
	}
	return string(text), after, nil
}

// parseNames reads NAME:PASSWORD:ID:…; of two names for one id the first counts,
// as for getpwuid(3).
func parseNames(text string) map[uint32]string {
	names := make(map[uint32]string)
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimRight(line, "\n"), ":", 4)
		if len(fields) < 3 || fields[0] == "" || strings.ContainsAny(fields[0][:1], "#+-") {
			continue
		}
		id, err := strconv.ParseUint(fields[2], 10, 32)
		if err != nil {
			continue
		}
		if _, taken := names[uint32(id)]; !taken {
			names[uint32(id)] = fields[0]
		}
	}
	return names
}
