package bpf

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/fault"
)

// identity tells the kernel side of one build from that of another, with the
// format of what user space keeps beside it. A set that other code made is not
// adopted: its maps could have another layout, and its programs other faults.
func identity() [32]byte {
	return sha256.Sum256(fmt.Appendf(nil, "registry 2, record %d, workloads %d\nobject %s\n", recordSize, abi.MaxWorkloads, object))
}

// object is the SHA-256 of the object that is loaded.
var object = objectSum

// Identity names the kernel side of this build.
func Identity() string {
	id := identity()
	return hex.EncodeToString(id[:6])
}

// IncompleteError is about a folder of pins that is not a whole set: making or
// removing it was interrupted, or somebody removed a part.
type IncompleteError struct {
	Dir, What string
	// Begun says that making the set or removing it was interrupted: the set
	// was never in use, or is not any more.
	Begun bool
}

// Error says what is missing.
func (e *IncompleteError) Error() string {
	return fmt.Sprintf("%s: %s: what is pinned is not whole and is not adopted; end its workloads, run `stockade uninstall`, then start again", e.Dir, e.What)
}

// Adopt opens the set that an earlier process pinned in dir: its enforcement
// goes on without a gap, with the same plans and generations. The error is
// fs.ErrNotExist if there is none.
func Adopt(dir string) (*Enforcer, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("pins: %w: there is nothing to adopt", err)
	}
	e := &Enforcer{maps: map[string]*ebpf.Map{}, links: map[string]link.Link{}}
	if err := e.adopt(dir); err != nil {
		return nil, errors.Join(err, e.Abandon())
	}
	e.pinDir = dir
	return e, nil
}

func (e *Enforcer) adopt(dir string) error {
	if err := fault.At("bpf.adopt-registry"); err != nil {
		return fmt.Errorf("%s: registry: %w: it is not adopted; run as root", dir, err)
	}
	registry, err := ebpf.LoadPinnedMap(filepath.Join(dir, mapPin+registryName), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return &IncompleteError{dir, "it has no registry", true}
	}
	if err != nil {
		return fmt.Errorf("%s: %w: it is not adopted; run as root", dir, err)
	}
	e.maps[registryName] = registry
	if err := checkIdentity(dir, registry); err != nil {
		return err
	}
	if err := e.openPins(dir); err != nil {
		return err
	}
	if e.store, err = openStore(e.maps); err != nil {
		return err
	}
	if h := e.store.header(); int(h.Links) != len(e.links) {
		return &IncompleteError{Dir: dir, What: fmt.Sprintf("%d of %d hooks are attached", len(e.links), h.Links)}
	}
	e.store.clock, e.store.strict = e.store.header().Clock == 1, e.store.header().Strict == 1
	if err := e.adoptHolds(dir); err != nil {
		return err
	}
	if err := e.store.recover(dir); err != nil {
		return err
	}
	return e.SyncClock()
}

// openPins opens the maps that the programs of this build have, every link and
// the program that registers roots.
func (e *Enforcer) openPins(dir string) error {
	for _, name := range mapNames() {
		if err := fault.At("bpf.adopt-map"); err != nil {
			return &IncompleteError{Dir: dir, What: fmt.Sprintf("map %s: %v", name, err)}
		}
		m, err := ebpf.LoadPinnedMap(filepath.Join(dir, mapPin+name), nil)
		if err != nil {
			return &IncompleteError{Dir: dir, What: fmt.Sprintf("map %s: %v", name, err)}
		}
		e.maps[name] = m
	}
	var err error
	if e.links, err = openLinks(dir, linkPin); err != nil {
		return err
	}
	if err := fault.At("bpf.adopt-program"); err != nil {
		return &IncompleteError{Dir: dir, What: fmt.Sprintf("%s: %v", registerPin, err)}
	}
	if e.register, err = ebpf.LoadPinnedProgram(filepath.Join(dir, registerPin), nil); err != nil {
		return &IncompleteError{Dir: dir, What: fmt.Sprintf("%s: %v", registerPin, err)}
	}
	return nil
}

// tableMagic is how every table begins, whatever its version.
const tableMagic = "STKDTBL"

// recover finds out which parts of the arena are in use. The process that died
// may have flipped a plan an instant ago: one grace period, and nobody reads
// what no plan names.
func (s *store) recover(dir string) error {
	if err := fault.At("bpf.recover"); err != nil {
		return fmt.Errorf("%s: arena: %w: nothing is adopted; try again", dir, err)
	}
	if err := s.graceperiod(); err != nil {
		return fmt.Errorf("grace period: %w: nothing is adopted; try again", err)
	}
	for id := uint32(1); id < abi.MaxWorkloads; id++ {
		w, err := s.workload(id)
		if err != nil {
			return err
		}
		if s.record(id).Name[0] != 0 {
			s.last = id
		}
		at := int(uint32(w.plan))
		if at == 0 {
			continue
		}
		r, ok := s.regionAt(at)
		if !ok {
			return &IncompleteError{Dir: dir, What: fmt.Sprintf("workload %d: no table at word %d", id, at)}
		}
		s.used[id] = []region{r}
	}
	all := slices.SortedFunc(maps.Keys(s.regions()), func(a, b region) int { return a.at - b.at })
	for i := 1; i < len(all); i++ {
		if all[i].at < all[i-1].at+all[i-1].words {
			return &IncompleteError{Dir: dir, What: fmt.Sprintf("tables at words %d and %d overlap", all[i-1].at, all[i].at)}
		}
	}
	return nil
}

// regionAt reads how long the table at a word of the arena is.
func (s *store) regionAt(at int) (region, bool) {
	if at <= 0 || (at+2)*8 > len(s.arena) || string(s.arena[at*8:at*8+len(tableMagic)]) != tableMagic {
		return region{}, false
	}
	words := int(uint32(binary.NativeEndian.Uint64(s.arena[(at+1)*8:])))
	if words < 2 || at+words > len(s.arena)/8 {
		return region{}, false
	}
	return region{at, words}, true
}

// Confined reports whether a process is a task of a workload of this set,
// wherever it is now.
func (e *Enforcer) Confined(pid int) (bool, error) { return confined(e.maps["tasks"], pid) }

// ConfinedBy is Confined for the set pinned in dir, of which nothing else is
// looked at. No pins, nobody confined.
func ConfinedBy(dir string, pid int) (bool, error) {
	m, err := ebpf.LoadPinnedMap(filepath.Join(dir, mapPin+"tasks"), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w: whether process %d is confined is not known", dir, err, pid)
	}
	defer m.Close()
	return confined(m, pid)
}

func confined(tasks *ebpf.Map, pid int) (bool, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false, fmt.Errorf("process %d: %w: whether it is confined is not known", pid, err)
	}
	defer unix.Close(fd)
	var workload uint32
	err = tasks.Lookup(uint32(fd), &workload)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("process %d: %w: whether it is confined is not known", pid, err)
	}
	return workload != 0, nil
}
