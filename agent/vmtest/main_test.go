// Package vmtest runs the agent as a user does, on a Debian in a VM.
package vmtest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const program = "/usr/bin/stockade"

// TestMain lets the test binary be a racer or a probe.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "race" {
		os.Exit(race())
	}
	if len(os.Args) > 1 && os.Args[1] == "rewrite" {
		os.Exit(rewrite())
	}
	if len(os.Args) == 3 && os.Args[1] == "opens" {
		os.Exit(opens(os.Args[2]))
	}
	if len(os.Args) == 3 && os.Args[1] == "headless" {
		os.Exit(headless(os.Args[2]))
	}
	if len(os.Args) == 2 && os.Args[1] == "roam" {
		os.Exit(roam())
	}
	if len(os.Args) == 2 && os.Args[1] == "plug" {
		os.Exit(plug())
	}
	if len(os.Args) == 2 && os.Args[1] == "ring" {
		os.Exit(ring())
	}
	if len(os.Args) == 2 && os.Args[1] == "flood" {
		os.Exit(flood())
	}
	if len(os.Args) == 3 && probing[os.Args[1]] != nil {
		probe(probing[os.Args[1]], os.Args[2])
	}
	os.Exit(m.Run())
}

func inVM(t *testing.T) {
	t.Helper()
	if os.Getenv("STOCKADE_VM") == "" {
		t.Skip("runs in the VM: needs BPF LSM and Debian's programs")
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// result is how a program ended.
type result struct {
	code           int
	stdout, stderr string
}

// stockade runs the program to its end.
func stockade(t *testing.T, args ...string) result {
	t.Helper()
	cmd := exec.Command(program, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// nothingLeft demands that nothing is pinned or remembered.
func nothingLeft(t *testing.T) {
	t.Helper()
	for _, pattern := range []string{"/sys/fs/bpf/*", "/run/stockade/*.json", "/run/stockade/agent/*"} {
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}
