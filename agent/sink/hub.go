package sink

import (
	"fmt"
	"sync"
)

// Hub hands events, as JSON, to any number of listeners that come and go. One that is
// slow misses some; it is told how many.
type Hub struct {
	mu   sync.Mutex
	all  map[*listener]bool
	over bool
}

type listener struct {
	lines  chan string
	missed uint64
}

// Bounds of what waits for a listener, and of how many there are.
const (
	maxWaiting   = 1024
	maxListeners = 32
)

// Subscribe returns the lines to come, and how to end it. Lines is closed at the end of
// all, and at once where there are too many listeners.
func (h *Hub) Subscribe() (lines <-chan string, end func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := &listener{lines: make(chan string, maxWaiting)}
	if h.over || len(h.all) >= maxListeners {
		close(l.lines)
		return l.lines, func() {}
	}
	if h.all == nil {
		h.all = map[*listener]bool{}
	}
	h.all[l] = true
	return l.lines, func() { h.drop(l) }
}

// Listened reports whether anybody listens.
func (h *Hub) Listened() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.all) > 0
}

func (h *Hub) drop(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, l)
}

// Event hands over one event. What listeners miss is theirs: it is not lost.
func (h *Hub) Event(e *Event) error {
	if h.Listened() {
		h.send(e.JSON())
	}
	return nil
}

func (h *Hub) send(line string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.all {
		if l.missed > 0 {
			select {
			case l.lines <- fmt.Sprintf(`{"type":"missed","count":%d}`, l.missed):
				l.missed = 0
			default:
			}
		}
		if l.missed > 0 { // in order, or not at all
			l.missed++
			continue
		}
		select {
		case l.lines <- line:
		default:
			l.missed++
		}
	}
}

// Close ends all subscriptions.
func (h *Hub) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	for l := range h.all {
		close(l.lines)
		delete(h.all, l)
	}
	return nil
}
