package vmtest

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// TestSwap changes plans under readers. Every verdict must be that of one of
// the two plans, and every event must fit its generation.
//
//	@/ws             first plan           second plan
//	├── a            open and read        nothing
//	├── b            nothing              open and read
//	├── both         open and read        open and read
//	├── none         nothing              nothing
//	└── p, q         p may be moved       q may be made
func TestSwap(t *testing.T) {
	s := newStage(t)
	s.tree("ws/a", "ws/b", "ws/both", "ws/none", "ws/p")
	// The plans differ in size, so that they trade places in the arena.
	var ballast []string
	for i := range 40 {
		ballast = append(ballast, fmt.Sprintf("@/ballast/%d/file", i))
	}
	var plans [2][]uint64
	for i, policies := range [][]string{
		{permit(look, "@/ws/a", "@/ws/both"), permit("move", "@/ws/p")},
		{permit(look, "@/ws/b", "@/ws/both"), permit("create", "@/ws/q"), permit(look, ballast...)},
	} {
		plan, err := compile(s.exe, s.dir, policies...)
		must(t, err)
		plans[i] = plan.Table.Words()
	}
	first := must1(s.Install(s.id, plans[0], abi.Enforce))(t) // generations alternate

	s.step("every verdict is of one generation", isDenied, func() {
		t := s.t
		a := s.start("", nil, 0, "gate", "readers", "8", "4000", "@/ws")
		a.ready()
		a.pass()
		swaps, denied := 1, uint64(0)
		check := func() {
			for _, e := range s.take(t, s.id) {
				denied++
				s.fits(e, e.Generation%2 == first%2)
			}
		}
		for end := time.Now().Add(3500 * time.Millisecond); time.Now().Before(end); swaps++ {
			time.Sleep(2 * time.Millisecond) // both plans get their share
			g := must1(s.Install(s.id, plans[swaps%2], abi.Enforce))(t)
			if g != first+uint32(swaps) {
				t.Fatalf("generation %d after %d swaps from %d", g, swaps, first)
			}
			check()
		}
		a.wait()
		check()
		if a.code != 0 {
			t.Errorf("readers: %v", a)
		}
		c := must1(s.Counters(s.id))(t)
		if denied+c.Dropped != c.Denied {
			t.Errorf("%d events and %d dropped, but %d denials", denied, c.Dropped, c.Denied)
		}
		var counts [2][2]int
		n, _ := fmt.Sscanf(counted(a.text), "%d %d %d %d", &counts[0][0], &counts[0][1], &counts[1][0], &counts[1][1])
		t.Logf("%d swaps, %d denials, a allowed %d and denied %d times, b %d and %d, %d events dropped",
			swaps, c.Denied, counts[0][0], counts[0][1], counts[1][0], counts[1][1], c.Dropped)
		if n != 4 || counts[0][0] == 0 || counts[0][1] == 0 || counts[1][0] == 0 || counts[1][1] == 0 || swaps < 5 {
			t.Errorf("the readers did not meet both plans")
		}
		s.seq, s.denied = c.Denied, c.Denied
	})
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

// TestLockdown refuses everything that is handled, at once.
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
		{"stat is not handled and allowed", []string{"stat", "@/key"}, 0, denial{}},
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

func chmodX(path string) error { return syscall.Chmod(path, 0o755) }

// TestFullRing floods a ring of one page: no verdict changes, and what was not
// delivered was counted.
func TestFullRing(t *testing.T) {
	open(t)
	l, err := load(bpf.Options{EventBytes: 4096})
	must(t, err)
	defer func() {
		l.events.Close()
		must(t, l.Close())
	}()
	s := stageOn(t, l, permit(look, "@/ws/"))
	s.tree("ws/key", "secret/key")
	const flood = 2000
	t.Run("flood is denied to the last", func(t *testing.T) {
		s.t = t
		defer func() {
			r := isDenied
			if t.Failed() {
				r = isFailed
			}
			results.note(t.Name(), r)
		}()
		a := s.start("", nil, 0, "flood", fmt.Sprint(flood), "@/secret/key").wait()
		if a.code != 0 {
			t.Errorf("%v", a)
		}
		got := s.take(t, s.id)
		c := must1(s.Counters(s.id))(t)
		if c.Denied != flood || uint64(len(got))+c.Dropped != c.Denied || c.Dropped == 0 || len(got) == 0 {
			t.Errorf("%d denied, %d received, %d dropped, after %d attempts", c.Denied, len(got), c.Dropped, flood)
		}
		for i, e := range got {
			if e.Seq != uint64(i)+1 {
				t.Errorf("event %d is number %d: the ring was not full yet", e.Seq, i+1)
			}
		}
		t.Logf("%d received, %d dropped", len(got), c.Dropped)

		// The next event shows the gap.
		b := s.start("", nil, eacces, "open", "r", "@/secret/key").wait()
		got = s.take(t, s.id)
		if b.code != 1 || len(got) != 1 || got[0].Seq != flood+1 {
			t.Errorf("after the flood: %v, events %v", b, got)
		}
		after := must1(s.Counters(s.id))(t)
		if after.Denied != flood+1 || after.Dropped != c.Dropped {
			t.Errorf("counters after the flood: %+v", after)
		}
	})
}

// TestNoGracePeriod installs plans where the kernel refuses to say when the old
// one is no longer read: whatever is installed then, no plan may be damaged.
func TestNoGracePeriod(t *testing.T) {
	a := newStage(t)
	b := newStage(t)
	must(t, os.MkdirAll("/tmp/grace", 0o755))
	for _, f := range []string{"a", "b", "none"} {
		must(t, os.WriteFile("/tmp/grace/"+f, []byte("x"), 0o644))
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the filter ends with the thread
		err := refuse(unix.SYS_MEMBARRIER)
		for i := 0; i < 3 && err == nil; i++ {
			a.install(abi.Enforce, permit(look, "/tmp/grace/a"))
			b.install(abi.Enforce, permit(look, "/tmp/grace/b"))
		}
		done <- err
	}()
	must(t, <-done)
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
