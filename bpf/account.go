package bpf

import (
	"sync/atomic"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/fault"
)

// entry is what Account is about to do, in the registry's header. It is valid
// while End lies beyond what the ring gave back: whoever is killed in the middle
// of an account leaves it to the next reader, who brings it to its end. So every
// event that is on the ring is counted once.
type entry struct {
	End   uint64 // of the event on the ring; stored last
	Value uint64 // of the count afterwards
	ID    uint32 // workload
	Lost  uint32 // 1: it is Lost that has the value, otherwise Delivered
}

func (s *store) entry() *entry { return &s.header().Account }

// count returns the count that an entry is about.
func (s *store) count(id uint32, lost bool) *uint64 {
	r := s.record(id)
	if lost {
		return &r.Lost
	}
	return &r.Delivered
}

// Account counts the event that was read last: delivered, or lost.
func (s *store) Account(id uint32, delivered bool) {
	if id == 0 || id >= abi.MaxWorkloads {
		return
	}
	s.counting.Lock()
	defer s.counting.Unlock()
	count, e := s.count(id, !delivered), s.entry()
	e.ID, e.Lost, e.Value = id, 0, atomic.LoadUint64(count)+1
	if !delivered {
		e.Lost = 1
	}
	atomic.StoreUint64(&e.End, s.taken.Load())
	_ = fault.At("bpf.account")
	atomic.StoreUint64(count, e.Value)
	_ = fault.At("bpf.accounted")
}

// Count counts an event that was read before and handed on. If the process is
// killed before, nobody counts it.
func (s *store) Count(id uint32, delivered bool) {
	if id == 0 || id >= abi.MaxWorkloads {
		return
	}
	s.counting.Lock()
	defer s.counting.Unlock()
	atomic.AddUint64(s.count(id, !delivered), 1)
}

// Accounted returns what Account and Count counted of a workload.
func (s *store) Accounted(id uint32) (delivered, lost uint64) {
	if id == 0 || id >= abi.MaxWorkloads {
		return 0, 0
	}
	before := &s.record(id).Before
	return atomic.LoadUint64(s.count(id, false)) + before.Delivered, atomic.LoadUint64(s.count(id, true)) + before.Lost
}

// resume brings to its end what the reader before was in the middle of.
func (s *store) resume(r *ring) {
	e := s.entry()
	at := uint64(atomic.LoadUintptr(r.consumed))
	if e.End <= at || e.ID == 0 || e.ID >= abi.MaxWorkloads {
		return
	}
	if e.End <= uint64(atomic.LoadUintptr(r.produced)) {
		atomic.StoreUint64(s.count(e.ID, e.Lost == 1), e.Value)
		atomic.StoreUintptr(r.consumed, uintptr(e.End))
	}
}
