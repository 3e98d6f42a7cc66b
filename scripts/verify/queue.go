//go:build linux

package main

import (
	"cmp"
	"slices"
	"sync"
)

// queue hands out machines, the longest first, so that at the end none runs alone for
// long. Those that are patient run beside the others, one at a time, and give way to
// them; once there are no others, they are machines as any.
type queue struct {
	mu            sync.Mutex
	list, patient []machineTest
}

func newQueue(list []machineTest, o options) *queue {
	last := lastTimes()
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b machineTest) int { return cmp.Compare(b.seconds(o, last), a.seconds(o, last)) })
	q := &queue{}
	for _, m := range list {
		if m.patient {
			q.patient = append(q.patient, m)
		} else {
			q.list = append(q.list, m)
		}
	}
	return q
}

// next is the next machine.
func (q *queue) next() (m machineTest, some bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.list) == 0 {
		return shift(&q.patient)
	}
	return shift(&q.list)
}

// nextPatient is the next one that may run while others want the processor.
func (q *queue) nextPatient() (m machineTest, some bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return shift(&q.patient)
}

func shift(list *[]machineTest) (m machineTest, some bool) {
	if len(*list) == 0 {
		return m, false
	}
	m, *list = (*list)[0], (*list)[1:]
	return m, true
}
