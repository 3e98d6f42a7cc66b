// Package vmtest tests enforcement: each trick of package probes is tried by a
// confined task on a real kernel. One test is one workload with its own cgroup,
// policy and fixture files; one trial is one operation, and must give the
// wanted errno, exactly the wanted events and the counters to match.
package vmtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if !alone(m) {
		code = 1
	}
	results.print()
	if !results.coverage() {
		code = 1
	}
	os.Exit(code)
}

// prober is the program of the probes, which lies beside the tests.
func prober() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(exe), "probe")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w: no test is run; build ./bpf/vmtest/probe with CGO_ENABLED=0, and hand it to the VM by --file", err)
	}
	return path, nil
}

// closeLabs ends what was loaded. Who asks for a set after that loads one anew. At the
// end of the tests nobody need wait for it: the machine ends, and the sets are pinned.
func closeLabs() {
	for _, l := range []*lab{theLab, smallLab} {
		if l != nil {
			l.events.Close()
			l.Close()
		}
	}
	theLab, smallLab, labOnce = nil, nil, sync.Once{}
}

// lab is the one loaded set of programs.
type lab struct {
	*bpf.Enforcer
	pins     string // the folder of its pins
	programs []ebpf.ProgramID
	events   *bpf.Events
	pending  map[uint32][]abi.Event // by workload, not yet looked at
	last     uint32                 // workload
}

var (
	theLab  *lab
	labErr  error
	labOnce sync.Once
)

// open loads the programs, once, or skips the test: without BPF LSM there is
// nothing to test. In the VM that is a failure.
func open(t *testing.T) *lab {
	t.Helper()
	if why := missing(); why != "" {
		if os.Getenv("STOCKADE_VM") == "1" {
			t.Fatalf("this VM cannot enforce: %s", why)
		}
		t.Skipf("runs in the VM: %s", why)
	}
	must1(prober())(t) // before a set is loaded for nothing
	labOnce.Do(func() { theLab, labErr = load(bpf.Options{PinDir: bpffs + "/lab", Clock: true, Strict: true}) })
	if labErr != nil {
		t.Fatal(labErr)
	}
	return theLab
}

// Of smallLab: the size of its ring, and how long a container's runtime has.
const (
	smallRing     = 1 << 19
	smallStarting = 2 * time.Second
)

var smallLab *lab

// openSmall loads a second set, once, whose ring is soon full and whose numbers are
// given back.
func openSmall(t *testing.T) *lab {
	t.Helper()
	open(t)
	if smallLab == nil {
		smallLab = must1(load(bpf.Options{PinDir: bpffs + "/small", EventBytes: smallRing, KnownCalls: unix.SYS_OPEN_TREE - 1, Starting: smallStarting}))(t)
	}
	return smallLab
}

func load(o bpf.Options) (*lab, error) {
	others := programs()
	e, err := bpf.Load(o)
	if err != nil {
		return nil, err
	}
	own := slices.DeleteFunc(programs(), func(id ebpf.ProgramID) bool { return slices.Contains(others, id) })
	ev, err := e.Events()
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return &lab{Enforcer: e, pins: o.PinDir, programs: own, events: ev, pending: map[uint32][]abi.Event{}}, nil
}

// leave gives up the set as an agent that ends does: what is pinned goes on.
func (l *lab) leave(t *testing.T) {
	t.Helper()
	must(t, errors.Join(l.events.Close(), l.Abandon()))
	l.Enforcer = nil
}

// adopt takes it up again.
func (l *lab) adopt(t *testing.T) {
	t.Helper()
	l.Enforcer = must1(bpf.Adopt(l.pins))(t)
	l.events = must1(l.Events())(t)
}

// missing says what this host lacks for enforcement.
func missing() string {
	if os.Geteuid() != 0 {
		return "not root"
	}
	list, err := os.ReadFile("/sys/kernel/security/lsm")
	switch {
	case err != nil:
		return "the list of active security modules is not readable"
	case !strings.Contains(","+strings.TrimSpace(string(list))+",", ",bpf,"):
		return "BPF LSM is not active here"
	}
	return ""
}

// drain reads every event that is on the ring.
func (l *lab) drain(t *testing.T) {
	t.Helper()
	if err := l.events.Flush(); err != nil {
		t.Fatal(err)
	}
	for {
		e, err := l.events.Read()
		if errors.Is(err, bpf.ErrFlushed) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		l.pending[e.Workload] = append(l.pending[e.Workload], e)
	}
}

// take drains the ring and returns the events of one workload.
func (l *lab) take(t *testing.T, workload uint32) []abi.Event {
	t.Helper()
	l.drain(t)
	list := l.pending[workload]
	delete(l.pending, workload)
	return list
}

// kernel returns the running kernel's version, for example "6.12".
func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	parts := strings.SplitN(unix.ByteSliceToString(u.Release[:]), ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

// result of one trial, a column of the matrix.
type result string

const (
	isDenied  result = "D"
	isAllowed result = "A"
	isLimit   result = "L"      // not as it should be, and documented as a limit
	isBetter  result = "better" // as it should be, though documented as a limit
	isAbsent  result = "n/a"    // this kernel has no such call
	isFailed  result = "FAILED"
)

// matrix collects the results in the order of the trials.
type matrix struct {
	names   []string
	results map[string]result
	better  []string // "TRIAL: LINE", of docs/limits.md
}

var results = matrix{results: map[string]result{}}

func (m *matrix) note(name string, r result) {
	if m.results[name] == "" {
		m.names = append(m.names, name)
	}
	m.results[name] = r
}

// improve notes the line of docs/limits.md that is to be revised.
func (m *matrix) improve(name, line string) { m.better = append(m.better, name+": "+line) }

// print writes a line a trial, for readers and programs alike.
func (m *matrix) print() {
	k := kernel()
	for _, name := range m.names {
		fmt.Printf("matrix: %s %s %s\n", name, k, m.results[name])
	}
	for _, b := range m.better {
		fmt.Printf("better: %s: %s\n", k, b)
	}
}
