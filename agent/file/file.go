// Package file writes files whole, or not at all.
package file

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Replace puts text in the place of a file, for its owner alone unless ready, which may be
// nil, says otherwise of the draft, which is whole then. That is what it is called until it
// is on the disk; what a killed one has left there goes. On an error nothing is changed, or the
// directory may not be on the disk yet.
func Replace(name, draft string, text []byte, ready func(draft *os.File) error) (err error) {
	if err := os.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(draft)
		}
	}()
	_, err = f.Write(text)
	if err == nil && ready != nil {
		err = ready(f)
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(draft, name); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
