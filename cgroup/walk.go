package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxDepth is how deep groups are looked at: each level takes a descriptor.
const maxDepth = 4096

var errDeep = errors.New("are too many levels deep, and not looked at")

// walk tells of a directory of groups and of all beneath, by paths relative to it, that
// itself as ".". It goes from one to the next by descriptors: a path may be too long. What
// is removed meanwhile is left out, and what is too deep is an error at the end.
func walk(root string, tell func(rel string, id uint64) error) error {
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if vanished(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", root, err)
	}
	w := walker{tell: tell}
	if err := w.visit(fd, ".", 0); err != nil {
		return err
	}
	if w.deep > 0 {
		return fmt.Errorf("%d %w", w.deep, errDeep)
	}
	return nil
}

type walker struct {
	tell func(rel string, id uint64) error
	deep int
}

// visit takes a descriptor, which it closes.
func (w *walker) visit(fd int, rel string, depth int) error {
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%s: %w", rel, err)
	}
	if err := w.tell(rel, st.Ino); err != nil {
		return err
	}
	names, err := directories(fd)
	if err != nil && !vanished(err) {
		return fmt.Errorf("%s: %w", rel, err)
	}
	for _, name := range names {
		if depth == maxDepth {
			w.deep++
			continue
		}
		below, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if vanished(err) {
			continue
		}
		if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
			w.deep++
			continue
		}
		if err == nil {
			err = w.visit(below, filepath.Join(rel, name), depth+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// directories lists those in one.
func directories(fd int) (names []string, err error) {
	buf := make([]byte, 8192)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if err != nil || n <= 0 {
			return names, err
		}
		for rest := buf[:n]; len(rest) >= direntName; {
			size, kind := int(uint16(rest[16])|uint16(rest[17])<<8), rest[18]
			if size < direntName || size > len(rest) {
				break
			}
			name := unix.ByteSliceToString(rest[direntName:size])
			if kind == syscall.DT_DIR && name != "." && name != ".." {
				names = append(names, name)
			}
			rest = rest[size:]
		}
	}
}

// direntName is where the name begins in a struct linux_dirent64.
const direntName = 19
