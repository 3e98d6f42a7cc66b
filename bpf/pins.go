package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
)

// Remove removes the pins in dir, links first. Enforcement by that set ends:
// stop its workload before.
func Remove(dir string) error {
	for _, pattern := range []string{"link_*", "map_*"} {
		pins, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		for _, pin := range pins {
			if err := os.Remove(pin); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("pin: %w: it still enforces; remove it by hand", err)
			}
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("pin folder: %w; remove it by hand", err)
	}
	return nil
}

// Members counts the living tasks that the set pinned in dir has ever confined,
// wherever they are now: a task that somebody moved out of its cgroup stays
// confined, but cgroup.kill does not reach it. No pins, no members.
func Members(dir string) (int, error) {
	m, err := ebpf.LoadPinnedMap(filepath.Join(dir, "map_members"), &ebpf.LoadPinOptions{ReadOnly: true})
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w: whether tasks are left is not known", dir, err)
	}
	defer m.Close()
	var task uint64
	var workload uint32
	n := 0
	for entries := m.Iterate(); entries.Next(&task, &workload); {
		n++
	}
	return n, nil
}
