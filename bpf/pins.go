package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/stockade-dev/stockade/bpf/fault"
)

// What pins are called.
const (
	mapPin      = "map_"
	linkPin     = "link_"
	holdPin     = "hold_" // links and maps of the hooks that confirm
	registerPin = "prog_register_root"
)

// Remove removes the pins in dir: the registry first, without which nobody
// takes the rest for a whole set, then the links. Enforcement by that set ends:
// stop its workloads before.
func Remove(dir string) error {
	for _, pattern := range []string{mapPin + registryName, linkPin + "*", holdPin + "*", "prog_*", mapPin + "*"} {
		if err := unpin(dir, pattern); err != nil {
			return err
		}
	}
	if err := fault.At("bpf.unpin-folder"); err != nil {
		return fmt.Errorf("pin folder %s: %w; remove it by hand", dir, err)
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("pin folder: %w; remove it by hand", err)
	}
	return nil
}

// Unpin removes the pins in dir as Remove does, but its hooks stay attached until
// detach is called: the kernel waits some sixty milliseconds for each of them, and
// where pins alone hold them, as many of its workers wait at once.
func Unpin(dir string) (detach func() error, err error) {
	links, err := openLinks(dir, linkPin)
	detach = func() error {
		var errs []error
		for _, l := range links {
			errs = append(errs, l.Close())
		}
		return errors.Join(errs...)
	}
	if err != nil {
		return detach, err
	}
	return detach, Remove(dir)
}

// unpin removes the pins in dir whose names match.
func unpin(dir, pattern string) error {
	pins, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	for _, pin := range pins {
		if err := fault.At("bpf.unpin"); err != nil {
			return fmt.Errorf("pin %s: %w: it still enforces; remove it by hand", pin, err)
		}
		if err := os.Remove(pin); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("pin: %w: it still enforces; remove it by hand", err)
		}
	}
	return nil
}

// openPin opens a map that is pinned in dir, for reading.
func openPin(dir, name string) (*ebpf.Map, error) {
	m, err := ebpf.LoadPinnedMap(filepath.Join(dir, mapPin+name), &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("%s: map %s: %w", dir, name, err)
	}
	return m, nil
}

// openLinks opens the links that are pinned in dir under a prefix, by their
// names.
func openLinks(dir, prefix string) (map[string]link.Link, error) {
	links := map[string]link.Link{}
	pins, err := filepath.Glob(filepath.Join(dir, prefix+"*"))
	if err != nil {
		return links, fmt.Errorf("%s: %w", dir, err)
	}
	for _, pin := range pins {
		if err := fault.At("bpf.adopt-link"); err != nil {
			return links, &IncompleteError{Dir: dir, What: fmt.Sprintf("%s: %v", filepath.Base(pin), err)}
		}
		l, err := link.LoadPinnedLink(pin, nil)
		if err != nil {
			return links, &IncompleteError{Dir: dir, What: fmt.Sprintf("%s: %v", filepath.Base(pin), err)}
		}
		links[strings.TrimPrefix(filepath.Base(pin), prefix)] = l
	}
	return links, nil
}

// Members counts the living tasks that the set pinned in dir has ever confined,
// wherever they are now: a task that somebody moved out of its cgroup stays
// confined, but cgroup.kill does not reach it. No pins, no members.
func Members(dir string) (int, error) {
	m, err := openPin(dir, "members")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("%w: whether tasks are left is not known", err)
	}
	defer m.Close()
	byWorkload, err := countMembers(m)
	if err != nil {
		return 0, fmt.Errorf("%s: %w: whether tasks are left is not known", dir, err)
	}
	n := 0
	for _, tasks := range byWorkload {
		n += tasks
	}
	return n, nil
}

// member is the twin of struct member in kern/maps.h.
type member struct {
	Automaton                      uint64
	Workload                       uint32
	Exe, Parent, OldExe, OldParent uint16
	Unread, Starting               uint16
	Until                          uint64
}

// countTries bounds how often a count of tasks is begun anew.
const countTries = 100

// countMembers counts the tasks of each workload. Entries that come and go break
// an iteration off; it is then begun anew.
func countMembers(m *ebpf.Map) (map[uint32]int, error) {
	for range countTries {
		byWorkload := map[uint32]int{}
		var task uint64
		var value []byte
		entries := m.Iterate()
		for entries.Next(&task, &value) {
			var one member // stays zero if another build has other entries
			_, _ = binary.Decode(value, binary.NativeEndian, &one)
			byWorkload[one.Workload]++
		}
		err := entries.Err()
		if err == nil {
			return byWorkload, nil
		}
		if !errors.Is(err, ebpf.ErrIterationAborted) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("map %s: its entries change too fast to be counted", m)
}

// Groups returns the workload of every cgroup that the set pinned in dir
// confines, by cgroup id. No pins, no cgroups.
func Groups(dir string) (map[uint64]uint32, error) {
	m, err := openPin(dir, "cgroups")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: what is confined is not known", err)
	}
	defer m.Close()
	return listGroups(m)
}

func listGroups(m *ebpf.Map) (map[uint64]uint32, error) {
	list, err := listWorkloads(m)
	if err != nil {
		return nil, fmt.Errorf("map of cgroups: %w: what is confined is not known; try again", err)
	}
	return list, nil
}

// listWorkloads reads a map of workloads by what they have.
func listWorkloads(m *ebpf.Map) (map[uint64]uint32, error) {
	for range countTries {
		list := map[uint64]uint32{}
		var key uint64
		var id uint32
		entries := m.Iterate()
		for entries.Next(&key, &id) {
			list[key] = id
		}
		err := entries.Err()
		if err == nil {
			return list, nil
		}
		if !errors.Is(err, ebpf.ErrIterationAborted) {
			return nil, err
		}
	}
	return nil, errors.New("its entries change too fast to be listed")
}
