package inspect

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// GroupRecord is a cgroup as ControlGroup tells it.
type GroupRecord struct {
	Path    string `json:"path"`
	PathB64 []byte `json:"path_b64,omitempty"`
	// Gone: it was removed, before or while it was read.
	Gone bool `json:"gone,omitempty"`
	// Processes counts those in it, not those beneath.
	Processes *int `json:"processes,omitempty"`
	// Files has the lines of each file that it has of groupFiles.
	Files  map[string][]string `json:"files,omitempty"`
	Failed map[string]string   `json:"failed,omitempty"`
	Cut    Cuts                `json:"cut,omitempty"`
}

// groupFiles are told, where the group has them: controllers bring theirs.
var groupFiles = []string{
	"cgroup.events", "cgroup.freeze", "cgroup.stat", "cgroup.type",
	"cpu.max", "cpu.stat", "io.max", "io.stat",
	"memory.current", "memory.events", "memory.high", "memory.max", "memory.peak", "memory.swap.current",
	"pids.current", "pids.events", "pids.max", "pids.peak",
}

// groupWalk goes through groups. A group's directory is opened from that above it, so that
// no path is too long, and nothing that is moved meanwhile leads elsewhere.
type groupWalk struct {
	*look
	seen    int
	stopped bool // not all were seen
}

// groups tells the groups in some directories and beneath, each before those below it.
func (l *look) groups(roots []string) (cut Cuts) {
	w := &groupWalk{look: l}
	for _, root := range roots {
		l.say(0, root)
		fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err == nil {
			err = ofGroups(fd)
		} else if errors.Is(err, unix.ENOENT) && !belowGroups(root) {
			err = errors.New("something is mounted over it, or over what is above it: whether it is there is not known")
		}
		if err != nil {
			r := GroupRecord{Path: root, PathB64: raw(root)}
			r.fail(".", err)
			l.tell(lineRecord, r)
			w.seen++
		} else {
			w.walk(fd, root, 0)
		}
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	if w.seen > MaxGroups || w.stopped {
		cut.note("cgroups", int64(w.seen), w.stopped)
	}
	return cut
}

// ofGroups refuses a directory of another file system.
func ofGroups(fd int) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return err
	}
	if st.Type != unix.CGROUP2_SUPER_MAGIC {
		return errors.New("it is no cgroup")
	}
	return nil
}

// belowGroups reports whether what is above a path, as far as there is something, is a cgroup:
// only then is one that is not there gone.
func belowGroups(root string) bool {
	for dir := path.Dir(root); ; dir = path.Dir(dir) {
		var st unix.Statfs_t
		err := unix.Statfs(dir, &st)
		if !errors.Is(err, unix.ENOENT) || dir == path.Dir(dir) {
			return err == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
		}
	}
}

func (w *groupWalk) walk(dir int, name string, depth int) {
	if w.seen++; w.seen <= MaxGroups {
		w.tell(lineRecord, w.group(dir, name))
	}
	if depth == MaxDepth {
		w.stopped = w.stopped || hasChild(dir)
		return
	}
	children(dir, func(child string) bool {
		if w.seen >= ScanGroups {
			w.stopped = true
			return false
		}
		if fd, err := openAt(dir, child, unix.O_RDONLY|unix.O_DIRECTORY); err == nil {
			w.walk(fd, path.Join(name, child), depth+1)
			unix.Close(fd)
		}
		return true
	})
}

func hasChild(dir int) (has bool) {
	children(dir, func(string) bool { has = true; return false })
	return has
}

// children calls each with the names of the groups right below one until that returns
// false. One that cannot be read has none: it was removed.
func children(dir int, each func(name string) bool) {
	fd, err := openAt(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), ".")
	defer f.Close()
	for {
		entries, err := f.ReadDir(256)
		for _, e := range entries {
			if e.IsDir() && !each(e.Name()) {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// group reads one.
func (w *groupWalk) group(dir int, name string) GroupRecord {
	r := GroupRecord{Path: name, PathB64: raw(name), Files: map[string][]string{}}
	for _, file := range groupFiles {
		w.say(0, file)
		text, more, err := readAt(dir, file, MaxGroupFile)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		r.fail(file, err)
		if err != nil {
			continue
		}
		r.Files[file] = strings.FieldsFunc(string(text), func(c rune) bool { return c == '\n' })
		if more {
			r.Cut.note(file, MaxGroupFile+1, true)
		}
	}
	w.say(0, "cgroup.procs")
	n, err := countLines(dir, "cgroup.procs")
	if r.fail("cgroup.procs", err); err == nil {
		r.Processes = &n
	}
	return r
}

// fail notes an error.
func (r *GroupRecord) fail(file string, err error) {
	switch {
	case err == nil:
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV):
		r.Gone = true
	default:
		if r.Failed == nil {
			r.Failed = map[string]string{}
		}
		r.Failed[file] = err.Error()
	}
}

// countLines counts the lines of a file of any length.
func countLines(dir int, file string) (n int, err error) {
	fd, err := openAt(dir, file, unix.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	buf := make([]byte, 64<<10)
	for {
		got, err := reader(fd).Read(buf)
		n += bytes.Count(buf[:got], []byte("\n"))
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}
