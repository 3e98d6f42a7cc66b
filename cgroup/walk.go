package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxDepth is how deep groups are looked at: each level takes a descriptor.
const maxDepth = 4096

var errDeep = errors.New("are too many levels deep, or something is mounted over them, and not looked at")

// walk tells of an open directory of groups, which it closes, and of all beneath, by paths
// relative to it, that itself as "."; dir is open while it is told of. It goes from one to the
// next by descriptors: a path may be too long. What is removed meanwhile is left out, and what
// is too deep or covered is an error at the end.
func walk(root *os.File, tell func(rel string, dir int, id uint64) error) error {
	w := walker{tell: tell}
	if err := w.visit(root, ".", 0); err != nil {
		return err
	}
	if w.deep > 0 {
		return fmt.Errorf("%d %w", w.deep, errDeep)
	}
	return nil
}

type walker struct {
	tell func(rel string, dir int, id uint64) error
	deep int
}

// visit takes an open directory, which it closes.
func (w *walker) visit(dir *os.File, rel string, depth int) error {
	defer dir.Close()
	fd := int(dir.Fd())
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%s: %w", rel, err)
	}
	if err := w.tell(rel, fd, st.Ino); err != nil {
		return err
	}
	list, err := dir.ReadDir(-1)
	if err != nil && !vanished(err) {
		return fmt.Errorf("%s: %w", rel, err)
	}
	for _, e := range list {
		if !e.IsDir() {
			continue
		}
		if depth == maxDepth {
			w.deep++
			continue
		}
		below, err := openBelow(fd, e.Name())
		if vanished(err) {
			continue
		}
		if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.EXDEV) {
			w.deep++
			continue
		}
		if err == nil {
			err = w.visit(below, filepath.Join(rel, e.Name()), depth+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// openBelow opens a group in a directory, and nothing that is mounted over it.
func openBelow(dir int, name string) (*os.File, error) {
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_XDEV})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}
