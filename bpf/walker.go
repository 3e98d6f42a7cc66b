package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// component and walkInput are the twins of the structures in kern/maps.h and
// kern/walk.bpf.c.
type component struct{ len, a, b uint64 }

type inputPath struct {
	n     uint64
	c     [abi.MaxComponents]component
	names [32768]byte
}

type walkInput struct {
	plan, kind, repeat, status uint32
	class, destClass           uint32
	sub, destSub               int32
	gains, walked              uint32
	xattrLen                   uint32
	guarded, destGuarded       uint32
	need                       uint64
	missing, denied, trips     uint64
	reported                   uint64
	number                     [abi.MaxDims]int64
	path, dest, exe, parent    inputPath
	xattr                      [256]byte
}

// noPath as a number of components: there is no path, or it is not known.
const noPath = ^uint64(0)

// Walker runs the decision core of the hooks, in the kernel, for callers in
// user space: tests and benchmarks use it where no LSM program can be loaded.
// It is not safe for concurrent use.
type Walker struct {
	*store
	programs map[string]*ebpf.Program
	memory   []byte
	in       *walkInput
}

// NewWalker loads the decision core. tableWords is the largest table, in
// 64-bit words, that Place will be given.
func NewWalker(tableWords int) (*Walker, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("locked memory limit: %w: the walker cannot be loaded; run as root", err)
	}
	w := &Walker{programs: map[string]*ebpf.Program{}}
	maps := map[string]*ebpf.Map{}
	types := btf.NewCache()
	if _, err := types.Kernel(); err != nil {
		return nil, fmt.Errorf("kernel BTF: %w: the walker cannot be loaded; use a kernel with CONFIG_DEBUG_INFO_BTF", err)
	}
	spec, err := loadKern()
	if err != nil {
		return nil, fmt.Errorf("BPF programs: %w", err)
	}
	choose(spec, groupAlways, groupWalker)
	for name, p := range spec.Programs {
		if p.Type != ebpf.Syscall {
			delete(spec.Programs, name)
		}
	}
	if err := size(spec, Options{TableWords: tableWords, EventBytes: 4096}); err != nil {
		return nil, err
	}
	if err := spec.Variables["without_rename_lock"].Set(uint32(0)); err != nil { // a test's walk races with nothing
		return nil, err
	}
	coll, err := loadShared(spec, maps, types)
	if err != nil {
		return nil, loadError(err)
	}
	defer coll.Close()
	for name := range spec.Programs {
		w.programs[name] = coll.DetachProgram(name)
	}
	if w.store, err = openStore(maps); err != nil {
		return nil, err
	}
	if w.memory, err = mapMemory(maps["walk_input"]); err != nil {
		return nil, err
	}
	w.in = (*walkInput)(unsafe.Pointer(&w.memory[0]))
	return w, nil
}

// Place copies a verified table into the arena.
func (w *Walker) Place(words []uint64) error {
	if 8*(len(words)+1) > len(w.arena) {
		return fmt.Errorf("walker: a table of %d words does not fit", len(words))
	}
	for i, word := range words {
		binary.NativeEndian.PutUint64(w.arena[(1+i)*8:], word)
	}
	w.in.plan = 1
	return nil
}

// Decide answers a request as the hooks would.
func (w *Walker) Decide(r abi.Request) (abi.Verdict, error) {
	l, err := w.Lacks(abi.MaskOf(r.Action), r)
	return l.Verdict(), err
}

// Lack is what of some actions at once is not allowed.
type Lack struct {
	// Denied are those of Missing that are denied, rather than asked of the agent, and
	// Trips those of them whose denial trips a wire.
	Missing, Denied, Trips abi.ActionMask
	// Reported are, where nothing is missing, those that are reported.
	Reported abi.ActionMask
}

// Verdict is that on one action.
func (l Lack) Verdict() abi.Verdict {
	switch {
	case l.Denied != 0:
		return abi.Deny
	case l.Missing != 0:
		return abi.Ask
	}
	return abi.Allow
}

// Lacks asks for several actions at once, as the hooks do.
func (w *Walker) Lacks(need abi.ActionMask, r abi.Request) (Lack, error) {
	l := Lack{Missing: need, Denied: need}
	if len(r.Xattr) >= len(w.in.xattr) {
		return l, fmt.Errorf("walker: name of an extended attribute of %d bytes", len(r.Xattr))
	}
	w.in.kind, w.in.repeat, w.in.need = uint32(r.Kind), 0, uint64(need)
	for _, f := range abi.EachFact() {
		if f.Number {
			w.in.number[f.Dim] = f.Value(&r)
		}
	}
	w.in.xattrLen = uint32(copy(w.in.xattr[:], r.Xattr))
	err := errors.Join(w.in.path.set(r.Path), w.in.dest.set(r.Dest), w.in.exe.set(r.Exe), w.in.parent.set(r.Parent))
	if err == nil {
		err = w.run("walker_match")
	}
	if err != nil {
		return l, err
	}
	return Lack{abi.ActionMask(w.in.missing), abi.ActionMask(w.in.denied), abi.ActionMask(w.in.trips), abi.ActionMask(w.in.reported)}, nil
}

// Moved is what the rules of moves say.
type Moved struct {
	Gains, Loses     bool
	Guarded, GuardTo bool // the old and the new place
}

// Twin: enum in kern/gain.h.
const (
	bitGains = 1 << iota
	bitLoses
)

// Move asks the no-gain and the no-loss rule, and whether need guards the places.
func (w *Walker) Move(k abi.Kind, from, to string, need abi.ActionMask) (Moved, error) {
	w.in.kind, w.in.repeat, w.in.need = uint32(k), 0, uint64(need)
	w.in.exe.n, w.in.parent.n = noPath, noPath
	if err := errors.Join(w.in.path.set(from), w.in.dest.set(to)); err != nil {
		return Moved{}, err
	}
	err := w.run("walker_match")
	if err == nil && w.in.status != 2 {
		err = errors.New("walker: the rules of moves gave no answer")
	}
	return Moved{w.in.gains&bitGains != 0, w.in.gains&bitLoses != 0, w.in.guarded != 0, w.in.destGuarded != 0}, err
}

// Repeat matches a path n times in one call, for benchmarks.
func (w *Walker) Repeat(path string, n int) error {
	w.in.dest.n, w.in.exe.n, w.in.parent.n = noPath, noPath, noPath
	if err := w.in.path.set(path); err != nil {
		return err
	}
	return w.repeat("walker_match", n)
}

// maxLoops is below what bpf_loop refuses.
const maxLoops = 1 << 22

func (w *Walker) repeat(program string, n int) error {
	for n > 0 {
		w.in.repeat = uint32(min(n, maxLoops))
		n -= maxLoops
		if err := w.run(program); err != nil {
			return err
		}
	}
	return nil
}

// WalkCwd walks the path of the working directory n times, matching it each
// time if a table is placed. It returns the number of components.
func (w *Walker) WalkCwd(n int) (int, error) {
	if err := registerRoot(w.programs["register_root"], 1); err != nil {
		return 0, err
	}
	err := w.repeat("walker_cwd", n)
	if err == nil && abi.PathStatus(w.in.status) != abi.PathOK {
		err = fmt.Errorf("walker: path status %d", w.in.status)
	}
	return int(w.in.walked), err
}

// Empty runs a program that does nothing: the floor of a benchmark.
func (w *Walker) Empty() error {
	_, err := w.programs["walker_empty"].Run(&ebpf.RunOptions{})
	return err
}

func (w *Walker) run(name string) error {
	w.in.status = 0
	if _, err := w.programs[name].Run(&ebpf.RunOptions{}); err != nil {
		return fmt.Errorf("walker: %s: %w", name, err)
	}
	if w.in.status == 0 {
		return fmt.Errorf("walker: %s gave no answer", name)
	}
	return nil
}

// set fills in a path, leaf first; "" is none.
func (p *inputPath) set(path string) error {
	p.n = 0
	if path == "" {
		p.n = noPath
		return nil
	}
	if path == "/" {
		return nil
	}
	parts := strings.Split(path[1:], "/")
	if len(parts) > abi.MaxComponents {
		return fmt.Errorf("walker: %d components, of at most %d", len(parts), abi.MaxComponents)
	}
	at := 0
	for i := range parts {
		name := parts[len(parts)-1-i]
		c := &p.c[i]
		*c = component{len: uint64(len(name))}
		if len(name) > abi.InlineName {
			c.a = uint64(at)
			at += copy(p.names[at:], name)
			continue
		}
		var buf [abi.InlineName]byte
		copy(buf[:], name)
		c.a, c.b = binary.LittleEndian.Uint64(buf[:]), binary.LittleEndian.Uint64(buf[8:])
	}
	p.n = uint64(len(parts))
	return nil
}
