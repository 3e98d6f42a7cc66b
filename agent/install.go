package agent

import (
	"os"
	"os/exec"
	"path/filepath"

	"github.com/stockade-dev/stockade/agent/container"
	"github.com/stockade-dev/stockade/agent/engine"
)

// What registers the wrapper runtime with a container engine.
type (
	EngineOptions = engine.Options
	EnginePlan    = engine.Plan
)

// Defaults of the wrapper runtime.
const (
	RuntimeName   = engine.DefaultName
	RuntimeConfig = container.SettingsFile
)

// Engines lists the container engines that are known.
func Engines() []string { return engine.Engines() }

// Wrapper is where the wrapper runtime lies: beside this program, else in its usual place.
func Wrapper() string {
	if self, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(self); err == nil {
			self = real
		}
		beside := filepath.Join(filepath.Dir(self), filepath.Base(engine.DefaultWrapper))
		if _, err := os.Stat(beside); err == nil {
			return beside
		}
	}
	return engine.DefaultWrapper
}

// PlanRuntime plans to register the wrapper runtime with an engine, or to take it out again.
func PlanRuntime(o EngineOptions, remove bool) (*EnginePlan, error) {
	o.Version = func() (string, error) {
		text, err := exec.Command("containerd", "--version").Output()
		return string(text), err
	}
	if remove {
		return engine.Remove(o)
	}
	return engine.Install(o)
}
