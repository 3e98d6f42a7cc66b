package sink

import (
	"cmp"
	"slices"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// Limits of what a tally keeps, since a workload can be refused anything any
// number of times.
const (
	maxGroups     = 8192
	maxGroupBytes = 4 << 20
	topGroups     = 10
)

// Tally groups equal denials: same actions, paths, executable and policies.
type Tally struct {
	total  uint64
	audit  uint64 // that denied nothing
	bytes  int
	full   bool
	groups map[Group]*uint64 // by Group without its count
}

// Add counts one denial.
func (t *Tally) Add(d *Event) {
	if t.groups == nil {
		t.groups = make(map[Group]*uint64)
	}
	t.total++
	if d.Mode == abi.Audit {
		t.audit++
	}
	exe := "?"
	if d.Exe != "" {
		exe = Token(d.Exe)
	}
	key := Group{What: d.what() + " by " + exe, Why: d.why()}
	if n := t.groups[key]; n != nil {
		*n++
		return
	}
	size := len(key.What) + len(key.Why)
	if len(t.groups) >= maxGroups || t.bytes+size > maxGroupBytes {
		t.full = true
		return
	}
	t.bytes += size
	t.groups[key] = new(uint64)
	*t.groups[key] = 1
}

// Total returns how many denials were added.
func (t *Tally) Total() uint64 { return t.total }

// Audit returns how many of them denied nothing.
func (t *Tally) Audit() uint64 { return t.audit }

// Distinct returns how many groups there are, and whether there were more than
// are kept.
func (t *Tally) Distinct() (n int, partial bool) { return len(t.groups), t.full }

// Top returns the largest groups, largest first.
func (t *Tally) Top() []Group {
	list := make([]Group, 0, len(t.groups))
	for g, n := range t.groups {
		g.Count = *n
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.What, b.What), cmp.Compare(a.Why, b.Why))
	})
	return list[:min(len(list), topGroups)]
}
