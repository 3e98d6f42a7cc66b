package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ring is the memory of a ring buffer map. Positions are in bytes and only grow;
// the kernel writes up to produced, and does not touch what lies behind consumed.
type ring struct {
	consumer, data     []byte // what is mapped
	consumed, produced *uintptr
	size               uintptr
	end                uint64 // of the record that was handed out, 0 if none was since advance
}

// Bits of the length that begins each record.
const (
	recordBusy    = 1 << 31
	recordDiscard = 1 << 30
	recordHeader  = 8
)

func openRing(m *ebpf.Map) (*ring, error) {
	page, size := unix.Getpagesize(), int(m.MaxEntries())
	consumer, err := unix.Mmap(m.FD(), 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	// The data is mapped twice in a row, so that every record is in one piece.
	data, err := unix.Mmap(m.FD(), int64(page), page+2*size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mmap: %w", err), unix.Munmap(consumer))
	}
	return &ring{consumer: consumer, data: data, consumed: (*uintptr)(unsafe.Pointer(&consumer[0])),
		produced: (*uintptr)(unsafe.Pointer(&data[0])), size: uintptr(size)}, nil
}

func (r *ring) close() error { return errors.Join(unix.Munmap(r.consumer), unix.Munmap(r.data)) }

func (r *ring) empty() bool {
	return atomic.LoadUintptr(r.consumed) == atomic.LoadUintptr(r.produced)
}

// advance gives the place of the record back that was handed out.
func (r *ring) advance() {
	if r.end != 0 {
		atomic.StoreUintptr(r.consumed, uintptr(r.end))
		r.end = 0
	}
}

// next returns a copy of the next record, which stays on the ring; nil if there
// is none.
func (r *ring) next() ([]byte, error) {
	records := r.data[unix.Getpagesize():]
	for {
		at := atomic.LoadUintptr(r.consumed)
		left := atomic.LoadUintptr(r.produced) - at
		if left == 0 {
			return nil, nil
		}
		from := at & (r.size - 1)
		header := atomic.LoadUint32((*uint32)(unsafe.Pointer(&records[from])))
		if header&recordBusy != 0 { // its writer is in the middle of it
			runtime.Gosched()
			continue
		}
		n := uintptr(header &^ recordDiscard)
		whole := recordHeader + (n+7)&^7
		if whole > left || whole > r.size {
			return nil, fmt.Errorf("a record of %d bytes where %d are written", whole, left)
		}
		if header&recordDiscard != 0 {
			atomic.StoreUintptr(r.consumed, at+whole)
			continue
		}
		r.end = uint64(at + whole)
		return append([]byte{}, records[from+recordHeader:from+recordHeader+n]...), nil
	}
}

// What a bell says; later ones outdo earlier ones.
const (
	toldFlush = 1 + iota
	toldClose
)

// bell waits for records, and can be told other things meanwhile.
type bell struct {
	epoll, event int
	told         atomic.Int32

	mu   sync.Mutex
	gone bool
}

func newBell(records int) (*bell, error) {
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("epoll: %w", err), unix.Close(event))
	}
	for _, fd := range []int{records, event} {
		if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			return nil, errors.Join(fmt.Errorf("epoll: %w", err), unix.Close(epoll), unix.Close(event))
		}
	}
	return &bell{epoll: epoll, event: event}, nil
}

// wait returns what was told, 0 if there may be records.
func (b *bell) wait() (told int32, err error) {
	var events [2]unix.EpollEvent
	for {
		n, err := unix.EpollWait(b.epoll, events[:], -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("epoll: %w", err)
		}
		for _, e := range events[:n] {
			if int(e.Fd) == b.event {
				return b.told.Load(), nil
			}
		}
		return 0, nil
	}
}

// ring tells something. It stays told until flushed.
func (b *bell) ring(what int32) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone {
		return nil
	}
	if b.told.Load() < what {
		b.told.Store(what)
	}
	if _, err := unix.Write(b.event, binary.NativeEndian.AppendUint64(nil, 1)); err != nil {
		return fmt.Errorf("event ring: eventfd: %w", err)
	}
	return nil
}

// flushed forgets a flush.
func (b *bell) flushed() {
	if b.told.CompareAndSwap(toldFlush, 0) {
		var count [8]byte
		_, _ = unix.Read(b.event, count[:])
	}
}

func (b *bell) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = true
	return errors.Join(unix.Close(b.epoll), unix.Close(b.event))
}
