package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent/delivery"
	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/cgroup"
	"github.com/stockade-dev/stockade/compiler"
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
	if len(os.Args) == 2 && os.Args[1] == "interrupts" {
		os.Exit(40 + countInterrupts())
	}
	if len(os.Args) == 2 && os.Args[1] == "stop-output" {
		os.Exit(stopOutput())
	}
	if len(os.Args) == 4 && os.Args[1] == "victim" {
		cfg := RunConfig{Name: os.Args[2], Plan: emptyPlan(), Args: []string{"/bin/sh", "-c", os.Args[3]}, Sink: &recorder{}}
		cfg.Stdin, cfg.Stdout, cfg.Stderr = os.Stdin, os.Stdout, os.Stderr
		result, err := new(fakeKernel).host().run(context.Background(), cfg)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(result.ExitCode)
	}
	os.Exit(m.Run())
}

func emptyPlan() *compiler.Plan {
	plan, err := compiler.Compile(compiler.Input{Principal: `User::"test"`})
	if err != nil {
		panic(err)
	}
	return plan
}

// fakeKernel stands in for the BPF side: it confines nothing, and checks that
// it is told to stop only when the workload is dead.
type fakeKernel struct {
	name     string // of the workload, for that check
	loadErr  error
	denials  []abi.Event
	counters abi.Counters
	closeErr error
	grants   abi.Grants // of the last one

	mu     sync.Mutex
	closed bool
	alive  bool // the workload was, when enforcement ended
}

func (k *fakeKernel) host() *runHost {
	return &runHost{
		check:  func() error { return nil },
		load:   func(bpf.Options) (enforcer, error) { return k, k.loadErr },
		reaper: []string{"/proc/self/exe", "reap"},
	}
}

func (k *fakeKernel) RegisterRoot(uint32) error    { return nil }
func (k *fakeKernel) SetStrict(uint32, bool) error { return nil }

func (k *fakeKernel) Grant(_ uint32, g abi.Grants) error { k.grants = g; return nil }

func (k *fakeKernel) Install(uint32, []uint64, abi.Mode) (uint32, error) { return 1, nil }
func (k *fakeKernel) Confine(uint64, uint32) error                       { return nil }
func (k *fakeKernel) Counters(uint32) (abi.Counters, error)              { return k.counters, nil }
func (k *fakeKernel) Gaps() []string                                     { return nil }

func (k *fakeKernel) SyncClock() error { return nil }
func (k *fakeKernel) Abandon() error   { return nil }
func (k *fakeKernel) events() (delivery.Source, error) {
	r := &fakeEvents{pending: make(chan abi.Event, len(k.denials)), flush: make(chan struct{})}
	for _, e := range k.denials {
		r.pending <- e
	}
	return r, nil
}

func (k *fakeKernel) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	if group, err := cgroup.Open(k.name); err == nil {
		k.alive, _ = group.Populated()
	}
	return k.closeErr
}

type fakeEvents struct {
	pending chan abi.Event
	flush   chan struct{}
	once    sync.Once
}

func (r *fakeEvents) Read() (abi.Event, error) {
	select {
	case e := <-r.pending:
		return e, nil
	default:
	}
	select {
	case e := <-r.pending:
		return e, nil
	case <-r.flush:
		return abi.Event{}, bpf.ErrFlushed
	}
}
func (r *fakeEvents) Flush() error { r.once.Do(func() { close(r.flush) }); return nil }
func (r *fakeEvents) Close() error { return r.Flush() }

// recorder keeps what a run tells.
type recorder struct {
	denials  []sink.Event
	notes    []string
	summary  *sink.Summary
	onDenial func()
	onEnd    func()
}

func (r *recorder) Event(e *sink.Event) error {
	r.denials = append(r.denials, *e)
	if r.onDenial != nil {
		r.onDenial()
	}
	return nil
}
func (r *recorder) Note(name, text string) {
	r.notes = append(r.notes, name+": "+text)
}
func (r *recorder) Summary(s *sink.Summary) {
	r.summary = s
	if r.onEnd != nil {
		r.onEnd()
	}
}

// testName makes a name, and skips where no cgroup can be made;
// STOCKADE_STRICT=1 turns the skip into a failure.
func testName(t *testing.T) string {
	t.Helper()
	name := DefaultName("test")
	group, err := cgroup.Create(name)
	if err != nil && (os.Geteuid() != 0 || errors.Is(err, syscall.EROFS)) && os.Getenv("STOCKADE_STRICT") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := group.Remove(); err != nil {
		t.Fatal(err)
	}
	return name
}

// wantGone demands that nothing of a workload is left, in time.
func wantGone(t *testing.T, name string) {
	t.Helper()
	var state, group error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		_, state = os.Stat(statePath(name))
		_, group = cgroup.Open(name)
		if errors.Is(state, os.ErrNotExist) && errors.Is(group, os.ErrNotExist) {
			return
		}
	}
	t.Fatalf("%s is left: state file %v, cgroup %v", name, state, group)
}
