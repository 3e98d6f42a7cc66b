package hold

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/fanotify"
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/fault"
	"github.com/stockade-dev/stockade/compiler"
)

// rootDir is the root directory of a workload, as its paths count.
type rootDir struct {
	dir      *os.File
	process  string // whose root it is
	of       string // what named it
	identity string
	*accounts
}

// openRoot opens the root directory of a process: its number, a file that holds
// one, or "" for this process. It must be the one that identity tells, if that is
// not empty: a number may be another's by now.
func openRoot(of, identity string) (*rootDir, error) {
	process := "self"
	if of != "" {
		var err error
		if process, err = host.RootProcess(of); err != nil {
			return nil, err
		}
	}
	dir, err := os.OpenFile("/proc/"+process+"/root", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, host.RootError(process, err)
	}
	if now, err := host.RootIdentity(of); err != nil || identity != "" && now != identity {
		dir.Close()
		return nil, errors.Join(err, fmt.Errorf("root of process %s: not the one that the workload has: what is asked in it becomes tickets, and user names are not known; end the workload, or restart it", process))
	}
	return &rootDir{dir: dir, process: process, of: of, identity: identity, accounts: newAccounts(dir)}, nil
}

// mark is one thing that is marked: an inode, or the filesystem that it is on.
type mark struct {
	device, inode uint64
	whole         bool
}

// marks are what a group is to be told of.
type marks map[mark]uint64

// within reports whether all of m is in other.
func (m marks) within(other marks) bool {
	for at, mask := range m {
		if mask&^other[at] != 0 {
			return false
		}
	}
	return true
}

// marker adds marks to a group, all but those that it has.
type marker struct {
	group *fanotify.Group // nil: nothing is marked, only listed
	has   marks
	list  marks
	note  func(key, text string)
}

// add marks what is open, as O_PATH will do.
func (m *marker) add(file *os.File, whole bool, mask uint64) {
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return
	}
	at := mark{uint64(st.Dev), st.Ino, whole}
	if whole {
		at.inode = 0
	} else if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return // to open a device for the reader of an event may do something
	}
	if foreign(file) {
		return
	}
	m.list[at] |= mask
	if m.group == nil || mask&^m.has[at] == 0 {
		return
	}
	add := m.group.Mark
	if whole {
		add = m.group.MarkFilesystem
	}
	err := fault.At("agent.hold-mark")
	if err == nil {
		err = add(int(file.Fd()), mask)
	}
	if err != nil {
		m.note("mark "+file.Name(), fmt.Sprintf("mark %s: %v: what is asked there becomes tickets; see fs.fanotify.max_user_marks", file.Name(), err))
		return
	}
	m.has[at] |= mask
}

// plan marks what a plan may ask about under a root.
func (m *marker) plan(root *rootDir, plan *compiler.Plan, which bpf.Hold) {
	for _, one := range []struct {
		hold    bpf.Hold
		mask    uint64
		actions abi.ActionMask
	}{
		{bpf.HoldExec, fanotify.OpenExec, askedBy(bpf.HoldExec)},
		{bpf.HoldOpen, fanotify.Open | fanotify.Dirs, askedBy(bpf.HoldOpen)},
	} {
		if which&one.hold == 0 {
			continue
		}
		paths, wide := plan.AskPlaces(one.actions & plan.Handled)
		for _, p := range paths {
			m.path(root, p, one.mask)
		}
		if wide {
			m.filesystems(root, one.mask)
		}
	}
}

// path marks one file, which costs nobody else anything; what is put in its place
// is marked by missed. Where there is none yet, it marks the folder.
func (m *marker) path(root *rootDir, name string, mask uint64) {
	const literal = unix.RESOLVE_NO_SYMLINKS // the kernel's paths go through none
	if file, err := openIn(root.dir, name, unix.O_PATH|unix.O_NOFOLLOW, literal); err == nil {
		m.add(file, false, mask)
		file.Close()
		return
	}
	if dir, err := openIn(root.dir, path.Dir(name), unix.O_PATH|unix.O_DIRECTORY, literal); err == nil {
		m.add(dir, false, mask|fanotify.Children)
		dir.Close()
	}
}

// filesystems marks all filesystems that are mounted beneath a root, as far as
// files of a disk or of memory can be on them.
func (m *marker) filesystems(root *rootDir, mask uint64) {
	text, err := os.ReadFile("/proc/" + root.process + "/mountinfo")
	if err != nil {
		m.note("mounts of "+root.process, fmt.Sprintf("mounts: %v: what is asked becomes tickets at first; name a root that lives", err))
		return
	}
	for _, point := range mountPoints(string(text)) {
		file, err := openIn(root.dir, point, unix.O_PATH, 0)
		if err != nil {
			continue // hidden by another mount, or gone
		}
		m.add(file, true, mask)
		file.Close()
	}
}

// foreign reports a filesystem whose files root may not open: the kernel opens
// them for the reader of an event, and where it cannot, it refuses whoever waits.
func foreign(file *os.File) bool {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &st); err != nil {
		return true
	}
	switch uint32(st.Type) {
	case unix.FUSE_SUPER_MAGIC, unix.NFS_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.SMB_SUPER_MAGIC,
		unix.V9FS_MAGIC, unix.CEPH_SUPER_MAGIC, unix.AFS_SUPER_MAGIC, unix.AFS_FS_MAGIC, unix.CODA_SUPER_MAGIC:
		return true
	}
	return false
}

// pseudo are filesystems whose files are not those of a disk or of memory. To
// open one of their files again, for the reader of an event, may do something.
var pseudo = []string{"autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs", "fusectl",
	"hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "rpc_pipefs", "securityfs", "selinuxfs", "sysfs", "tracefs"}

// mountPoints lists the mount points of other filesystems in a mountinfo.
func mountPoints(text string) []string {
	var list []string
	for line := range strings.Lines(text) {
		mount, super, ok := strings.Cut(line, " - ")
		fields, kind := strings.Fields(mount), strings.Fields(super)
		if !ok || len(fields) < 5 || len(kind) < 1 || slices.Contains(pseudo, kind[0]) {
			continue
		}
		list = append(list, unescapeMount(fields[4]))
	}
	return list
}

// unescapeMount replaces \040 and its like.
func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// clone returns a copy that can be changed.
func (m marks) clone() marks {
	if m == nil {
		return marks{}
	}
	return maps.Clone(m)
}
