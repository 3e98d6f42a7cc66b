// Package memory keeps what an agent has to know of its workloads beside what the kernel
// holds: for the next agent, and for who has to do without one.
package memory

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/stockade-dev/stockade/agent/container"
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/label"
	"github.com/stockade-dev/stockade/agent/tripwire"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/fault"
	"github.com/stockade-dev/stockade/compiler"
)

// Memory is what is remembered of a workload: a file for each, which a reboot forgets as
// it forgets the pins.
type Memory struct {
	// Base and BaseMode are what the configuration said when it was last
	// followed: as long as it says the same, what was changed by hand stays.
	Base     string   `json:"base"`
	BaseMode abi.Mode `json:"base_mode"`
	Root     string   `json:"root"`
	// RootID tells the root directory that was registered, as long as it lives.
	RootID string `json:"root_id,omitempty"`
	Origin string `json:"origin"`
	// Labels are those that it was declared or started with.
	Labels label.Set `json:"labels,omitempty"`
	// Budget is that of its denials.
	Budget *tripwire.Budget `json:"budget,omitempty"`
	// Process tells that of the run which asked for the workload.
	Process string `json:"process,omitempty"`
	// Container is what a workload of a template is; nil: it is none.
	Container *Container `json:"container,omitempty"`
	// Input is that of the plan, Previous that of the plan before.
	Input    compiler.Input  `json:"input"`
	Previous *compiler.Input `json:"previous,omitempty"`
}

// Container is one that a template selected.
type Container struct {
	Template string `json:"template"`
	// Facts are what it was selected by, Process what its runtime prepared.
	Facts   container.Facts   `json:"facts"`
	Process container.Process `json:"process"`
	// Cgroup is its path relative to the mount of cgroup2, with its id.
	Cgroup   string `json:"cgroup"`
	CgroupID uint64 `json:"cgroup_id"`
}

// Dir is where an agent keeps them, in the folder of its state.
func Dir(state string) string { return filepath.Join(state, host.Memories) }

// Path is the file of a workload.
func Path(dir, name string) string { return filepath.Join(dir, name+".json") }

// Recall reads the memory of a workload; nil if there is none.
func Recall(dir, name string) (*Memory, error) {
	text, err := os.ReadFile(Path(dir, name))
	if err == nil {
		err = fault.At("agent.recall")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	m := &Memory{}
	if err == nil {
		err = json.Unmarshal(text, m)
	}
	if err != nil {
		return nil, fmt.Errorf("memory of workload %s: %w: what was changed by hand is not known; remove %s to follow the configuration", name, err, Path(dir, name))
	}
	return m, nil
}

// Keep writes the memory of a workload: whole, or not at all.
func (m *Memory) Keep(dir, name string) error {
	if err := host.ReplaceFile(Path(dir, name), m); err != nil {
		return fmt.Errorf("memory of workload %s: %w: nothing is changed; make room in %s", name, err, dir)
	}
	return nil
}

// Forget removes the memory of a workload.
func Forget(dir, name string) error {
	if err := fault.At("agent.forget"); err != nil {
		return fmt.Errorf("memory of workload %s: %w: remove it by hand", name, err)
	}
	if err := host.RemoveFile(Path(dir, name)); err != nil {
		return fmt.Errorf("memory of workload %s: %w: remove it by hand", name, err)
	}
	return nil
}
