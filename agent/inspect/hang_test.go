package inspect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// hasty is a run that gives up soon, but not while its helper works, however busy the
// machine is.
func hasty(r Request, text *strings.Builder) *run {
	run := newRun(helperArgs, r, text)
	run.patience, run.start, run.grace = 250*time.Millisecond, time.Minute, time.Minute
	run.stuck = func(h *helper) bool { return len(h.events) == 0 && asleep(h.cmd.Process.Pid) }
	return run
}

// asleep: no thread of the process did anything, or waited for a processor, for a while.
func asleep(pid int) bool {
	was := ""
	for i := range 5 {
		if i > 0 {
			time.Sleep(20 * time.Millisecond)
		}
		now := threads(pid, "schedstat")
		if i > 0 && now != was || strings.Contains(threads(pid, "stat"), ") R ") {
			return false
		}
		was = now
	}
	return true
}

// threads returns what a file says of each thread.
func threads(pid int, file string) (all string) {
	paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/%s", pid, file)) // the pattern is well formed
	for _, path := range paths {
		text, _ := os.ReadFile(path) // it may have ended
		all += string(text)
	}
	return all
}

func TestAProcessThatHangsIsToldUnreadAndTheRestIsRead(t *testing.T) {
	bad, _ := hung(t, "memory")
	good := named(t, os.Getpid())
	var text strings.Builder
	err := hasty(Request{Collector: Processes, Processes: []Process{good, bad, good}}, &text).all(t.Context())
	if hangs, rest := Hangs(err); rest != nil || len(hangs) != 1 {
		t.Fatalf("%v", err)
	}
	doc := decode[ProcessRecord](t, text.String())
	if len(doc.Processes) != 3 || doc.Incomplete != "" {
		t.Fatalf("%+v", doc)
	}
	if r := doc.Processes[1]; r.Unread != "reading cmdline did not end" || len(r.Args) != 0 || r.PID != bad.PID || r.Executable == "" || r.State == "" || *r.UID != 0 {
		t.Errorf("%+v", r)
	}
	for _, r := range []ProcessRecord{doc.Processes[0], doc.Processes[2]} {
		if r.Unread != "" || len(r.Args) == 0 || r.PID != good.PID {
			t.Errorf("%+v", r)
		}
	}
	noHelper(t)
}

// A read of a file's content can be interrupted: no helper is left.
func TestAHelperThatHangsIsKilled(t *testing.T) {
	bad, _ := hung(t, "reads")
	var text strings.Builder
	err := hasty(Request{Collector: Executables, Processes: []Process{bad}}, &text).all(t.Context())
	hangs, rest := Hangs(err)
	if rest != nil || len(hangs) != 1 || hangs[0].PID != bad.PID || hangs[0].Helper != 0 {
		t.Fatalf("%v", err)
	}
	if r := decode[ExecutablesRecord](t, text.String()).Processes[0]; r.Unread == "" || r.Executable.Path == "" || len(r.Mappings) != 0 {
		t.Errorf("%+v", r)
	}
	noHelper(t)
}

func TestManyThatHangEndTheTrying(t *testing.T) {
	var list []Process
	for range MaxHangs + 2 {
		bad, _ := hung(t, "memory")
		list = append(list, bad)
	}
	var text strings.Builder
	err := hasty(Request{Collector: Processes, Processes: list}, &text).all(t.Context())
	hangs, rest := Hangs(err)
	if rest != nil || len(hangs) != MaxHangs {
		t.Fatalf("%d hangs, %v", len(hangs), err)
	}
	doc := decode[ProcessRecord](t, text.String())
	for i, r := range doc.Processes {
		want := "reading cmdline did not end"
		if i >= MaxHangs {
			want = "not tried: 16 reads before did not end"
		}
		if r.PID != list[i].PID || r.Unread != want || r.Comm == "" || len(r.Args) != 0 {
			t.Errorf("%d: %+v", i, r)
		}
	}
	if len(doc.Processes) != len(list) || doc.Incomplete != "" {
		t.Errorf("%d told, %q", len(doc.Processes), doc.Incomplete)
	}
}

func TestTheDeadlineEndsTheHelperAndTheDocument(t *testing.T) {
	bad, _ := hung(t, "reads")
	good := named(t, os.Getpid())
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var text strings.Builder
	r := newRun(helperArgs, Request{Collector: Executables, Processes: []Process{good, bad, good}}, &text)
	r.patience = time.Hour
	began := time.Now()
	err := r.all(ctx)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	hangs, rest := Hangs(err)
	if !errors.Is(rest, context.DeadlineExceeded) || hangs != nil {
		t.Fatalf("error %v", err)
	}
	if want := fmt.Sprintf(" of process %d: context deadline exceeded: 1 of 3 processes are told; allow more time", bad.PID); !strings.HasSuffix(rest.Error(), want) {
		t.Errorf("error %q, want %q", rest, want)
	}
	if doc := decode[ExecutablesRecord](t, text.String()); len(doc.Processes) != 1 || doc.Incomplete != rest.Error() {
		t.Errorf("%+v", doc)
	}
	noHelper(t)
}

// What a file system of the workload does not answer cannot be interrupted.
func TestAHelperThatCannotBeKilledIsLeftBehindAndEndsWithTheFileSystem(t *testing.T) {
	bad, end := hung(t, "opens")
	var text strings.Builder
	r := hasty(Request{Collector: Executables, Processes: []Process{bad, named(t, os.Getpid())}}, &text)
	r.grace = Grace
	err := r.all(t.Context())
	hangs, rest := Hangs(err)
	if rest != nil || len(hangs) != 1 || hangs[0].PID != bad.PID || !strings.HasPrefix(hangs[0].File, "map_files/") || hangs[0].Helper == 0 {
		t.Fatalf("%v", err)
	}
	want := fmt.Sprintf("inspect: reading %s of process %d: no answer in %v: it is told as unread, and helper %d, which cannot be killed before, is left behind; kill the workload, which is to answer",
		hangs[0].File, bad.PID, r.patience, hangs[0].Helper)
	if err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	doc := decode[ExecutablesRecord](t, text.String())
	if len(doc.Processes) != 2 || doc.Processes[0].Unread != "reading "+hangs[0].File+" did not end" || doc.Processes[1].Unread != "" || doc.Processes[1].Executable.SHA256 == "" {
		t.Errorf("%+v", doc)
	}
	if list := helpers(t); len(list) != 1 || list[0] != hangs[0].Helper {
		t.Errorf("helpers %v, want %d", list, hangs[0].Helper)
	}
	end()
	noHelper(t)
}

// Of what needs its map of memory, each collector waits for the first: some kernels read
// maps without it.
func TestEachCollectorGetsPastALockedProcess(t *testing.T) {
	bad, _ := hung(t, "memory")
	for collector, file := range map[string]string{Processes: "cmdline", Environment: "environ", Executables: "map"} {
		var text strings.Builder
		err := hasty(Request{Collector: collector, Processes: []Process{bad}}, &text).all(t.Context())
		hangs, rest := Hangs(err)
		if rest != nil || len(hangs) != 1 || !strings.HasPrefix(hangs[0].File, file) || hangs[0].PID != bad.PID {
			t.Fatalf("%s: %v", collector, err)
		}
		if doc := decode[map[string]any](t, text.String()); len(doc.Processes) != 1 || doc.Processes[0]["unread"] != "reading "+hangs[0].File+" did not end" {
			t.Errorf("%s: %v", collector, doc)
		}
	}
	for _, collector := range []string{Descriptors, Namespaces, Credentials} {
		doc, err := ask[map[string]any](t, Request{Collector: collector, Processes: []Process{bad}})
		if err != nil || doc.Processes[0]["unread"] != nil || doc.Processes[0]["failed"] != nil {
			t.Errorf("%s: %v, %v", collector, err, doc)
		}
	}
	noHelper(t)
}
