package bpf

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// contract is the version of what a build knows of the set of another one: how its pins are
// called, and what is in the maps of contractMaps. Whoever changes any of that gives it a
// new number; a build succeeds only sets of its own (docs/table-format.md). Sets from before
// there were numbers have 0.
const contract = 1

// eventsContract is the version of what is on the ring of events. The ring of a set that has
// another one is not read: what was on it counts as lost.
const eventsContract = 1

// contractMaps are the maps of another build's set that are read.
var contractMaps = []string{registryName, "workloads", "cgroups", "tasks", "members", "terminals", "degraded", "counts", "seqs", "events"}

// besideSuffix ends the name of the folder of the set that is beside the one which counts: a
// new one that does not hold everything yet, or an old one of which something is to be read.
// (No name on bpffs has a dot.)
const besideSuffix = "-beside"

// Beside is the folder of the set beside that of dir, while one build's takes the place of
// another's. What it says of workloads, it says beside that one, which counts.
func Beside(dir string) string { return dir + besideSuffix }

// ForeignError is about pins that another build made.
type ForeignError struct {
	Dir, Theirs, Ours string
	// Why says why they are not understood; "": they are, and can be succeeded.
	Why string
}

// Error says whose they are, and how to go on.
func (e *ForeignError) Error() string {
	why := ""
	if e.Why != "" {
		why = " (" + e.Why + ")"
	}
	return fmt.Sprintf("%s: pinned by a build with kernel side %s, this one has %s%s: nothing is changed, and what is pinned goes on enforcing; start that build again, or end the workloads, run `stockade uninstall` and start this one", e.Dir, e.Theirs, e.Ours, why)
}

// checkIdentity looks before anything of another layout is touched: the error is a
// ForeignError for any set but that of this build.
func checkIdentity(dir string, registry *ebpf.Map) error {
	h, err := readHeader(dir, registry)
	if err != nil {
		return err
	}
	if ours := identity(); h.Identity != ours {
		return foreign(dir, h, "")
	}
	return nil
}

// checkContract is checkIdentity for what is in the contract: another build may have it, too.
func checkContract(dir string, registry *ebpf.Map) error {
	h, err := readHeader(dir, registry)
	if err != nil {
		return err
	}
	if h.Contract != contract {
		return foreign(dir, h, contractWhy(h))
	}
	return nil
}

// heirs: does this build take the place of others' sets? One with the programs of a build from
// before that, for tests, does not.
var heirs = true

func contractWhy(h *header) string {
	switch {
	case h.Contract == contract && !heirs:
		return "whose place this one cannot take"
	case h.Contract == contract:
		return ""
	case h.Contract == 0:
		return "which is from before one could take the place of another"
	default:
		return fmt.Sprintf("contract %d, where this one understands %d", h.Contract, contract)
	}
}

func foreign(dir string, h *header, why string) error {
	ours := identity()
	if why == "" {
		why = contractWhy(h)
	}
	return &ForeignError{dir, hex.EncodeToString(h.Identity[:6]), hex.EncodeToString(ours[:6]), why}
}

// readHeader reads what a registry says of its set. One of another size is another build's.
func readHeader(dir string, registry *ebpf.Map) (*header, error) {
	if registry.ValueSize() != uint32(recordSize) || registry.MaxEntries() != abi.MaxWorkloads {
		ours := identity()
		return nil, &ForeignError{dir, "unknown", hex.EncodeToString(ours[:6]), "its registry has another size"}
	}
	value, err := registry.LookupBytes(uint32(0))
	if err != nil {
		return nil, fmt.Errorf("%s: registry: %w: it is not adopted; try again", dir, err)
	}
	h := &header{}
	if _, err := binary.Decode(value, binary.NativeEndian, h); err != nil {
		return nil, fmt.Errorf("%s: registry: %w: it is not adopted", dir, err)
	}
	return h, nil
}

// former is a set of which that is known which is in the contract.
type former struct {
	*Enforcer
	dir string
}

// openFormer opens the set in dir. The error is fs.ErrNotExist if there is none, and a
// ForeignError if it is not understood.
func openFormer(dir string) (*former, error) {
	f := &former{&Enforcer{maps: map[string]*ebpf.Map{}, links: map[string]link.Link{}}, dir}
	if err := f.open(); err != nil {
		return nil, errors.Join(err, f.Abandon())
	}
	return f, nil
}

func (f *former) open() (err error) {
	for _, name := range contractMaps {
		if f.maps[name], err = ebpf.LoadPinnedMap(filepath.Join(f.dir, mapPin+name), nil); err != nil {
			delete(f.maps, name)
			if name != registryName && errors.Is(err, os.ErrNotExist) {
				return &IncompleteError{Dir: f.dir, What: fmt.Sprintf("map %s: %v", name, err)}
			}
			return fmt.Errorf("%s: map %s: %w: it is not succeeded; run as root", f.dir, name, err)
		}
		if name == registryName {
			if err := checkContract(f.dir, f.maps[name]); err != nil {
				return err
			}
		}
	}
	f.store = &store{used: map[uint32][]region{}, maps: f.maps}
	if f.store.workloads, err = mapMemory(f.maps["workloads"]); err == nil {
		f.store.registry, err = mapMemory(f.maps[registryName])
	}
	if err == nil && unsafe.Sizeof(workload{}) != uintptr(f.maps["workloads"].ValueSize()) {
		err = foreign(f.dir, f.header(), "its workloads have another size")
	}
	return err
}
