package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/fault"
)

// workload is the twin of struct workload in kern/abi.h.
type workload struct {
	plan                uint64 // word offset of the table | generation<<32
	rootMnt, rootDentry uint64
	mode                uint32
	flags               uint32
	caps, sockets       uint64 // see abi.Grants
	_                   [2]uint64
}

type counters struct{ Allowed, Denied, Dropped, Withheld uint64 }

// region is a part of the arena that an installed table takes.
type region struct{ at, words int }

// store installs plans: it writes the arena and the workloads through memory
// that it shares with the kernel, so that one aligned store flips a plan.
type store struct {
	counting  sync.Mutex // of events, see Account
	mu        sync.Mutex
	arena     []byte
	workloads []byte
	registry  []byte              // see registry.go
	used      map[uint32][]region // the installed table, last, and those that may still be read
	last      uint32              // the workload that was claimed last
	maps      map[string]*ebpf.Map
	outer     *ebpf.Map // see graceperiod
	inner     *ebpf.Map
	clock     bool          // confined tasks cannot set the clock
	taken     atomic.Uint64 // the end, on the ring, of the event that was read last
	strict    bool          // the hooks of strict workloads are attached
}

func openStore(maps map[string]*ebpf.Map) (*store, error) {
	s := &store{used: map[uint32][]region{}, maps: maps}
	var err error
	if maps[registryName] == nil {
		if maps[registryName], err = newRegistry(); err != nil {
			return nil, err
		}
	}
	for name, memory := range map[string]*[]byte{"arena": &s.arena, "workloads": &s.workloads, registryName: &s.registry} {
		if *memory, err = mapMemory(maps[name]); err != nil {
			return nil, err
		}
	}
	one := &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	if s.inner, err = ebpf.NewMap(one); err == nil {
		s.outer, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: one})
	}
	if err != nil {
		return nil, fmt.Errorf("map of maps: %w: no plan can be installed; run as root", plain(err))
	}
	return s, nil
}

// mapMemory maps an array map into this process.
func mapMemory(m *ebpf.Map) ([]byte, error) {
	size := (int(m.ValueSize())+7)&^7*int(m.MaxEntries()) + unix.Getpagesize() - 1
	if err := fault.At("bpf.map-memory"); err != nil {
		return nil, fmt.Errorf("map %s: mmap: %w: no plan can be installed; try again", m, err)
	}
	mem, err := unix.Mmap(m.FD(), 0, size&^(unix.Getpagesize()-1), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: mmap: %w: no plan can be installed; try again", m, err)
	}
	return mem, nil
}

func (s *store) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, memory := range [][]byte{s.arena, s.workloads, s.registry} {
		if memory != nil {
			errs = append(errs, unix.Munmap(memory))
		}
	}
	return errors.Join(append(errs, s.outer.Close(), s.inner.Close())...)
}

func (s *store) workload(id uint32) (*workload, error) {
	if id == 0 || id >= abi.MaxWorkloads {
		return nil, fmt.Errorf("workload %d: not in 1..%d", id, abi.MaxWorkloads-1)
	}
	return (*workload)(unsafe.Pointer(&s.workloads[uintptr(id)*unsafe.Sizeof(workload{})])), nil
}

// Install makes words, a verified table, the plan of workload id: it fills an
// unused part of the arena, unless another workload has the same table, and flips one
// word. Verdicts in progress finish on the old plan. A workload that is locked down stays so, whatever the mode: the kernel may
// have done it just now, and SetMode alone ends it. On an error nothing changes.
func (s *store) Install(id uint32, words []uint64, mode abi.Mode) (generation uint32, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, err := s.workload(id)
	if err != nil {
		return 0, err
	}
	if readsClock(words) && !s.clock {
		return 0, fmt.Errorf("workload %d: its plan tests the time, and nothing keeps the workload from setting the clock: the old plan stays; load with Clock set", id)
	}
	at, shared := s.same(words)
	if !shared {
		at = s.free(len(words))
	}
	if at == 0 {
		return 0, fmt.Errorf("workload %d: its table takes %d KiB and the arena of %d KiB has no such gap: the old plan stays; raise the arena's size",
			id, len(words)*8>>10, len(s.arena)>>10)
	}
	if err := fault.At("bpf.arena"); err != nil {
		return 0, fmt.Errorf("workload %d: table: %w: the old plan stays; try again", id, err)
	}
	if !shared {
		s.put(at, words)
	}
	generation = uint32(atomic.LoadUint64(&w.plan)>>32) + 1
	if err := s.flip(w, uint64(at)|uint64(generation)<<32, mode); err != nil {
		// Programs may still walk the new table: its region stays taken.
		s.used[id] = append([]region{{at, len(words)}}, s.used[id]...)
		return 0, fmt.Errorf("workload %d: %w: the old plan stays; try again", id, err)
	}
	_ = fault.At("bpf.installed")
	s.used[id] = append(s.used[id], region{at, len(words)})
	// Programs that read the old offset may still walk its words: its region
	// is not free before they are done.
	if s.graceperiod() == nil {
		s.used[id] = s.used[id][len(s.used[id])-1:]
	}
	return generation, nil
}

// flip makes plan and mode those of a workload. A verdict reads the plan first
// and then the mode, and where both change it may read one of before and one of
// after. What it then meets must decide as one of the two settings does, so the
// words are stored in two steps, and a grace period between them lets every
// verdict finish that began before the first:
//
//   - to audit: the mode first. The old plan in audit denies nothing, nor does
//     the new one;
//   - to lockdown: the mode first. The old plan locked down denies what is
//     handled, as does the new one (an action that only one of them handles is
//     judged as under the old plan);
//   - to enforce: the plan first. The new plan in audit denies nothing, as the
//     old plan in it did not.
//
// Where the mode stays, one store is all. A mode is exchanged for the one that it was:
// a lockdown by the kernel meanwhile stays.
func (s *store) flip(w *workload, plan uint64, mode abi.Mode) error {
	if err := fault.At("bpf.plan-store"); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	old, was := atomic.LoadUint64(&w.plan), atomic.LoadUint32(&w.mode)
	setPlan := func(plan uint64) func() { return func() { atomic.StoreUint64(&w.plan, plan) } }
	setMode := func(from, to uint32) func() { return func() { atomic.CompareAndSwapUint32(&w.mode, from, to) } }
	first, undo, second := setMode(was, uint32(mode)), setMode(uint32(mode), was), setPlan(plan)
	switch {
	case was == uint32(mode), was == uint32(abi.Lockdown):
		second()
		return nil
	case mode == abi.Enforce:
		first, undo, second = setPlan(plan), setPlan(old), setMode(was, uint32(mode))
	}
	first()
	err := s.graceperiod()
	if err == nil {
		err = fault.At("bpf.flip-second")
	}
	if err != nil {
		undo()
		return fmt.Errorf("grace period: %w", err)
	}
	second()
	return nil
}

// graceperiod waits until every program that runs now has ended: the kernel does
// so when a map in a map is replaced. (membarrier does not wait on one CPU, and
// fails where CPUs run without ticks.)
func (s *store) graceperiod() error {
	if err := fault.At("bpf.grace-period"); err != nil {
		return err
	}
	return s.outer.Put(uint32(0), s.inner)
}

// same finds an equal table that some workload has. One that may still be read is as good.
func (s *store) same(words []uint64) (at int, ok bool) {
	for r := range s.regions() {
		if r.words == len(words) && s.holds(r.at, words) {
			return r.at, true
		}
	}
	return 0, false
}

// put writes words into a free part of the arena.
func (s *store) put(at int, words []uint64) {
	for i, word := range words {
		binary.NativeEndian.PutUint64(s.arena[(at+i)*8:], word)
	}
}

// holds reports whether words stand at a word of the arena.
func (s *store) holds(at int, words []uint64) bool {
	for i, word := range words {
		if binary.NativeEndian.Uint64(s.arena[(at+i)*8:]) != word {
			return false
		}
	}
	return true
}

// regions are the parts of the arena that are taken, each once.
func (s *store) regions() map[region]bool {
	taken := map[region]bool{}
	for _, list := range s.used {
		for _, r := range list {
			taken[r] = true
		}
	}
	return taken
}

// free finds the first gap of n words; 0 if there is none.
func (s *store) free(n int) int {
	taken := slices.SortedFunc(maps.Keys(s.regions()), func(a, b region) int { return a.at - b.at })
	at := 1
	for _, r := range taken {
		if r.at-at >= n {
			return at
		}
		at = r.at + r.words
	}
	if len(s.arena)/8-at >= n {
		return at
	}
	return 0
}

// SetMode changes how verdicts of a workload are applied, from now on.
func (s *store) SetMode(id uint32, mode abi.Mode) error {
	_, err := s.exchange(id, mode, func(abi.Mode) bool { return false })
	return err
}

// Shift is SetMode for a workload that is not locked down, and returns the mode that it has
// then: a lockdown by the kernel at the same moment stays.
func (s *store) Shift(id uint32, mode abi.Mode) (abi.Mode, error) {
	return s.exchange(id, mode, func(was abi.Mode) bool { return was == abi.Lockdown || was == mode })
}

// exchange changes a mode, unless the one that it has is to stay.
func (s *store) exchange(id uint32, mode abi.Mode, stays func(was abi.Mode) bool) (abi.Mode, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, err := s.workload(id)
	if err != nil {
		return 0, err
	}
	for {
		was := atomic.LoadUint32(&w.mode)
		if stays(abi.Mode(was)) {
			return abi.Mode(was), nil
		}
		if err := fault.At("bpf.mode-store"); err != nil {
			return 0, fmt.Errorf("mode of workload %d: %w: it stays; try again", id, err)
		}
		if atomic.CompareAndSwapUint32(&w.mode, was, uint32(mode)) {
			break
		}
	}
	if mode != abi.Lockdown {
		atomic.AndUint32(&w.flags, ^uint32(workloadEnding))
	}
	return mode, nil
}

// Mode returns the mode that verdicts of a workload are applied in: a tripwire changes it.
func (s *store) Mode(id uint32) (abi.Mode, error) {
	w, err := s.workload(id)
	if err != nil {
		return 0, err
	}
	return abi.Mode(atomic.LoadUint32(&w.mode)), nil
}

// SetEnding has no task of a workload make another, until it is undone, or the mode becomes
// another than lockdown: then what is left of it becomes fewer, and a roll is complete.
func (s *store) SetEnding(id uint32, ending bool) error {
	w, err := s.workload(id)
	if err != nil {
		return err
	}
	if ending {
		atomic.OrUint32(&w.flags, workloadEnding)
	} else {
		atomic.AndUint32(&w.flags, ^uint32(workloadEnding))
	}
	return nil
}

// SetStrict makes a workload strict, or no longer: code comes only from files
// that its policy lets be mapped, and every use of a descriptor is judged, also
// of one that was opened before.
func (s *store) SetStrict(id uint32, strict bool) error {
	w, err := s.workload(id)
	if err != nil {
		return err
	}
	if strict && !s.strict {
		return fmt.Errorf("workload %d: the hooks of strict workloads are not attached: it is not strict; load with Strict set", id)
	}
	if strict {
		atomic.OrUint32(&w.flags, workloadStrict)
	} else {
		atomic.AndUint32(&w.flags, ^uint32(workloadStrict))
	}
	return nil
}

// SetContainer says whether a workload is a container's: what comes into its cgroup from
// outside is then the runtime's, and not judged, until it executes a program from the
// workload's root or in its mount namespace, or for 60 s. Who is in the cgroup already,
// and was not judged yet, counts as the runtime's, too.
func (s *store) SetContainer(id uint32, container bool) error {
	w, err := s.workload(id)
	if err != nil {
		return err
	}
	if container {
		atomic.OrUint32(&w.flags, workloadContainer)
	} else {
		atomic.AndUint32(&w.flags, ^uint32(workloadContainer))
	}
	return nil
}

// Grant sets what a workload may do beside what every workload may.
func (s *store) Grant(id uint32, g abi.Grants) error {
	w, err := s.workload(id)
	if err != nil {
		return err
	}
	atomic.StoreUint64(&w.caps, g.Caps)
	atomic.StoreUint64(&w.sockets, g.Sockets)
	return nil
}

// Confine assigns a cgroup, by its id, to a workload. Cgroups made beneath it
// from now on follow it. A cgroup never changes its workload.
func (s *store) Confine(cgroup uint64, id uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.workload(id); err != nil {
		return err
	}
	err := fault.At("bpf.confine")
	if err == nil {
		err = s.maps["cgroups"].Update(cgroup, id, ebpf.UpdateNoExist)
	}
	if errors.Is(err, ebpf.ErrKeyExist) {
		var of uint32
		if err = s.maps["cgroups"].Lookup(cgroup, &of); err == nil && of != id {
			return fmt.Errorf("cgroup %d: belongs to workload %d: it stays there; end what is in it, and remove it", cgroup, of)
		}
	}
	if err != nil {
		return fmt.Errorf("cgroup %d: %w: it is not confined", cgroup, err)
	}
	return nil
}

// Counters returns the totals of a workload.
func (s *store) Counters(id uint32) (abi.Counters, error) {
	sum, err := sumCounts(s.maps["counts"], id)
	if err != nil {
		return sum, err
	}
	return s.record(id).Before.counters(sum), nil
}
