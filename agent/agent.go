// Package agent is what verbs use to confine workloads: one command at a time, or all
// that a configuration declares. What they need of the packages below has its name here.
package agent

import (
	"context"
	"io"

	"github.com/stockade-dev/stockade/agent/daemon"
	"github.com/stockade-dev/stockade/agent/decide"
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/inspect"
	"github.com/stockade-dev/stockade/agent/policies"
	"github.com/stockade-dev/stockade/agent/run"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// One command.
type (
	// RunConfig describes a run.
	RunConfig = run.Config
	// RunResult is its outcome.
	RunResult = run.Result
	// NotStartedError is an error of a run before its command was started.
	NotStartedError = run.NotStartedError
)

// ExitFailed is the exit code of a run that failed by itself.
const ExitFailed = run.ExitFailed

// How a run takes to an agent.
const (
	AgentNever   = run.AgentNever
	AgentAuto    = run.AgentAuto
	AgentRequire = run.AgentRequire
)

// Run runs a command confined by a plan, see run.Run.
func Run(ctx context.Context, cfg RunConfig) (RunResult, error) { return run.Run(ctx, cfg) }

// Reap is the main of a run's reaper.
func Reap(name string) error { return run.Reap(name) }

// Look is the main of a helper that reads of a workload, see inspect.Helper.
func Look(stdin io.Reader, stdout io.Writer) error { return inspect.Helper(stdin, stdout) }

// EnterHost has a program in a container see the host's cgroups, see host.Enter.
func EnterHost() error { return host.Enter() }

// Build names the build that metrics tell of.
var Build = &daemon.Build

// Serve runs the agent of a configuration, see daemon.Serve.
func Serve(ctx context.Context, file string, std io.Writer) error {
	return daemon.Serve(ctx, file, std)
}

// CheckConfig reads and checks a configuration with all the policies that it names.
// Nothing is changed.
func CheckConfig(file string) (Checked, error) { return daemon.CheckConfig(file) }

// Checked is what a configuration that is in order comes to.
type Checked = daemon.Checked

// Uninstall ends all enforcement of the agent behind a socket, see daemon.Uninstall.
func Uninstall(ctx context.Context, socket string, force bool, note func(string)) (killed int, err error) {
	return daemon.Uninstall(ctx, socket, force, note)
}

// Decider answers requests from compiled tables, as the kernel would.
type Decider = decide.Decider

// NewDecider compiles an input, whose principal is that of requests that name none.
func NewDecider(in compiler.Input) (*Decider, error) { return decide.New(in) }

// Baselines lists the names of the policies that stockade brings along.
var Baselines = policies.Baselines

// Baseline returns a baseline, for a plan that handles some actions, as a source.
func Baseline(name string, handled abi.ActionMask) (compiler.Source, error) {
	return policies.Baseline(name, handled)
}

// AddBaseline adds a baseline to the policies of an input.
func AddBaseline(in *compiler.Input, name string) error { return policies.AddBaseline(in, name) }

// ReadPolicies reads a file, or the *.cedar files of a folder.
func ReadPolicies(path string) ([]compiler.Source, error) { return policies.Read(path) }
