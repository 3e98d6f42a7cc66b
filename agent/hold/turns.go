package hold

import "sync"

// turns gives each workload evaluators of its own. What keeps them up, such as
// arguments in memory that a slow file system backs, keeps up nobody else's.
type turns struct {
	mu   sync.Mutex
	of   map[uint32]*turn // by workload
	idle []*examiner
}

// turn is what one workload has: operations that wait for an evaluator, in order.
type turn struct {
	waiting []*operation
	running int
}

// Bounds of the evaluators: of one workload, and of examiners that are kept.
const (
	evaluators = 4
	maxIdle    = 4
)

// add lets an operation wait for its turn. start means that one more evaluator is to
// begin.
func (s *turns) add(o *operation) (t *turn, start bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t = s.of[o.asked.Workload]; t == nil {
		t = &turn{}
		s.of[o.asked.Workload] = t
	}
	t.waiting = append(t.waiting, o)
	if t.running == evaluators {
		return t, false
	}
	t.running++
	return t, true
}

// next returns what an evaluator is to do next, or nil: it then ends.
func (s *turns) next(t *turn) *operation {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(t.waiting) == 0 {
		t.running--
		return nil
	}
	o := t.waiting[0]
	t.waiting = t.waiting[1:]
	return o
}

// drop takes back an operation whose turn has not come. It reports whether it did.
func (s *turns) drop(o *operation) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.of[o.asked.Workload]
	if t == nil {
		return false
	}
	for i, w := range t.waiting {
		if w == o {
			t.waiting = append(t.waiting[:i:i], t.waiting[i+1:]...)
			return true
		}
	}
	return false
}

// forget lets the number of a workload that is gone begin anew: evaluators that are
// still kept up by it are none of the next one's.
func (s *turns) forget(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.of, id)
}

// examiner returns one that nobody uses. It is made without the lock, under which
// nothing is opened: see take.
func (s *turns) examiner(note func(key, text string)) *examiner {
	s.mu.Lock()
	if n := len(s.idle); n > 0 {
		defer s.mu.Unlock()
		x := s.idle[n-1]
		s.idle = s.idle[:n-1]
		return x
	}
	s.mu.Unlock()
	return newExaminer(note)
}

// leave gives an examiner back.
func (s *turns) leave(x *examiner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.idle) < maxIdle {
		s.idle = append(s.idle, x)
		return
	}
	x.close()
}

// close ends the examiners that nobody uses.
func (s *turns) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.idle {
		x.close()
	}
	s.idle = nil
}
