package host

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// PinsHidden says of pins that are not found whether something is mounted where they would be:
// then nobody knows whether there are some. Where no BPF file system is mounted, none are.
func PinsHidden(dir string) error {
	for ; ; dir = filepath.Dir(dir) {
		var st unix.Statfs_t
		err := unix.Statfs(dir, &st)
		switch {
		case errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir):
			continue
		case err == nil && st.Type != unix.BPF_FS_MAGIC && st.Type != unix.SYSFS_MAGIC:
			err = errors.New("something else is mounted there")
		}
		if err != nil {
			return fmt.Errorf("%s: %w: whether anything is pinned is not known; unmount what covers it", dir, err)
		}
		return nil
	}
}
