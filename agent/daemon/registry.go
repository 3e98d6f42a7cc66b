package daemon

import (
	"maps"
	"slices"
	"sync"
)

// registry has the workloads that the kernel side has.
//
// Two locks guard it and what is in a workload. Daemon.change is held by whoever changes
// anything, from the first look to the last store: who holds it reads here as he likes.
// mu is held for each store, and for each read by whoever does not hold change: who
// delivers denials, judges, or tells a status. It is the inner lock; under it nothing
// waits, and no other is taken.
type registry struct {
	mu     sync.Mutex
	byName map[string]*workload
	byID   map[uint32]*workload
}

func newRegistry() *registry {
	return &registry{byName: map[string]*workload{}, byID: map[uint32]*workload{}}
}

func (r *registry) add(w *workload) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byName[w.name], r.byID[w.id] = w, w
}

func (r *registry) remove(w *workload) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byName, w.name)
	delete(r.byID, w.id)
}

// named returns a workload, nil if there is none of that name.
func (r *registry) named(name string) *workload {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byName[name]
}

// numbered returns a workload, nil if there is none of that number.
func (r *registry) numbered(id uint32) *workload {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byID[id]
}

// names lists the names of all, sorted.
func (r *registry) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.byName))
}

// installation returns that of a generation of a workload, which may be nil; nil if it is
// not known.
func (r *registry) installation(w *workload, generation uint32) *installation {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w == nil {
		return nil
	}
	return w.installations[generation]
}
