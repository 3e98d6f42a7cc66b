package run

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/host/hosttest"
	"github.com/stockade-dev/stockade/agent/inspect"
	"github.com/stockade-dev/stockade/bpf"
)

// TestMain lets the test binary be the reaper, a run that is to be killed, and
// commands that count interrupts, or stop a terminal's output.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "reap" {
		if err := Reap(os.Args[2]); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 2 && os.Args[1] == "look" {
		if inspect.Helper(os.Stdin, os.Stdout) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 2 && os.Args[1] == "interrupts" {
		os.Exit(40 + countInterrupts())
	}
	if len(os.Args) == 2 && os.Args[1] == "stop-output" {
		os.Exit(stopOutput())
	}
	if len(os.Args) == 4 && os.Args[1] == "victim" {
		cfg := Config{Name: os.Args[2], Plan: hosttest.EmptyPlan(), Args: []string{"/bin/sh", "-c", os.Args[3]}, Sink: &hosttest.Recorder{}}
		cfg.Stdin, cfg.Stdout, cfg.Stderr = os.Stdin, os.Stdout, os.Stderr
		result, err := hostOf(new(hosttest.Kernel)).Run(context.Background(), cfg)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(result.ExitCode)
	}
	os.Exit(withLocks(m))
}

// withLocks runs tests with a book of locks of their own.
func withLocks(m *testing.M) int {
	dir, err := os.MkdirTemp("", "stockade-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	host.This.Lasting = dir
	return m.Run()
}

// hostOf is a host with a kernel side that stands in.
func hostOf(k *hosttest.Kernel) *Host {
	return &Host{
		Check:  func() error { return nil },
		Load:   func(bpf.Options) (host.Enforcer, error) { return k, k.LoadErr },
		Reaper: []string{"/proc/self/exe", "reap"},
	}
}
