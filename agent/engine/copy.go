package engine

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// programMode is that of the wrapper's copy.
const programMode = 0o755

// beginCopy says that the wrapper lies below the root only once it is copied there: until then
// it is a program of where this one runs, an image that has no cp.
func (w *work) beginCopy() error {
	if w.CopyTo == "" {
		return nil
	}
	// No other program is replaced or removed by a slip of the hand, and what engines
	// name is told to be the wrapper by its name.
	if base := filepath.Base(DefaultWrapper); filepath.Base(w.CopyTo) != base {
		return fmt.Errorf("copy-to %s: not called %s: %s; write it as /DIR/%s", w.CopyTo, base, unchanged, base)
	}
	w.source, w.Wrapper = w.Wrapper, w.CopyTo
	info, err := os.Lstat(w.at(w.CopyTo))
	if err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("copy-to %s: there is something that is no file: %s; remove it, or name another place", w.CopyTo, unchanged)
	}
	return nil
}

// copyWrapper plans the copy. It is made before any engine names it.
func (w *work) copyWrapper() error {
	program, err := os.ReadFile(w.source)
	if err == nil {
		var info fs.FileInfo
		if info, err = os.Stat(w.source); err == nil && info.Mode()&0o111 == 0 {
			err = fs.ErrPermission
		}
	}
	if err != nil {
		return fmt.Errorf("wrapper %s: %w: %s; install stockade-runc, or name it with --wrapper", w.source, bare(err), unchanged)
	}
	now, err := w.read(w.CopyTo)
	if err != nil {
		return err
	}
	if bytes.Equal(now, program) && rightful(w.at(w.CopyTo)) {
		w.note("%s: is %s already", w.CopyTo, w.source)
		return nil
	}
	w.plan.Changes = append(w.plan.Changes, Change{
		Path: w.CopyTo, Before: now, After: program, Says: "a copy of " + w.source,
		file: w.at(w.CopyTo), program: true,
	})
	return nil
}

// rightful says whether a program has the mode and the owner of a copy.
func rightful(file string) bool {
	var is unix.Stat_t
	return unix.Stat(file, &is) == nil && is.Mode&0o7777 == programMode && is.Uid == uint32(os.Geteuid())
}

// removeCopy plans that the copy goes, once no engine names it.
func (w *work) removeCopy() error {
	now, err := w.read(w.CopyTo)
	if err != nil || now == nil {
		return err
	}
	w.plan.Changes = append(w.plan.Changes, Change{
		Path: w.CopyTo, Before: now, Says: "removed: no engine uses it", file: w.at(w.CopyTo), program: true,
	})
	return nil
}

// below refuses a path that a link leads out of the root: followed from here it is
// another file than the host's.
func (w *work) below(path string) error {
	root, err := filepath.EvalSymlinks(w.at("/"))
	if err != nil {
		return fmt.Errorf("root %s: %w: %s; name the directory that the host's root is mounted at", w.Root, bare(err), unchanged)
	}
	for at := w.at(path); root != "/"; at = filepath.Dir(at) {
		if _, err := os.Lstat(at); err != nil && at != w.at("/") {
			continue // not there yet: its directory decides
		}
		real, err := filepath.EvalSymlinks(at)
		if err != nil || real != root && !strings.HasPrefix(real, root+"/") {
			return fmt.Errorf("%s: a link leads out of %s: %s; run this on the host itself", path, w.Root, unchanged)
		}
		break
	}
	return nil
}

// stat is of what a path leads to, by links as they are meant: those from the root are from
// the host's.
func (w *work) stat(path string) (fs.FileInfo, error) {
	if w.Root == "" {
		return os.Stat(path)
	}
	root, err := os.Open(w.at("/"))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	fd, err := unix.Openat2(int(root.Fd()), path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	return file.Stat()
}
