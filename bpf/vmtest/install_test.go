package vmtest

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
	"github.com/stockade-dev/stockade/thread"
)

// TestSwap changes plans under readers. Every verdict must be that of a plan,
// and every event must fit its generation.
//
//	@/ws             first plan           second and third plan
//	├── a            open and read        nothing
//	├── b            nothing              open and read
//	├── both         open and read        open and read
//	├── none         nothing              nothing
//	└── p, q         p may be moved       q may be made
//
// The plans differ in size and take turns in the same memory.
func TestSwap(t *testing.T) {
	s := newStage(t)
	s.tree("ws/a", "ws/b", "ws/both", "ws/none", "ws/p")
	ballast := func(n int) string {
		var places []string
		for i := range n {
			places = append(places, fmt.Sprintf("@/ballast/%d/file", i))
		}
		return permit(look, places...)
	}
	second := permit(look, "@/ws/b", "@/ws/both") + permit("create", "@/ws/q")
	var plans [3][]uint64
	for i, policies := range []string{permit(look, "@/ws/a", "@/ws/both") + permit("move", "@/ws/p"), second + ballast(40), second + ballast(9)} {
		plan, err := compile(s.exe, s.dir, policies)
		must(t, err)
		plans[i] = plan.Table.Words()
	}
	s.swap("every verdict is of one generation", plans, 2*time.Millisecond)
	s.swap("every verdict is of one generation in a hurry", plans, 0)
}

// swap installs the plans in turn, with pauses, while readers read.
func (s *stage) swap(name string, plans [3][]uint64, pause time.Duration) {
	s.step(name, isDenied, func() {
		t := s.t
		start := must1(s.Counters(s.id))(t)
		first := must1(s.Install(s.id, plans[0], abi.Enforce))(t)
		a := s.start("", nil, 0, "gate", "readers", "8", "3000", "@/ws")
		a.ready()
		a.pass()
		over, swaps := make(chan struct{}), make(chan int)
		go func() { a.wait(); close(over) }()
		go func() { swaps <- s.rotate(plans, first, pause, over) }()
		received := uint64(0)
		for done := false; !done; {
			select {
			case <-over:
				done = true
			default:
			}
			for _, e := range s.take(t, s.id) {
				received++
				s.fits(e, (e.Generation-first)%3 == 0)
			}
		}
		n := <-swaps
		if a.code != 0 {
			t.Errorf("readers: %v", a)
		}
		c := must1(s.Counters(s.id))(t)
		denied, dropped := c.Denied-start.Denied, c.Dropped-start.Dropped
		if received+dropped != denied {
			t.Errorf("%d events and %d dropped, but %d denials", received, dropped, denied)
		}
		var aAllowed, aDenied, bAllowed, bDenied int
		k, _ := fmt.Sscanf(counted(a.text), "%d %d %d %d", &aAllowed, &aDenied, &bAllowed, &bDenied)
		t.Logf("%d swaps, %d denials, a allowed %d and denied %d times, b %d and %d, %d events dropped",
			n, denied, aAllowed, aDenied, bAllowed, bDenied, dropped)
		if k != 4 || aAllowed == 0 || aDenied == 0 || bAllowed == 0 || bDenied == 0 || n < 5 {
			t.Errorf("%d swaps: the readers did not meet both plans", n)
		}
		s.seq, s.denied, s.dropped = c.Denied, c.Denied, c.Dropped
	})
}

// rotate installs plans until over, and returns how many, or a negative number
// when one failed.
func (s *stage) rotate(plans [3][]uint64, first uint32, pause time.Duration, over chan struct{}) int {
	for n := 1; ; n++ {
		select {
		case <-over:
			return n
		case <-time.After(pause):
		}
		if g, err := s.Install(s.id, plans[n%len(plans)], abi.Enforce); err != nil || g != first+uint32(n) {
			return -n
		}
	}
}

// fits asserts that an event of the readers is one that its plan gives.
func (s *stage) fits(e abi.Event, firstPlan bool) {
	s.t.Helper()
	move, other := "create", "b"
	if !firstPlan {
		move, other = "move", "a"
	}
	name := strings.TrimPrefix(e.Path, s.at("@/ws/"))
	ok := e.Reason == abi.ReasonPolicy
	switch name {
	case "none", other:
		ok = ok && e.Missing == abi.MaskOf(abi.Open, abi.Read)
	case "p":
		ok = ok && e.Missing.String() == move
	default:
		ok = false
	}
	if !ok {
		s.t.Errorf("event of generation %d, first plan %v: %s", e.Generation, firstPlan, show(e))
	}
}

// counted returns the numbers that a storm printed.
func counted(text string) string {
	var numbers []string
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "count "); ok {
			numbers = append(numbers, strings.Fields(rest)...)
		}
	}
	return strings.Join(numbers, " ")
}

// TestNoPlan starts a task in a workload that has no plan.
func TestNoPlan(t *testing.T) {
	s := bareStage(t, open(t))
	s.tree("file")
	want := denial{actions: "open,read", reason: abi.ReasonNoPlan, status: abi.PathNone}
	s.step("open without a plan is denied", isDenied, func() {
		s.expectDenied(s.start("", nil, eacces, "open", "r", "@/file").wait(), want)
	})
	s.step("birth without a plan is denied", isDenied, func() {
		a := s.born(s.group, eacces, "open", "r", "@/file")
		if a.startErr == nil {
			a.wait()
			s.t.Errorf("started: %v", a)
		}
		events := s.take(s.t, s.id)
		if len(events) != 1 || events[0].Reason != abi.ReasonNoPlan || events[0].Missing != abi.MaskOf(abi.Execute) {
			s.t.Errorf("events: %v", events)
		}
		s.seq += uint64(len(events))
		s.balance(len(events))
	})
	s.step("plan ends it", isAllowed, func() {
		s.install(abi.Enforce, permit(look, "@/"))
		s.expectAllowed(s.start("", nil, 0, "open", "r", "@/file").wait())
	})
}

// TestAudit refuses nothing and reports everything.
func TestAudit(t *testing.T) {
	s := newStage(t)
	s.install(abi.Audit, permit(look, "@/ws/"))
	s.tree("ws/key", "secret/key", "secret/old")
	audited := func(actions, path string) denial { return denial{actions: actions, path: path, mode: abi.Audit} }
	for _, c := range []struct {
		name  string
		probe []string
		want  denial
	}{
		{"open is reported", []string{"open", "r", "@/secret/key"}, audited("open,read", "@/secret/key")},
		{"mkdir is reported", []string{"mkdir", "@/secret/dir"}, denial{actions: "create", path: "@/secret/dir", dir: true, mode: abi.Audit}},
		{"rename is reported", []string{"rename", "@/secret/old", "@/secret/new"},
			denial{actions: "create,move", path: "@/secret/old", dest: "@/secret/new", mode: abi.Audit}},
		{"link that gains is reported", []string{"link", "@/secret/key", "@/ws/link"},
			denial{actions: "create", path: "@/secret/key", dest: "@/ws/link", mode: abi.Audit}},
		{"chmod is reported", []string{"chmod", "@/secret/key"}, audited("chmod", "@/secret/key")},
	} {
		s.step(c.name, isAllowed, func() { s.expectAudited(s.start("", nil, 0, c.probe...).wait(), c.want) })
	}
	s.run(trial{name: "what is permitted is silent", probe: []string{"open", "r", "@/ws/key"}})
	s.step("enforcement follows at once", isDenied, func() {
		a := s.start("", nil, eacces, "gate", "open", "r", "@/secret/key")
		a.ready()
		must(s.t, s.SetMode(s.id, abi.Enforce))
		a.pass()
		s.expectDenied(a.wait(), denial{actions: "open,read", path: "@/secret/key"})
	})
}

// TestLockdown refuses everything that reaches a hook, at once.
func TestLockdown(t *testing.T) {
	s := newStage(t, permit("*", "@/"))
	s.tree("key", "old", "lower/file")
	s.overlay()
	locked := func(actions, path string) denial {
		return denial{actions: actions, path: path, reason: abi.ReasonLockdown, mode: abi.Lockdown}
	}
	moved := locked("create,delete,move", "@/old")
	moved.dest = "@/new"
	for _, c := range []struct {
		name  string
		probe []string
		errno syscall.Errno
		want  denial
	}{
		{"open is denied", []string{"open", "r", "@/key"}, eacces, locked("open,read", "@/key")},
		{"truncate is denied", []string{"truncate", "@/key"}, eacces, locked("write", "@/key")},
		{"rename is denied", []string{"rename", "@/old", "@/new"}, eacces, moved},
		{"execution is denied", []string{"exec", "@/key"}, eacces, locked("execute", "@/key")},
		{"open on an overlay is denied", []string{"open", "r", "@/ovl/file"}, eacces, locked("open,read", "@/ovl/file")},
		{"stat has no hook here and is allowed", []string{"stat", "@/key"}, 0, denial{}},
	} {
		must(t, chmodX(s.at("@/key")))
		s.step(c.name, map[bool]result{true: isAllowed, false: isDenied}[c.errno == 0], func() {
			must(s.t, s.SetMode(s.id, abi.Enforce))
			a := s.start("", nil, c.errno, append([]string{"gate"}, c.probe...)...)
			a.ready()
			must(s.t, s.SetMode(s.id, abi.Lockdown))
			a.pass()
			if a.wait(); c.errno == 0 {
				s.expectAllowed(a)
			} else {
				s.expectDenied(a, c.want)
			}
		})
	}
	must(t, s.SetMode(s.id, abi.Enforce))
	s.run(trial{name: "end of lockdown is the policy again", probe: []string{"open", "r", "@/key"}})
}

// TestLockdownOfWhatIsNotHandled refuses what no policy of the workload decides, too.
func TestLockdownOfWhatIsNotHandled(t *testing.T) {
	s := newStage(t)
	s.tree("key")
	handled := abi.EnforcedActions &^ abi.MaskOf(abi.Chmod)
	plan := must1(compiler.Compile(compiler.Input{Principal: `User::"tester"`, Handled: handled,
		Sources: []compiler.Source{{Name: "test.cedar", Text: []byte(base(s.exe))}}}))(t)
	must1(s.Install(s.id, plan.Table.Words(), abi.Enforce))(t)
	chmod := []string{"chmod", "@/key"}
	s.run(trial{name: "chmod that is not handled is allowed", probe: chmod})
	s.step("chmod is denied at once", isDenied, func() {
		a := s.start("", nil, eacces, append([]string{"gate"}, chmod...)...)
		a.ready()
		must(s.t, s.SetMode(s.id, abi.Lockdown))
		a.pass()
		a.wait()
		s.expectDenied(a, denial{actions: "chmod", path: "@/key", reason: abi.ReasonLockdown, mode: abi.Lockdown})
	})
	must(t, s.SetMode(s.id, abi.Enforce))
	s.run(trial{name: "chmod after the lockdown is allowed", probe: chmod})
}

func chmodX(path string) error { return syscall.Chmod(path, 0o755) }

// TestNoGracePeriod installs plans where the kernel refuses to say when the old
// one is no longer read: whatever is installed then, no plan may be damaged.
func TestNoGracePeriod(t *testing.T) {
	a := newStage(t)
	b := newStage(t)
	must(t, os.MkdirAll("/tmp/grace", 0o755))
	for _, f := range []string{"a", "b", "none"} {
		must(t, os.WriteFile("/tmp/grace/"+f, []byte("x"), 0o644))
	}
	must(t, thread.Do(func() error { // the filter ends with the thread
		err := refuse(unix.SYS_BPF)
		for i := 0; i < 3 && err == nil; i++ {
			a.install(abi.Enforce, permit(look, "/tmp/grace/a"))
			b.install(abi.Enforce, permit(look, "/tmp/grace/b"))
		}
		return err
	}))
	read := func(f string) []string { return []string{"open", "r", "/tmp/grace/" + f} }
	a.run(trial{name: "first plan is whole", control: read("a"), probe: read("b"), errno: eacces, want: denial{actions: "open,read", path: "/tmp/grace/b"}})
	b.run(trial{name: "second plan is whole", control: read("b"), probe: read("a"), errno: eacces, want: denial{actions: "open,read", path: "/tmp/grace/a"}})
}

// refuse lets a system call of this thread fail from now on.
func refuse(call uint32) error {
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the call's number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EINVAL)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&filter)))
	if errno != 0 {
		return errno
	}
	return nil
}
