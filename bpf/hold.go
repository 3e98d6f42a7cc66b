package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/fault"
)

// Hold says which of the operations that a policy asks about go on to the
// agent's fanotify group, where they wait, and are confirmed afterwards. Without
// an answer of the agent they are denied.
type Hold uint32

// What may be held.
const (
	HoldExec Hold = 1 << iota
	HoldOpen      // where the kernel has file_post_open, since 6.9
)

// Flags of struct workload; twins in kern/abi.h.
const (
	workloadStrict    = 1
	workloadEnding    = 8
	workloadContainer = 16
	workloadHoldExec  = 2
	workloadHoldOpen  = 4
)

// maxImages is how many images can wait for their exec at once.
const maxImages = 32

// image is the twin of struct image in kern/hold.bpf.c.
type image struct {
	Number, Argc, Envc, Len uint32
	Bytes                   [abi.MaxImage]byte
}

// answer is the twin of struct answer in kern/maps.h.
type answer struct{ Allow, Image uint32 }

// imagesMap is pinned last: without it the hooks that confirm are not whole.
const imagesMap = "images"

// postOpenProgram confirms opens, where the kernel has its hook.
const postOpenProgram = "hold_file_post_open"

// SetHold says what of a workload is held from now on. The hooks that confirm
// are there before the first operation is held: AttachHolds, unless that was done.
func (e *Enforcer) SetHold(id uint32, which Hold) error {
	w, err := e.workload(id)
	if err != nil {
		return err
	}
	if which != 0 {
		if err := e.AttachHolds(which); err != nil {
			return fmt.Errorf("workload %d: %w", id, err)
		}
	}
	if err := fault.At("bpf.hold-flags"); err != nil {
		return fmt.Errorf("workload %d: %w: what it holds stays as it was", id, err)
	}
	flags := uint32(0)
	if which&HoldExec != 0 {
		flags |= workloadHoldExec
	}
	if which&HoldOpen != 0 {
		flags |= workloadHoldOpen
	}
	atomic.OrUint32(&w.flags, flags)
	atomic.AndUint32(&w.flags, flags|^uint32(workloadHoldExec|workloadHoldOpen))
	return nil
}

var errNoPostOpen = errors.New("this kernel has no hook behind an open (before 6.9): what is asked about opens is not held")

// AttachHolds attaches the hooks that confirm, all or none, and pins them where
// the others are pinned. The kernel must have those for what is to be held. Once
// attached, they stay, and cost nobody anything of whom nothing is held.
func (e *Enforcer) AttachHolds(which Hold) (err error) {
	e.store.mu.Lock()
	defer e.store.mu.Unlock()
	if e.images != nil {
		if which&HoldOpen != 0 && e.holds[postOpenProgram] == nil {
			return errNoPostOpen
		}
		return nil
	}
	types := btf.NewCache()
	kernel, err := types.Kernel()
	if err != nil {
		return fmt.Errorf("kernel BTF: %w: nothing is held; use a kernel with CONFIG_DEBUG_INFO_BTF", err)
	}
	if which&HoldOpen != 0 && !hasHook(kernel, postOpen) {
		return errNoPostOpen
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.dropHolds())
		}
	}()
	o := Options{TableWords: e.Words() - 1, EventBytes: int(e.maps["events"].MaxEntries())}
	programs, err := e.load(o, types, groupHold)
	defer closeAll(programs)
	if err != nil {
		return err
	}
	e.holds = map[string]link.Link{}
	for _, p := range programs {
		l, err := attachOne(p)
		if err != nil {
			return err
		}
		e.holds[p.name] = l
		if err := e.pinHold(l, linkPin+p.name); err != nil {
			return err
		}
	}
	if err := e.pinHold(e.maps[imagesMap], imagesMap); err != nil {
		return err
	}
	e.images, err = mapMemory(e.maps[imagesMap])
	return err
}

// pinHold pins one of what confirms, if the others are pinned.
func (e *Enforcer) pinHold(one interface{ Pin(path string) error }, name string) error {
	if e.pinDir == "" {
		return nil
	}
	err := fault.At("bpf.pin-hold")
	if err == nil {
		err = one.Pin(filepath.Join(e.pinDir, holdPin+name))
	}
	if err != nil {
		return pinError(e.pinDir, err)
	}
	return nil
}

// dropHolds undoes what was begun.
func (e *Enforcer) dropHolds() error {
	var errs []error
	for _, l := range e.holds {
		errs = append(errs, l.Close())
	}
	if m := e.maps[imagesMap]; m != nil {
		errs = append(errs, m.Close())
	}
	e.holds = nil
	delete(e.maps, imagesMap)
	if e.pinDir != "" {
		errs = append(errs, unpin(e.pinDir, holdPin+"*"))
	}
	return errors.Join(errs...)
}

// adoptHolds opens the hooks that confirm, if they are whole. If not, nothing
// is held yet: what was begun is removed.
func (e *Enforcer) adoptHolds(dir string) error {
	m, err := ebpf.LoadPinnedMap(filepath.Join(dir, holdPin+imagesMap), nil)
	if err == nil {
		if err = fault.At("bpf.adopt-holds"); err != nil {
			m.Close()
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return unpin(dir, holdPin+"*")
	}
	if err != nil {
		return &IncompleteError{Dir: dir, What: fmt.Sprintf("map %s: %v", imagesMap, err)}
	}
	e.maps[imagesMap] = m
	if e.images, err = mapMemory(m); err != nil {
		return err
	}
	e.holds, err = openLinks(dir, holdPin+linkPin)
	return err
}

// Image is what the arguments and the environment of a new image have to be.
type Image struct {
	Argc, Envc int
	Strings    []byte // each ended by NUL; the arguments, then the environment
}

// Answer is what the agent says of a hold.
type Answer struct {
	Number   uint64
	Workload uint32
	Allow    bool
	// Image is what an execution was judged by. A process whose image is another
	// one is killed before its first instruction. nil: the verdict does not
	// depend on it.
	Image *Image
}

// Holds is the agent's end of what is held.
type Holds struct {
	e    *Enforcer
	ring *ringbuf.Reader

	mu    sync.Mutex
	taken [maxImages]time.Time // when a slot was filled
	owner [maxImages]uint32    // workload
	past  []uint32             // numbers that were answered
}

// Holds opens the ring of holds. One reader at a time sees each.
func (e *Enforcer) Holds() (*Holds, error) {
	err := fault.At("bpf.open-holds")
	var r *ringbuf.Reader
	if err == nil {
		r, err = ringbuf.NewReader(e.maps["asked"])
	}
	if err != nil {
		return nil, fmt.Errorf("ring of holds: %w: what is asked is denied", err)
	}
	return &Holds{e: e, ring: r}, nil
}

// Read waits for the next hold: an event whose Hold is its number. It returns
// os.ErrClosed after Close.
func (h *Holds) Read() (abi.Event, error) {
	rec, err := h.ring.Read()
	switch {
	case errors.Is(err, ringbuf.ErrClosed):
		return abi.Event{}, os.ErrClosed
	case err != nil:
		return abi.Event{}, fmt.Errorf("ring of holds: %w", err)
	}
	_ = fault.At("bpf.read-hold")
	return abi.DecodeEvent(rec.RawSample)
}

// Close releases the reader.
func (h *Holds) Close() error { return h.ring.Close() }

// Pending returns the number of the hold that a thread waits for, 0 if it does
// not.
func (h *Holds) Pending(tid int) (uint64, error) {
	var number uint32
	err := h.e.maps["waits"].Lookup(uint32(tid), &number)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("thread %d: %w: whether it waits is not known", tid, err)
	}
	return uint64(number), nil
}

// maxPast bounds the answers that nobody may have taken, for the task died.
const maxPast = 3072

// errNoSlot is an error about images that wait for their exec.
var errNoSlot = errors.New("no room for another image: it is denied; try again")

// Answer answers a hold. On an error it stays without an answer, and is denied.
func (h *Holds) Answer(a Answer) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var say answer
	if a.Allow {
		say.Allow = 1
	}
	if a.Allow && a.Image != nil {
		slot, err := h.fill(a)
		if err != nil {
			return fmt.Errorf("hold %d: %w", a.Number, err)
		}
		say.Image = uint32(slot) + 1
	}
	err := fault.At("bpf.answer")
	if err == nil {
		err = h.e.maps["answers"].Put(uint32(a.Number), say)
	}
	if err != nil {
		return fmt.Errorf("hold %d: %w: it is denied", a.Number, err)
	}
	h.past = append(h.past, uint32(a.Number))
	if len(h.past) > maxPast {
		_ = h.e.maps["answers"].Delete(h.past[0]) // most were taken
		h.past = h.past[1:]
	}
	return nil
}

// slotAge is how old an image must be before its slot is used again; its exec
// has long failed then. If not, it is killed.
const slotAge = 30 * time.Second

// slot returns one for an image of a workload, which gets no more than it leaves free.
func (h *Holds) slot(workload uint32) (int, error) {
	slot, free, mine := 0, 0, 0
	for i := range maxImages {
		switch {
		case atomic.LoadUint32(&h.image(i).Number) == 0 || time.Since(h.taken[i]) >= slotAge:
			slot, free = i, free+1
		case h.owner[i] == workload:
			mine++
		}
	}
	if mine >= free {
		return 0, errNoSlot
	}
	return slot, nil
}

func (h *Holds) image(slot int) *image {
	return (*image)(unsafe.Pointer(&h.e.images[uintptr(slot)*unsafe.Sizeof(image{})]))
}

// fill puts an image where the hooks find it.
func (h *Holds) fill(a Answer) (int, error) {
	img := a.Image
	if len(img.Strings) > abi.MaxImage {
		return 0, fmt.Errorf("arguments and environment of %d bytes: more than %d: it is denied; pass less", len(img.Strings), abi.MaxImage)
	}
	if err := fault.At("bpf.image"); err != nil {
		return 0, err
	}
	slot, err := h.slot(a.Workload)
	if err != nil {
		return 0, err
	}
	to := h.image(slot)
	atomic.StoreUint32(&to.Number, 0)
	to.Argc, to.Envc, to.Len = uint32(img.Argc), uint32(img.Envc), uint32(len(img.Strings))
	n := copy(to.Bytes[:], img.Strings)
	clear(to.Bytes[n:min((n+255)&^255, abi.MaxImage)])
	atomic.StoreUint32(&to.Number, uint32(a.Number))
	h.taken[slot], h.owner[slot] = time.Now(), a.Workload
	return slot, nil
}
