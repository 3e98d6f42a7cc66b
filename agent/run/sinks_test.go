package run

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/agent/host/hosttest"
	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/bpf/abi"
)

func TestRunTellsWhatASinkDidNotTake(t *testing.T) {
	name := hosttest.TestName(t)
	good, err := sink.Open("json", "good.jsonl", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	full, err := sink.Open("text", "/dev/full", "/")
	if err != nil {
		t.Fatal(err)
	}
	k := &hosttest.Kernel{Denials: []abi.Event{{Path: "/a", PathStatus: abi.PathOK}, {Path: "/b", PathStatus: abi.PathOK}}, Counts: abi.Counters{Denied: 2}}
	rec := &hosttest.Recorder{}
	cfg := Config{Name: name, Plan: hosttest.EmptyPlan(), Args: []string{"/bin/true"}, Sink: rec, Sinks: []*sink.Queue{good, full}}
	if _, err := hostOf(k).Run(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	if c := good.Counts(); c.Taken != 2 || c.Lost != 0 {
		t.Errorf("%+v", c)
	}
	notes := strings.Join(rec.Notes, "\n")
	if strings.Count(notes, "warning: sink") != 1 || !strings.Contains(notes, "warning: sink text /dev/full: write /dev/full: no space left on device: 2 denials lost there") {
		t.Errorf("notes %s", notes)
	}
	if !rec.Result.Exact() || len(rec.Denials) != 2 {
		t.Errorf("%d denials, %+v", len(rec.Denials), rec.Result)
	}
}

func TestRunTellsWhatItsLogDidNotTake(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	k := &hosttest.Kernel{Denials: []abi.Event{{Path: "/a", PathStatus: abi.PathOK}, {Path: "/b", PathStatus: abi.PathOK}}, Counts: abi.Counters{Denied: 2}}
	cfg := Config{Name: hosttest.TestName(t), Plan: hosttest.EmptyPlan(), Args: []string{"/bin/sh", "-c", "exit 3"}, Sink: &sink.JSON{W: full}}
	result, err := hostOf(k).Run(context.Background(), cfg)
	if err == nil || !strings.HasSuffix(err.Error(), ": denials: write /dev/full: no space left on device: 2 denials not written, though counted; make room") || result.ExitCode != 3 {
		t.Errorf("exit %d, %v", result.ExitCode, err)
	}
}
