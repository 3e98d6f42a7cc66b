package sink

import (
	"cmp"
	"slices"
	"sync"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// How many denials are kept of a workload, for who looks at it: of its policies, and of
// a lockdown. That denies all, which would leave nothing of what led to it.
const (
	maxRecent       = 64
	maxRecentLocked = 16
)

// Recent keeps the last denials, whatever becomes of them elsewhere.
type Recent struct {
	mu            sync.Mutex
	others, locks ring
}

// Event keeps one.
func (r *Recent) Event(e *Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Mode == abi.Lockdown {
		r.locks.keep(e, maxRecentLocked)
	} else {
		r.others.keep(e, maxRecent)
	}
}

// Last lists them, the oldest first.
func (r *Recent) Last() []*Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := slices.Concat(r.others.last(), r.locks.last())
	slices.SortStableFunc(list, func(a, b *Event) int { return cmp.Compare(a.Seq, b.Seq) })
	return list
}

// ring is a list of the last ones.
type ring struct {
	list []*Event // a ring once it is full
	next int
}

func (r *ring) keep(e *Event, most int) {
	if len(r.list) < most {
		r.list = append(r.list, e)
		return
	}
	r.list[r.next] = e
	r.next = (r.next + 1) % most
}

func (r *ring) last() []*Event { return slices.Concat(r.list[r.next:], r.list[:r.next]) }
