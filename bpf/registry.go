package bpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/fault"
)

// registryName is the map of user space's own notes: no program reads it. It is
// pinned with the others, so that what they hold can be told after a crash.
// Entry 0 describes the set, entry N is about workload N.
const registryName = "registry"

// header is entry 0.
type header struct {
	Identity [32]byte // see identity
	Contract uint32   // see contract
	Links    uint32   // how many
	Clock    uint64   // 1: plans may test the time
	Strict   uint64   // 1: the hooks of strict workloads are attached
	Account  entry    // see Account
	Handled  uint64   // the actions for which hooks are attached
	Events   uint32   // see eventsContract
	New      uint32   // 1: it does not hold yet what the set beside it holds
	Carried  uint32   // 1: its counts are those of the other set
	_        [28]byte
}

// record is what there is to tell of one workload.
type record struct {
	Name [64]byte // padded with zeros; none: the number is free
	// Delivered and Lost count the events that were read from the ring, by
	// what became of them.
	Delivered, Lost uint64
	Before          totals
}

// totals are counts of a workload in sets that this one took the place of.
type totals struct {
	Allowed, Denied, Dropped, Withheld uint64
	Delivered, Lost                    uint64
}

// counters adds what was counted before.
func (t *totals) counters(c abi.Counters) abi.Counters {
	c.Allowed += atomic.LoadUint64(&t.Allowed)
	c.Denied += atomic.LoadUint64(&t.Denied)
	c.Dropped += atomic.LoadUint64(&t.Dropped)
	c.Withheld += atomic.LoadUint64(&t.Withheld)
	return c
}

const recordSize = int(unsafe.Sizeof(record{}))

// maxNameBytes is the longest name of a workload.
const maxNameBytes = 63

// newRegistry makes the map.
func newRegistry() (*ebpf.Map, error) {
	if err := fault.At("bpf.new-registry"); err != nil {
		return nil, fmt.Errorf("map %s: %w: nothing is loaded; run as root", registryName, err)
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: registryName, Type: ebpf.Array, KeySize: 4, ValueSize: uint32(recordSize),
		MaxEntries: abi.MaxWorkloads, Flags: unix.BPF_F_MMAPABLE})
	if err != nil {
		return nil, fmt.Errorf("map %s: %w: nothing is loaded; run as root", registryName, plain(err))
	}
	return m, nil
}

// describe fills in the header.
func (e *Enforcer) describe(o Options) {
	h := e.store.header()
	h.Identity, h.Contract, h.Events = identity(), contract, eventsContract
	h.Handled, h.Links = uint64(o.Handled), uint32(len(e.links))
	if o.isNew {
		h.New = 1
	}
	if o.Clock {
		h.Clock = 1
	}
	if o.Strict {
		h.Strict = 1
	}
}

func (s *store) header() *header { return (*header)(unsafe.Pointer(&s.registry[0])) }

func (s *store) record(id uint32) *record {
	return (*record)(unsafe.Pointer(&s.registry[int(id)*recordSize]))
}

func (r *record) name() string { return string(bytes.TrimRight(r.Name[:], "\x00")) }

// Workload is one that a set has.
type Workload struct {
	ID         uint32
	Name       string
	Mode       abi.Mode
	Generation uint32 // 0: no plan was installed yet
	Words      int    // of its table
	// Denied counts all refusals, Dropped those of which the ring had no room
	// for the event. Of the others Delivered and Lost were counted by Account.
	abi.Counters
	Delivered, Lost uint64
}

// Workloads lists the workloads of this set by number.
func (s *store) Workloads() ([]Workload, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Workload
	for id := uint32(1); id < abi.MaxWorkloads; id++ {
		r := s.record(id)
		if r.Name[0] == 0 || r.name() == endedName {
			continue
		}
		w, err := s.workload(id)
		if err != nil {
			return nil, err
		}
		one := told(id, r, w)
		if one.Counters, err = s.Counters(id); err != nil {
			return nil, err
		}
		if used := s.used[id]; len(used) > 0 {
			one.Words = used[len(used)-1].words
		}
		list = append(list, one)
	}
	return list, nil
}

// told is what the memory of a set tells of a workload.
func told(id uint32, r *record, w *workload) Workload {
	return Workload{ID: id, Name: r.name(), Mode: abi.Mode(atomic.LoadUint32(&w.mode)), Generation: uint32(atomic.LoadUint64(&w.plan) >> 32),
		Delivered: atomic.LoadUint64(&r.Delivered) + r.Before.Delivered, Lost: atomic.LoadUint64(&r.Lost) + r.Before.Lost}
}

// Claim gives a name to a free number. Numbers take turns, so that one is not
// soon used again.
func (s *store) Claim(name string) (uint32, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name == "" || len(name) > maxNameBytes {
		return 0, fmt.Errorf("workload %q: a name has 1 to %d bytes: it is not added; choose another", name, maxNameBytes)
	}
	free := uint32(0)
	for i := uint32(0); i < abi.MaxWorkloads-1; i++ {
		id := (s.last+i)%(abi.MaxWorkloads-1) + 1
		switch r := s.record(id); {
		case r.name() == name:
			return 0, fmt.Errorf("workload %q: exists: it is not added; choose another name", name)
		case r.Name[0] == 0 && free == 0:
			free = id
		}
	}
	if ended := s.ended(); free == 0 && ended != 0 && s.release(ended) == nil {
		free = ended
	}
	if free == 0 {
		return 0, fmt.Errorf("workload %q: all %d numbers are taken: it is not added; remove another", name, abi.MaxWorkloads-1)
	}
	if err := fault.At("bpf.claim"); err != nil {
		return 0, fmt.Errorf("workload %q: %w: it is not added; try again", name, err)
	}
	if err := s.clear(free); err != nil {
		return 0, fmt.Errorf("workload %q: %w: it is not added; try again", name, err)
	}
	r := s.record(free)
	copy(r.Name[1:], name[1:])
	if err := fault.At("bpf.name"); err != nil {
		return 0, fmt.Errorf("workload %q: %w: it is not added; try again", name, err)
	}
	r.Name[0] = name[0] // last: now the number is taken
	s.last = free
	return free, nil
}

// clear zeroes everything that is kept of a workload, which confines nobody.
func (s *store) clear(id uint32) error {
	if err := s.disarm(id); err != nil {
		return err
	}
	if err := fault.At("bpf.clear-record"); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	*s.record(id) = record{}
	return nil
}

// disarm leaves a workload nothing but its number: without a plan it is denied
// everything.
func (s *store) disarm(id uint32) error {
	w, err := s.workload(id)
	if err != nil {
		return err
	}
	if old := atomic.SwapUint64(&w.plan, 0); old != 0 || len(s.used[id]) > 0 {
		if err := s.graceperiod(); err != nil {
			return fmt.Errorf("grace period: %w", err)
		}
	}
	delete(s.used, id)
	*w = workload{}
	if err := fault.At("bpf.clear-counters"); err != nil {
		return fmt.Errorf("counters: %w", err)
	}
	zero := make([]counters, ebpf.MustPossibleCPU())
	if err := s.maps["counts"].Put(id, zero); err != nil {
		return fmt.Errorf("counters: %w", err)
	}
	if err := fault.At("bpf.clear-sequence"); err != nil {
		return fmt.Errorf("sequence: %w", err)
	}
	if err := s.maps["seqs"].Put(id, uint64(0)); err != nil {
		return fmt.Errorf("sequence: %w", err)
	}
	if err := fault.At("bpf.clear-terminals"); err != nil {
		return fmt.Errorf("terminals: %w", err)
	}
	if err := s.disown(id); err != nil {
		return fmt.Errorf("terminals: %w", err)
	}
	return nil
}

// disown leaves no terminal to a workload that has no task: another one's would it
// be under the same number.
func (s *store) disown(id uint32) error {
	terminals, err := listWorkloads(s.maps["terminals"])
	if err != nil {
		return err
	}
	for terminal, of := range terminals {
		if of != id {
			continue
		}
		if err := s.maps["terminals"].Delete(terminal); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
	}
	return nil
}

// ErrInUse is what Release returns of a workload that can still confine.
var ErrInUse = errors.New("in use")

// Release gives the number of a workload back. It must have no cgroup and no
// task any more: nothing then can become a task of it.
func (s *store) Release(id uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.release(id)
}

func (s *store) release(id uint32) error {
	if _, err := s.workload(id); err != nil {
		return err
	}
	groups, tasks, err := s.left(id)
	switch {
	case err != nil:
		return err
	case len(groups) > 0:
		return fmt.Errorf("workload %d: has cgroup %d: it stays: %w", id, groups[0], ErrInUse)
	case tasks > 0:
		return fmt.Errorf("workload %d: has tasks (%d): it stays: %w", id, tasks, ErrInUse)
	}
	if err := fault.At("bpf.release"); err != nil {
		return fmt.Errorf("workload %d: %w: it stays; try again", id, err)
	}
	return s.clear(id)
}

// left lists the cgroups of a workload, and counts its tasks.
func (s *store) left(id uint32) (groups []uint64, tasks int, err error) {
	all, err := s.groups()
	if err != nil {
		return nil, 0, err
	}
	for group, of := range all {
		if of == id {
			groups = append(groups, group)
		}
	}
	count, err := countMembers(s.maps["members"])
	return groups, count[id], err
}

// Groups returns the workload of every cgroup that has one, by cgroup id.
func (s *store) Groups() (map[uint64]uint32, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.groups()
}

func (s *store) groups() (map[uint64]uint32, error) { return listGroups(s.maps["cgroups"]) }

// Tasks counts the living tasks of each workload that made a decision or were
// born in it.
func (s *store) Tasks() (map[uint32]int, error) { return countMembers(s.maps["members"]) }

// Table returns a copy of the installed table of a workload, nil if there is
// none.
func (s *store) Table(id uint32) ([]uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.workload(id); err != nil {
		return nil, err
	}
	used := s.used[id]
	if len(used) == 0 {
		return nil, nil
	}
	r := used[len(used)-1]
	words := make([]uint64, r.words)
	for i := range words {
		words[i] = binary.NativeEndian.Uint64(s.arena[(r.at+i)*8:])
	}
	return words, nil
}

// Handled returns the actions for which hooks are attached.
func (s *store) Handled() abi.ActionMask { return abi.ActionMask(s.header().Handled) }

// Strict reports whether workloads can be strict.
func (s *store) Strict() bool { return s.strict }

// Words returns the size of the arena.
func (s *store) Words() int { return len(s.arena) / 8 }

// Used returns how much of the arena holds tables: one that several workloads have counts once.
func (s *store) Used() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for r := range s.regions() {
		n += r.words
	}
	return n
}
