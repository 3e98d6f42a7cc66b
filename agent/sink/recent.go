package sink

import "sync"

// maxRecent is how many denials are kept of a workload, for who looks at it.
const maxRecent = 64

// Recent keeps the last denials, whatever becomes of them elsewhere.
type Recent struct {
	mu   sync.Mutex
	list []*Event // a ring once it is full
	next int
}

// Event keeps one.
func (r *Recent) Event(e *Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.list) < maxRecent {
		r.list = append(r.list, e)
		return
	}
	r.list[r.next] = e
	r.next = (r.next + 1) % maxRecent
}

// Last lists them, the oldest first.
func (r *Recent) Last() []*Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(append([]*Event{}, r.list[r.next:]...), r.list[:r.next]...)
}
