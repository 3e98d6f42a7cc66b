package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// holdingSet is a kernel side that holds: the waiting is real, by fanotify; that
// an operation is asked about it makes up.
type holdingSet struct {
	*fakeSet
	noOpen bool
	asked  chan abi.Event

	mu      sync.Mutex
	set     []string // calls of SetHold
	confine map[int]abi.Event
	numbers map[int]uint64
	last    uint64
	answers map[int]bpf.Answer
	quit    chan struct{}
	once    sync.Once
	read    int  // how often its ring was opened
	silent  bool // the programs do not tell
}

func newHoldingSet() *holdingSet {
	return &holdingSet{fakeSet: newFakeSet(), asked: make(chan abi.Event, 100), confine: map[int]abi.Event{}, numbers: map[int]uint64{},
		answers: map[int]bpf.Answer{}, quit: make(chan struct{})}
}

func (k *holdingSet) SetHold(id uint32, which bpf.Hold) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.set = append(k.set, fmt.Sprintf("%d:%d", id, which))
	if k.noOpen && which&bpf.HoldOpen != 0 {
		return errors.New("no hook confirms opens")
	}
	return nil
}

func (k *holdingSet) AttachHolds(which bpf.Hold) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.set = append(k.set, fmt.Sprintf("attach:%d", which))
	if k.noOpen && which&bpf.HoldOpen != 0 {
		return errors.New("no hook confirms opens")
	}
	return nil
}

func (k *holdingSet) Holds() (host.HoldReader, error) {
	k.quit, k.once = make(chan struct{}), sync.Once{}
	k.read++
	return holdsOf{k}, nil
}

func (k *holdingSet) calls() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return strings.Join(k.set, " ")
}

func (k *holdingSet) answer(pid int) (bpf.Answer, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	a, ok := k.answers[pid]
	return a, ok
}

type holdsOf struct{ k *holdingSet }

func (h holdsOf) Read() (abi.Event, error) {
	select {
	case e := <-h.k.asked:
		return e, nil
	case <-h.k.quit:
		return abi.Event{}, os.ErrClosed
	}
}

func (h holdsOf) Close() error { h.k.once.Do(func() { close(h.k.quit) }); return nil }

func (h holdsOf) Pending(tid int) (uint64, error) {
	k := h.k
	k.mu.Lock()
	defer k.mu.Unlock()
	e, ok := k.confine[tid]
	if !ok || k.numbers[tid] != 0 {
		return k.numbers[tid], nil
	}
	k.last++
	k.numbers[tid], e.Hold, e.PID, e.TID = k.last, k.last, uint32(tid), uint32(tid)
	if !k.silent {
		k.asked <- e
	}
	return k.last, nil
}

func (h holdsOf) Answer(a bpf.Answer) error {
	h.k.mu.Lock()
	defer h.k.mu.Unlock()
	for tid, number := range h.k.numbers {
		if number == a.Number {
			h.k.answers[tid] = a
			return nil
		}
	}
	return fmt.Errorf("nobody waits for %d", a.Number)
}

// holdYard is a yard with such a kernel side, and a program beside it.
//
//	DIR
//	├── one.cedar  what the workload may
//	└── tool       sleep: its arguments do not matter to it
type holdYard struct {
	*yard
	k    *holdingSet
	tool string
}

func newHoldYard(t *testing.T, policy, more string) *holdYard {
	t.Helper()
	group, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC, unix.O_RDONLY)
	if err != nil && os.Getenv("STOCKADE_STRICT") == "" {
		t.Skip(err)
	}
	unix.Close(group)
	y := newYard(t)
	k := newHoldingSet()
	y.set = k.fakeSet
	load, adopt := y.machine.Load, y.machine.Adopt
	y.machine.Load = wrapped(load, k)
	y.machine.Adopt = wrapped(adopt, k)
	h := &holdYard{yard: y, k: k, tool: filepath.Join(y.dir, "tool")}
	text, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.tool, text, 0o755); err != nil {
		t.Fatal(err)
	}
	y.write("agent.yaml", yardConfig+more)
	h.policy(policy)
	return h
}

// wrapped lets a machine find the set that holds.
func wrapped[T any](f func(T) (host.Kernel, error), k *holdingSet) func(T) (host.Kernel, error) {
	return func(x T) (host.Kernel, error) {
		if _, err := f(x); err != nil {
			return nil, err
		}
		return k, nil
	}
}

func (y *holdYard) policy(text string) {
	y.write("one.cedar", strings.ReplaceAll(text, "TOOL", y.tool))
}

// event is what the kernel's programs tell of an execution of the tool.
func (y *holdYard) event() abi.Event {
	return abi.Event{Workload: 1, Generation: y.set.now(1).Generation, Reason: abi.ReasonHeld, Missing: abi.MaskOf(abi.Execute), Action: abi.Execute,
		Path: y.tool, PathStatus: abi.PathOK, Now: time.Now().UnixMilli()}
}

// execute lets a confined process execute the tool, by a path, and returns what
// the agent answered. The process exists before it is confined.
func (y *holdYard) execute(e abi.Event, confined bool, env []string, args ...string) (a bpf.Answer, answered bool, cmdline string) {
	y.t.Helper()
	cmd := exec.Command("/bin/sh", append([]string{"-c", `read x; exec "$0" "$@"`, y.tool}, args...)...)
	cmd.Env = env
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		y.t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	pid := cmd.Process.Pid
	if confined {
		y.k.mu.Lock()
		y.k.confine[pid] = e
		y.k.mu.Unlock()
	}
	if _, err := io.WriteString(in, "\n"); err != nil {
		y.t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if exe == y.tool && len(text) > 0 {
			more, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
			a, answered = y.k.answer(pid)
			return a, answered, string(text) + string(more)
		}
		if time.Now().After(end) {
			y.t.Fatal("it still waits")
		}
	}
}
