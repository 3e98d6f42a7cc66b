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
	file := c.file
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real
	}
	now, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !bytes.Equal(now, c.Before) || (err == nil) != (c.Before != nil) {
		return errors.New("somebody changed it meanwhile")
	}
	if c.After == nil {
		return os.Remove(file)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if c.Copy {
		copied, err := keep(file, c.file+suffix, now)
		if err != nil {
			return err
		}
		if copied {
			say(c.Path + suffix + ": a copy of what was there")
		}
	}
	if c.program {
		return write(file, c.After, "", programMode)
	}
	return write(file, c.After, file, 0o644)
}

// keep copies a file, unless there is a copy already: the first is the one from before
// any change.
func keep(file, to string, text []byte) (bool, error) {
	if _, err := os.Lstat(to); err == nil {
		return false, nil
	}
	return true, write(to, text, file, 0o644)
}

// write puts text in the place of a file, whole or not at all, with the mode and the owner
// of the file like, if there is one. Until it is whole it lies above directories that
// engines read all files of.
func write(file string, text []byte, like string, mode fs.FileMode) (err error) {
	dir := filepath.Dir(file)
	if strings.HasSuffix(dir, ".d") {
		dir = filepath.Dir(dir)
	}
	temp, err := os.CreateTemp(dir, ".stockade-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(temp.Name())
		}
	}()
	defer temp.Close()
	var was unix.Stat_t
	if unix.Stat(like, &was) == nil {
		mode = fs.FileMode(was.Mode & 0o777)
		if err := temp.Chown(int(was.Uid), int(was.Gid)); err != nil {
			return err
		}
	}
	if err := temp.Chmod(mode); err != nil {
		return err
	}
	if _, err := temp.Write(text); err != nil {
		return err
	}
	if err := temp.Sync(); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), file); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
