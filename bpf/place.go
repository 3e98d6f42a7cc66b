package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/fault"
)

// Flags of a place, as in kern/place.h.
const (
	placeOurs  = 1
	placeStays = 2
	placeRoot  = 4
	roundShift = 8 // above it a number that tells when it was noted
	maxRound   = 1 << 23
)

// place is the twin of struct place in kern/place.h.
type place struct {
	Inode     uint64
	Device, _ uint32
}

// Guard makes directories, with what is directly in them, such that no workload opens,
// makes, removes or renames anything there, whatever it is permitted; nor does it rename,
// remove or mount over a directory above, up to the root. They are known by what they are
// now: guard them again, all, where they may have been made anew. One that is not there is
// left out.
func (e *Enforcer) Guard(dirs []string) error {
	if err := e.guard(dirs); err != nil {
		return fmt.Errorf("directories of our own: %w: policies alone keep workloads from them; try again", err)
	}
	return nil
}

func (e *Enforcer) guard(dirs []string) error {
	if err := fault.At("bpf.guard"); err != nil {
		return err
	}
	flags, err := placesOf(dirs)
	if err != nil {
		return err
	}
	noted, err := e.places()
	if err != nil {
		return err
	}
	round := uint32(0) // tells those of this time
	for _, of := range noted {
		round = max(round, of>>roundShift)
	}
	round = round%maxRound + 1
	for path, of := range flags {
		if err := e.notePlace(path, of|round<<roundShift); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return e.settlePlaces(round)
}

// settlePlaces forgets what was noted another time, and tells the programs where to look.
func (e *Enforcer) settlePlaces(round uint32) error {
	noted, err := e.places()
	if err != nil {
		return err
	}
	var bits [4]uint64
	for p := range noted {
		bits[p.Inode>>6&3] |= 1 << (p.Inode & 63)
	}
	if err := e.maps["place_bits"].Put(uint32(0), bits); err != nil {
		return err
	}
	for p, of := range noted {
		if of>>roundShift == round {
			continue
		}
		if err := e.maps["places"].Delete(p); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
	}
	return nil
}

// places lists what is noted.
func (e *Enforcer) places() (map[place]uint32, error) {
	list := map[place]uint32{}
	var p place
	var of uint32
	entries := e.maps["places"].Iterate()
	for entries.Next(&p, &of) {
		list[p] = of
	}
	return list, entries.Err()
}

// notePlace notes a directory, which the kernel side looks at itself: what it is known by
// there, not every filesystem tells.
func (e *Enforcer) notePlace(path string, flags uint32) error {
	dir, err := os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	ret, err := e.register.Run(&ebpf.RunOptions{Context: registerArgs{Place: flags, FD: uint32(dir.Fd())}})
	if err == nil && ret != 0 {
		err = errors.New("it could not be noted")
	}
	return err
}

// placesOf returns the flags of directories and of those above, the root among them: what
// is mounted over it is what others see from then on.
func placesOf(dirs []string) (map[string]uint32, error) {
	flags := map[string]uint32{}
	for _, dir := range dirs {
		real, err := filepath.EvalSymlinks(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		flags[real] |= placeOurs
		flags["/"] |= placeRoot
		for ; real != "/"; real = filepath.Dir(real) {
			flags[real] |= placeStays
		}
	}
	return flags, nil
}
