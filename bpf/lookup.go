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
	id, err := numberOf(dir, name)
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
	return left, err
}

// numberOf finds the number of a workload in the registry of a pinned set.
func numberOf(dir, name string) (uint32, error) {
	m, err := openPin(dir, registryName)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	for id := uint32(1); id < abi.MaxWorkloads; id++ {
		value, err := m.LookupBytes(id)
		if err != nil {
			return 0, fmt.Errorf("%s: registry: %w: workload %s is not found", dir, err, name)
		}
		var r record
		if _, err := binary.Decode(value, binary.NativeEndian, &r); err != nil {
			return 0, fmt.Errorf("%s: registry: %w: another build pinned it", dir, err)
		}
		if r.name() == name {
			return id, nil
		}
	}
	return 0, fmt.Errorf("%s: workload %s: %w", dir, name, fs.ErrNotExist)
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
