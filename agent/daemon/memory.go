package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/label"
	"github.com/stockade-dev/stockade/agent/tripwire"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/fault"
	"github.com/stockade-dev/stockade/compiler"
)

// memory is what a workload has to remember across agents, beside what the
// kernel holds: a file for each, which a reboot forgets as it forgets the pins.
type memory struct {
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
	// Input is that of the plan, Previous that of the plan before.
	Input    compiler.Input  `json:"input"`
	Previous *compiler.Input `json:"previous,omitempty"`
}

func memoryPath(dir, name string) string { return filepath.Join(dir, name+".json") }

// recall reads the memory of a workload; nil if there is none.
func recall(dir, name string) (*memory, error) {
	text, err := os.ReadFile(memoryPath(dir, name))
	if err == nil {
		err = fault.At("agent.recall")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	m := &memory{}
	if err == nil {
		err = json.Unmarshal(text, m)
	}
	if err != nil {
		return nil, fmt.Errorf("memory of workload %s: %w: what was changed by hand is not known; remove %s to follow the configuration", name, err, memoryPath(dir, name))
	}
	return m, nil
}

// keep writes the memory of a workload: whole, or not at all.
func (m *memory) keep(dir, name string) error {
	if err := host.ReplaceFile(memoryPath(dir, name), m); err != nil {
		return fmt.Errorf("memory of workload %s: %w: nothing is changed; make room in %s", name, err, dir)
	}
	return nil
}

// forget removes the memory of a workload.
func forget(dir, name string) error {
	if err := fault.At("agent.forget"); err != nil {
		return fmt.Errorf("memory of workload %s: %w: remove it by hand", name, err)
	}
	if err := os.Remove(memoryPath(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("memory of workload %s: %w: remove it by hand", name, err)
	}
	return nil
}
