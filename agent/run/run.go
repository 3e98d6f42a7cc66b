// Package agent runs workloads: it confines a command by a plan, shows what
// was refused, and cleans up.
package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/label"
	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/agent/tripwire"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// Config describes a run.
type Config struct {
	// Name is the workload's, unique on the host; "" makes one up.
	Name string
	Plan *compiler.Plan
	// Input is what Plan was compiled from; an agent compiles it anew.
	Input compiler.Input
	// Agent is AgentAuto, AgentRequire or AgentNever, which "" means; Socket is
	// where it listens.
	Agent, Socket string
	Mode          abi.Mode
	// Strict refuses executable memory that no file holds, and judges every
	// use of descriptors, the standard three among them.
	Strict bool
	// Grants are what the boundary lets it do beside what every workload may.
	Grants abi.Grants
	// Labels select the workload, beside its principal.
	Labels label.Set
	// Budget is beyond how many denials the workload is responded to; nil for none.
	Budget *tripwire.Budget
	// Args is the command; its program is looked up in $PATH.
	Args []string
	// Env is the command's environment; nil means this process's.
	Env []string
	// Dir is the command's working directory; "" means this process's.
	Dir string
	// User is NAME or UID, optionally with :GID; "" means this process's.
	User string
	// Stdin, Stdout and Stderr are the command's, untouched.
	Stdin, Stdout, Stderr *os.File
	// Sink takes the denials and the summary; Sinks get the denials beside it, and are
	// closed at the end.
	Sink  sink.Output
	Sinks sink.Queues
}

func (cfg *Config) check() error {
	switch {
	case len(cfg.Args) == 0 || cfg.Args[0] == "":
		return errors.New("command: none given: nothing was started; write it after --")
	case cfg.Plan == nil || cfg.Sink == nil:
		return errors.New("run: no plan or no sink given: nothing was started; set both")
	}
	if cfg.Name == "" {
		cfg.Name = host.DefaultName(cfg.Args[0])
	}
	if err := errors.Join(cfg.Labels.Check(), cfg.Budget.Check()); err != nil {
		return fmt.Errorf("%w: nothing was started", err)
	}
	if cfg.User != "" {
		if _, err := lookupUser(cfg.User); err != nil {
			return err
		}
	}
	if err := host.CheckName(cfg.Name); err != nil {
		return err
	}
	return cfg.admitted("nothing was started")
}

// checkClock refuses a grant that would have no effect: nobody confined sets a clock
// that policies read.
func (cfg *Config) checkClock(agent bool) error {
	switch {
	case cfg.Grants.Caps&abi.SysTime == 0:
	case agent:
		return ErrAgentsClock
	case cfg.Plan.Table.ReadsClock():
		return errors.New("cap SYS_TIME: a policy reads the clock, which nobody confined may set then: nothing was started; leave it out, or the conditions on the time")
	}
	return nil
}

// ErrAgentsClock: policies of an agent may come to read the clock at any time.
var ErrAgentsClock = errors.New("cap SYS_TIME: without effect under an agent, whose policies may read the clock: nothing was started; leave it out, or use --agent=never")

// NotStartedError is an error of a run before its command was started.
type NotStartedError struct{ Err error }

func (e *NotStartedError) Error() string { return e.Err.Error() }
func (e *NotStartedError) Unwrap() error { return e.Err }

// usesAgent reports whether an agent is to hold the workload.
func (cfg *Config) usesAgent() bool {
	return cfg.Agent == AgentRequire || cfg.Agent == AgentAuto && api.NewClient(cfg.Socket).Listens()
}

// ExitFailed is the exit code of a run that failed by itself.
const ExitFailed = 125

// Result is the outcome of a run. Its ExitCode is the command's, as a shell
// shows it: 128+N if signal N ended it, 127 and 126 if it could not be started;
// ExitFailed if the run itself failed.
type Result struct{ sink.Summary }

// Run runs a command confined by a plan and returns when it and all it started
// have ended. The command never runs unconfined: where confinement fails, it
// does not run. If this process is killed, its reaper kills the workload
// before it removes the enforcement. Descriptors of this process become
// close-on-exec.
func Run(ctx context.Context, cfg Config) (Result, error) {
	return thisHost.Run(ctx, cfg)
}

func (h *Host) Run(ctx context.Context, cfg Config) (result Result, err error) {
	result.ExitCode = ExitFailed
	if err := cfg.check(); err != nil {
		return result, &NotStartedError{err}
	}
	agent := cfg.usesAgent()
	if err := cfg.checkClock(agent); err != nil {
		return result, &NotStartedError{err}
	}
	if !agent {
		if err := h.Check(); err != nil {
			return result, &NotStartedError{err}
		}
	}
	signals := catchSignals()
	defer signals.release()
	s := &session{host: h, cfg: &cfg, agent: agent, signals: signals}
	defer func() { // also in a panic
		if failed := s.end(); failed != nil {
			result.ExitCode, err = ExitFailed, errors.Join(err, failed)
		}
	}()
	if err := s.begin(); err != nil {
		return result, &NotStartedError{err}
	}
	if sig := signals.pending(); sig != nil {
		result.ExitCode = 128 + int(sig.(syscall.Signal))
		return result, fmt.Errorf("%s: %v before its command: nothing was started; start it again", cfg.Name, sig)
	}
	started := time.Now()
	status, startErr := s.runCommand(ctx, signals)
	if status == 0 && startErr != nil {
		return result, startErr
	}
	result.ExitCode = status
	result.Elapsed = time.Since(started)
	if err := s.finish(&result.Summary); err != nil {
		result.ExitCode = ExitFailed
		return result, errors.Join(startErr, err)
	}
	cfg.Sink.Summary(&result.Summary)
	return result, errors.Join(startErr, s.watch.unwritten())
}
