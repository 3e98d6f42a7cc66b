package daemon

import (
	"os"
	"testing"

	"github.com/stockade-dev/stockade/agent/inspect"
	"github.com/stockade-dev/stockade/agent/run"
)

// TestMain lets the test binary be the reaper of runs, and who looks at a workload.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "reap" {
		if run.Reap(os.Args[2]) != nil {
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
	os.Exit(m.Run())
}
