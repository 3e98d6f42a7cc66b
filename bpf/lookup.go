package bpf

import (
	"encoding/binary"
	"fmt"
	"io/fs"

	"github.com/cilium/ebpf"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// Left is what the pins of a set tell of one workload, whoever serves the set.
type Left struct {
	abi.Counters
	Tasks int
}

// LeftOf looks at the workload of a name in the set pinned in dir, of which
// nothing is changed. The error is fs.ErrNotExist if the set, or the workload in
// it, is not there.
func LeftOf(dir, name string) (left Left, err error) {
	id, before, err := numberOf(dir, name)
	if err != nil {
		return left, err
	}
	members, err := openPin(dir, "members")
	if err != nil {
		return left, err
	}
	defer members.Close()
	counts, err := openPin(dir, "counts")
	if err != nil {
		return left, err
	}
	defer counts.Close()
	tasks, err := countMembers(members)
	if err != nil {
		return left, fmt.Errorf("%s: %w: whether tasks are left is not known", dir, err)
	}
	left.Tasks = tasks[id]
	left.Counters, err = sumCounts(counts, id)
	left.Counters = before.counters(left.Counters)
	return left, err
}

// numberOf finds the number of a workload in the registry of a pinned set, and what was
// counted of it before that set was.
func numberOf(dir, name string) (found uint32, before totals, err error) {
	err = eachRecord(dir, func(id uint32, r *record) bool {
		if r.name() == name {
			found, before = id, r.Before
		}
		return found == 0
	})
	if err == nil && found == 0 {
		err = fmt.Errorf("%s: workload %s: %w", dir, name, fs.ErrNotExist)
	}
	return found, before, err
}

// eachRecord gives the records of a pinned registry to take, until it wants no more.
func eachRecord(dir string, take func(id uint32, r *record) bool) error {
	m, err := openPin(dir, registryName)
	if err != nil {
		return err
	}
	defer m.Close()
	for id := uint32(1); id < abi.MaxWorkloads; id++ {
		r, err := readRecord(dir, m, id)
		if err != nil {
			return err
		}
		if !take(id, &r) {
			break
		}
	}
	return nil
}

// readRecord reads one of a registry that is pinned in dir.
func readRecord(dir string, registry *ebpf.Map, id uint32) (r record, err error) {
	value, err := registry.LookupBytes(id)
	if err == nil && value == nil {
		err = fs.ErrNotExist
	}
	if err != nil {
		return r, fmt.Errorf("%s: registry: %w: its workloads are not known", dir, err)
	}
	if _, err := binary.Decode(value, binary.NativeEndian, &r); err != nil {
		return r, fmt.Errorf("%s: registry: %w: another build pinned it", dir, err)
	}
	return r, nil
}

// sumCounts adds up the counts of all processors.
func sumCounts(m *ebpf.Map, id uint32) (sum abi.Counters, err error) {
	var perCPU []counters
	if err := m.Lookup(id, &perCPU); err != nil {
		return sum, fmt.Errorf("counters of workload %d: %w", id, err)
	}
	for _, c := range perCPU {
		sum.Allowed += c.Allowed
		sum.Denied += c.Denied
		sum.Dropped += c.Dropped
		sum.Withheld += c.Withheld
	}
	return sum, nil
}
