package bpf

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// ErrFlushed is what Read returns after Flush, once nothing is pending.
var ErrFlushed = errors.New("events: flushed")

// Events reads the ring buffer of denials.
type Events struct{ ring *ringbuf.Reader }

// Events opens the ring buffer. One reader at a time sees each event.
func (e *Enforcer) Events() (*Events, error) {
	r, err := ringbuf.NewReader(e.maps["events"])
	if err != nil {
		return nil, fmt.Errorf("event ring: %w: denials would not be seen", err)
	}
	return &Events{r}, nil
}

// Read waits for the next event. It returns os.ErrClosed after Close.
func (v *Events) Read() (abi.Event, error) {
	rec, err := v.ring.Read()
	switch {
	case errors.Is(err, ringbuf.ErrFlushed):
		return abi.Event{}, ErrFlushed
	case errors.Is(err, ringbuf.ErrClosed):
		return abi.Event{}, os.ErrClosed
	case err != nil:
		return abi.Event{}, fmt.Errorf("event ring: %w", err)
	}
	return abi.DecodeEvent(rec.RawSample)
}

// Flush makes Read return ErrFlushed once everything pending was read.
func (v *Events) Flush() error { return v.ring.Flush() }

// Close releases the reader.
func (v *Events) Close() error { return v.ring.Close() }
