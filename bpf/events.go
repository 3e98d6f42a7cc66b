package bpf

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/fault"
)

// ErrFlushed is what Read returns after Flush, once nothing is pending.
var ErrFlushed = fmt.Errorf("events: flushed: %w", io.EOF)

// Events reads the ring buffer of denials. The place of an event on the ring is
// given back when the next one is asked for: one that was read by a process that
// was killed before that is read again by the next.
type Events struct {
	mu    sync.Mutex // held while Read runs
	ring  *ring      // nil after Close
	bell  *bell
	store *store
}

// Events opens the ring buffer. One reader at a time sees each event.
func (e *Enforcer) Events() (*Events, error) {
	err := fault.At("bpf.open-ring")
	var r *ring
	if err == nil {
		r, err = openRing(e.maps["events"])
	}
	if err != nil {
		return nil, fmt.Errorf("event ring: %w: denials would not be seen; try again", err)
	}
	b, err := newBell(e.maps["events"].FD())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("event ring: %w: denials would not be seen; try again", err), r.close())
	}
	e.store.resume(r)
	return &Events{ring: r, bell: b, store: e.store}, nil
}

// Position tells how far the ring of events was written, and how far what is written was
// read and dealt with: positions in bytes, which only grow, whoever reads.
func (e *Enforcer) Position() (written, read uint64, err error) {
	r, err := openRing(e.maps["events"])
	if err != nil {
		return 0, 0, fmt.Errorf("event ring: %w: how much of it is to be read is not known; try again", err)
	}
	// What is read first is never ahead of what is read then.
	read = uint64(atomic.LoadUintptr(r.consumed))
	written = uint64(atomic.LoadUintptr(r.produced))
	return written, read, r.close()
}

// Read waits for the next event. It returns os.ErrClosed after Close.
func (v *Events) Read() (abi.Event, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ring == nil {
		return abi.Event{}, os.ErrClosed
	}
	v.ring.advance()
	for {
		raw, err := v.ring.next()
		if err != nil {
			return abi.Event{}, fmt.Errorf("event ring: %w", err)
		}
		if raw != nil {
			_ = fault.At("bpf.read-ring")
			v.store.taken.Store(v.ring.end)
			return abi.DecodeEvent(raw)
		}
		switch why, err := v.bell.wait(); {
		case err != nil:
			return abi.Event{}, fmt.Errorf("event ring: %w", err)
		case why == toldClose:
			return abi.Event{}, os.ErrClosed
		case why == toldFlush && v.ring.empty():
			v.bell.flushed()
			return abi.Event{}, ErrFlushed
		}
	}
}

// Flush makes Read return ErrFlushed once everything pending was read.
func (v *Events) Flush() error { return v.bell.ring(toldFlush) }

// Close releases the reader.
func (v *Events) Close() error {
	if err := v.bell.ring(toldClose); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ring == nil {
		return nil
	}
	err := errors.Join(v.ring.close(), v.bell.close())
	v.ring = nil
	return err
}
