package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/file"
)

// Plan is what is to be done.
type Plan struct {
	Changes []Change
	Notes   []string // what is so already, or stays
	Todo    []string // what is left to the user, after what Left says

	root    string
	reload  *reload
	written time.Time // the last of the files that were read
}

// Left is what the user is to do first after a change; "" is nothing.
func (p *Plan) Left() string {
	if p.reload == nil || len(p.Changes) == 0 {
		return ""
	}
	return p.reload.String()
}

// Change is one file's.
type Change struct {
	Path          string // as the user knows it
	Before, After []byte // nil if there is no file
	Copy          bool   // keep what was there
	Says          string // what it does
	file          string // the same below the root
	program       bool   // the wrapper's copy
}

// suffix is what the copy of a changed file is called by.
const suffix = ".before-stockade"

// read is a file's text: nil if there is none.
func (w *work) read(path string) ([]byte, error) {
	if err := w.below(path); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(w.at(path))
	if info, err := os.Stat(w.at(path)); err == nil && info.ModTime().After(w.plan.written) {
		w.plan.written = info.ModTime()
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", path, bare(err), unchanged)
	}
	if text == nil {
		text = []byte{}
	}
	return text, nil
}

// bare is an error without the path that its message has already.
func bare(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// change plans a file's change, if it is one.
func (w *work) change(path string, before, after []byte, keep bool, says string) {
	if (before == nil) == (after == nil) && bytes.Equal(before, after) {
		return
	}
	w.plan.Changes = append(w.plan.Changes, Change{Path: path, Before: before, After: after, Copy: keep && before != nil, Says: says, file: w.at(path)})
}

// note says what needs no change.
func (w *work) note(format string, args ...any) {
	w.plan.Notes = append(w.plan.Notes, fmt.Sprintf(format, args...))
}

// after is what a file will be.
func (w *work) after(path string) ([]byte, error) {
	for _, c := range w.plan.Changes {
		if c.Path == path {
			return c.After, nil
		}
	}
	return w.read(path)
}

// removed plans that a file is as it is without our entry. Where that is what the copy
// of it says, or the copy said that there was nothing to keep, the copy goes too.
func (w *work) removed(path string, before, after []byte, says string) error {
	kept, err := w.read(path + suffix)
	if err != nil {
		return err
	}
	if kept != nil && after != nil && bytes.Equal(bytes.TrimRight(kept, "\n"), bytes.TrimRight(after, "\n")) {
		after = kept
	}
	w.change(path, before, after, false, says)
	if kept == nil {
		return nil
	}
	if bytes.Equal(kept, after) {
		w.change(path+suffix, kept, nil, false, "removed: "+path+" is again what it was")
	} else {
		w.note("%s%s: stays: %s was changed since, too", path, suffix, path)
	}
	return nil
}

// Diff prints what Apply would change.
func (p *Plan) Diff() string {
	var b strings.Builder
	for _, c := range p.Changes {
		from, to := c.Path, c.Path
		if c.Before == nil {
			from = "/dev/null"
		}
		if c.After == nil {
			to = "/dev/null"
		}
		text := difference(c.Before, c.After)
		if c.program {
			text = fmt.Sprintf("@@ a program: %d bytes, then %d @@\n", len(c.Before), len(c.After))
		}
		fmt.Fprintf(&b, "--- %s\n+++ %s\n%s", from, to, text)
	}
	return b.String()
}

// Apply does it, and says each thing that it did.
func (p *Plan) Apply(say func(string)) error {
	for i, c := range p.Changes {
		if err := c.apply(say); err != nil {
			rest := "nothing after it was changed"
			if i == 0 {
				rest = unchanged
			}
			return fmt.Errorf("%s: %w: %s; run it again as root once that is mended", c.Path, bare(err), rest)
		}
		p.written = time.Now()
		say(c.Path + ": " + c.Says)
	}
	return nil
}

func (c *Change) apply(say func(string)) error {
	// A link stays one: what it points to is replaced.
	name := c.file
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
	}
	now, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !bytes.Equal(now, c.Before) || (err == nil) != (c.Before != nil) {
		return errors.New("somebody changed it meanwhile")
	}
	if c.After == nil {
		return os.Remove(name)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if c.Copy {
		copied, err := keep(name, c.file+suffix, now)
		if err != nil {
			return err
		}
		if copied {
			say(c.Path + suffix + ": a copy of what was there")
		}
	}
	if c.program {
		return write(name, c.After, "", programMode)
	}
	return write(name, c.After, name, 0o644)
}

// keep copies a file, unless there is a copy already: the first is the one from before
// any change.
func keep(like, to string, text []byte) (bool, error) {
	if _, err := os.Lstat(to); err == nil {
		return false, nil
	}
	return true, write(to, text, like, 0o644)
}

// write puts text in the place of a file, whole or not at all, with the mode and the owner
// of the file like, if there is one. Until it is whole it lies above directories that
// engines read all files of.
func write(name string, text []byte, like string, mode fs.FileMode) error {
	dir := filepath.Dir(name)
	if strings.HasSuffix(dir, ".d") {
		dir = filepath.Dir(dir)
	}
	return file.Replace(name, filepath.Join(dir, ".stockade-"+filepath.Base(name)), text, func(draft *os.File) error {
		var was unix.Stat_t
		if unix.Stat(like, &was) == nil {
			mode = fs.FileMode(was.Mode & 0o777)
			if err := draft.Chown(int(was.Uid), int(was.Gid)); err != nil {
				return err
			}
		}
		return draft.Chmod(mode)
	})
}
