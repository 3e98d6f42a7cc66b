package bpf

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/fault"
)

// Options of Load. Zero values are good defaults.
type Options struct {
	// PinDir is a folder on bpffs in which links and maps are pinned: they
	// then outlive this process. It must not exist. "" pins nothing.
	PinDir string
	// TableWords is how many 64-bit words all installed tables may take at
	// once; a reload needs room for the old and the new one.
	TableWords int
	// Handled are the actions that plans will handle; 0 means
	// abi.DefaultActions. Hooks that only others need are not attached.
	Handled abi.ActionMask
	// Clock says that plans may test the time: confined tasks then cannot set
	// the clock. Without it such plans are not installed.
	Clock bool
	// Strict attaches the hooks of strict workloads; see SetStrict.
	Strict bool
	// EventBytes is the size of the ring buffer, a power of two and a
	// multiple of the page size.
	EventBytes int
	// Starting is how long a container's runtime may prepare what it starts; 0 means 60 s.
	// See SetContainer.
	Starting time.Duration
	// KnownCalls is the highest number of a system call that counts as known;
	// 0 means all that this build knows.
	KnownCalls int

	isNew bool // it is loaded beside another one, whose place it will take
}

const (
	defaultTableWords = 1 << 16
	defaultEventBytes = 4 << 20
)

// Enforcer is one loaded and attached set of programs with its maps.
type Enforcer struct {
	pinDir   string
	maps     map[string]*ebpf.Map
	links    map[string]link.Link
	holds    map[string]link.Link // see hold.go
	images   []byte
	register *ebpf.Program
	gaps     []string
	*store
}

// Load loads every program, attaches all hooks or none, and pins them.
func Load(o Options) (*Enforcer, error) {
	if o.TableWords <= 0 {
		o.TableWords = defaultTableWords
	}
	if o.Handled == 0 {
		o.Handled = abi.DefaultActions
	}
	if o.EventBytes <= 0 {
		o.EventBytes = defaultEventBytes
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("locked memory limit: %w: no program is loaded; run as root or with CAP_SYS_RESOURCE", err)
	}
	e := &Enforcer{maps: map[string]*ebpf.Map{}, links: map[string]link.Link{}}
	groups := []group{groupAlways}
	if o.Strict {
		groups = append(groups, groupStrict)
	}
	programs, err := e.load(o, btf.NewCache(), groups...)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	if e.store, err = openStore(e.maps); err != nil {
		closeAll(programs)
		return nil, errors.Join(err, e.Close())
	}
	e.store.clock, e.store.strict = o.Clock, o.Strict
	if err = e.SyncClock(); err == nil {
		err = e.attach(programs)
	}
	closeAll(programs) // links hold what they need
	if err == nil {
		err = fault.At("bpf.describe")
	}
	if err == nil {
		e.describe(o)
	}
	if err == nil && o.PinDir != "" {
		err = e.pin(o.PinDir)
	}
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// program is one that was loaded, by its full name: the kernel cuts it.
type program struct {
	name string
	*ebpf.Program
}

func closeAll(programs []program) {
	for _, p := range programs {
		p.Close()
	}
}

// load loads the programs of groups and returns them in the order in which they are
// attached: where two are on one hook, what policy refuses is told by what confines.
func (e *Enforcer) load(o Options, types *btf.Cache, groups ...group) ([]program, error) {
	kernel, err := types.Kernel()
	if err != nil {
		return nil, fmt.Errorf("kernel BTF: %w: no program is loaded; use a kernel with CONFIG_DEBUG_INFO_BTF", err)
	}
	spec, err := loadKern()
	if err == nil {
		err = fault.At("bpf.load-object")
	}
	if err == nil {
		choose(spec, groups...)
		err = size(spec, o)
	}
	if err == nil {
		err = late(spec, kernel)
	}
	if err != nil {
		return nil, fmt.Errorf("BPF programs: %w: nothing is loaded; rebuild stockade", err)
	}
	e.gaps = append(e.gaps, dropMissing(spec, kernel)...)
	dropIdle(spec, o)
	coll, err := loadShared(spec, e.maps, types)
	if err != nil {
		return nil, loadError(err)
	}
	defer coll.Close()
	var programs []program
	for name := range spec.Programs {
		programs = append(programs, program{name, coll.DetachProgram(name)})
	}
	slices.SortFunc(programs, func(a, b program) int {
		return cmp.Or(strings.Compare(string(groupOf(a.name)), string(groupOf(b.name))), strings.Compare(a.name, b.name))
	})
	return programs, nil
}

// loadShared loads spec with those of maps that it names, and adds to maps what
// it had to make.
func loadShared(spec *ebpf.CollectionSpec, maps map[string]*ebpf.Map, types *btf.Cache) (*ebpf.Collection, error) {
	kernel, err := types.Kernel()
	if err != nil {
		return nil, err
	}
	shared := map[string]*ebpf.Map{}
	for name := range spec.Maps {
		if m := maps[name]; m != nil {
			shared[name] = m
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		MapReplacements: shared,
		Programs:        ebpf.ProgramOptions{KernelTypes: kernel}, // not those of modules, too
		Cache:           types,                                    // which would be read once more: they are large
	})
	if err != nil {
		return nil, err
	}
	for name := range coll.Maps {
		if maps[name] == nil && !internal(name) {
			maps[name] = coll.DetachMap(name)
		}
	}
	return coll, nil
}

// internal tells .rodata and its like, of which each load has its own.
func internal(name string) bool { return len(name) > 0 && name[0] == '.' }

// size sets the sizes and the switches that are known only now.
func size(spec *ebpf.CollectionSpec, o Options) error {
	words := uint64(1) << bits.Len(uint(o.TableWords)) // more than TableWords: word 0 is unused
	arena := spec.Maps["arena"]
	arena.ValueSize = uint32(words * 8)
	arena.Key, arena.Value = nil, nil // BTF knows the default size only
	spec.Maps["events"].MaxEntries = uint32(o.EventBytes)
	err := spec.Variables["arena_mask"].Set(words - 1)
	if err == nil && o.KnownCalls > 0 {
		err = spec.Variables["known_calls"].Set(uint32(o.KnownCalls))
	}
	if err == nil && o.Clock {
		err = spec.Variables["keep_clock"].Set(uint32(1))
	}
	if err == nil && o.Starting > 0 {
		err = spec.Variables["starting_limit"].Set(uint64(o.Starting))
	}
	return err
}

func loadError(err error) error {
	var verifier *ebpf.VerifierError
	hint := "see what `stockade doctor` says that this host lacks"
	if errors.As(err, &verifier) && len(verifier.Log) > 0 {
		hint = "please report the kernel's version with this message"
	}
	return fmt.Errorf("BPF programs: %w: nothing is enforced; %s", plain(err), hint)
}

// attach attaches all programs or none.
func (e *Enforcer) attach(programs []program) error {
	for _, p := range programs {
		if p.Type() == ebpf.Syscall {
			var err error
			if e.register, err = p.Clone(); err != nil {
				return fmt.Errorf("BPF program: %w: nothing is enforced; check the kernel log", err)
			}
			continue
		}
		l, err := attachOne(p)
		if err != nil {
			return err
		}
		e.links[p.name] = l
	}
	return nil
}

// attachOne attaches one program to its hook.
func attachOne(p program) (l link.Link, err error) {
	switch err = fault.At("bpf.attach"); {
	case err != nil:
	case p.Type() == ebpf.LSM:
		l, err = link.AttachLSM(link.LSMOptions{Program: p.Program})
	case p.name == retireIter, p.name == rollIter, p.name == heirIter:
		l, err = link.AttachIter(link.IterOptions{Program: p.Program})
	case p.Type() == ebpf.Tracing:
		l, err = link.AttachTracing(link.TracingOptions{Program: p.Program})
	default:
		err = fmt.Errorf("unexpected program type %s", p.Type())
	}
	if err != nil {
		return nil, fmt.Errorf("hook %s: %w: nothing is enforced; check that the kernel's lsm= list has bpf (`stockade doctor`)", p.name, err)
	}
	return l, nil
}

// Hooks lists the attached hooks.
func (e *Enforcer) Hooks() []string {
	list := make([]string, 0, len(e.links))
	for name := range e.links {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// Gaps lists the hooks that this kernel lacks and that nothing else covers,
// each with its consequence.
func (e *Enforcer) Gaps() []string { return e.gaps }

// pin makes dir and pins everything in it, the registry last: a folder without
// it is not whole.
func (e *Enforcer) pin(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return pinError(dir, err)
	}
	if err := fault.At("bpf.pin-folder"); err != nil {
		return pinError(dir, err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return pinError(dir, err)
	}
	e.pinDir = dir
	for name, m := range e.maps {
		if name == registryName {
			continue
		}
		if err := fault.At("bpf.pin-map"); err != nil {
			return pinError(dir, err)
		}
		if err := m.Pin(filepath.Join(dir, mapPin+name)); err != nil {
			return pinError(dir, err)
		}
	}
	for name, l := range e.links {
		if err := fault.At("bpf.pin-link"); err != nil {
			return pinError(dir, err)
		}
		if err := l.Pin(filepath.Join(dir, linkPin+name)); err != nil {
			return pinError(dir, err)
		}
	}
	if err := fault.At("bpf.pin-program"); err != nil {
		return pinError(dir, err)
	}
	if err := e.register.Pin(filepath.Join(dir, registerPin)); err != nil {
		return pinError(dir, err)
	}
	if err := fault.At("bpf.pin-registry"); err != nil {
		return pinError(dir, err)
	}
	if err := e.maps[registryName].Pin(filepath.Join(dir, mapPin+registryName)); err != nil {
		return pinError(dir, err)
	}
	return nil
}

func pinError(dir string, err error) error {
	return fmt.Errorf("%s: %w: nothing is enforced; mount bpffs with `mount -t bpf bpf /sys/fs/bpf`, and stop the run that uses this name", dir, err)
}

// Close ends enforcement: it removes the pins and closes everything.
func (e *Enforcer) Close() error {
	var err error
	if e.pinDir != "" {
		err = Remove(e.pinDir)
	}
	return errors.Join(err, e.Abandon())
}

// Abandon closes this process's hold. What is pinned goes on enforcing.
func (e *Enforcer) Abandon() error {
	var errs []error
	for _, set := range []map[string]link.Link{e.links, e.holds} {
		for _, l := range set {
			errs = append(errs, l.Close())
		}
	}
	for _, m := range e.maps {
		errs = append(errs, m.Close())
	}
	if e.images != nil {
		errs = append(errs, unix.Munmap(e.images))
	}
	if e.register != nil {
		errs = append(errs, e.register.Close())
	}
	if e.store != nil {
		errs = append(errs, e.store.close())
	}
	return errors.Join(errs...)
}
