package vmtest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/vmtest/probes"
)

// warden stands in for the agent: it holds what is asked, and says what a test
// wants to be said.
type warden struct {
	holds *bpf.Holds
	fan   *os.File
	done  sync.WaitGroup

	mu    sync.Mutex
	judge func(abi.Event) *bpf.Answer // nil: no answer
	asked []abi.Event
	seen  map[uint64]abi.Event
	past  uint64 // the last number that was judged
}

// newWarden watches the filesystem of the stage's folder.
func newWarden(t *testing.T, s *stage) *warden {
	t.Helper()
	w := &warden{holds: must1(s.Holds())(t), seen: map[uint64]abi.Event{}}
	fan := must1(unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK|unix.FAN_REPORT_TID, unix.O_RDONLY|unix.O_LARGEFILE))(t)
	w.fan = os.NewFile(uintptr(fan), "fanotify") // closing it ends the reading
	must(t, unix.FanotifyMark(fan, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, unix.FAN_OPEN_PERM|unix.FAN_OPEN_EXEC_PERM, unix.AT_FDCWD, s.dir))
	w.done.Go(w.hear)
	w.done.Go(w.answer)
	return w
}

func (w *warden) hear() {
	for {
		e, err := w.holds.Read()
		if err != nil {
			return
		}
		w.mu.Lock()
		w.seen[e.Hold] = e
		w.mu.Unlock()
	}
}

func (w *warden) answer() {
	buf := make([]byte, 4096)
	for {
		n, err := w.fan.Read(buf)
		if err != nil {
			return
		}
		for b := buf[:n]; len(b) > 0; {
			m := (*unix.FanotifyEventMetadata)(unsafe.Pointer(&b[0]))
			b = b[m.Event_len:]
			w.decide(int(m.Pid))
			var response [8]byte
			binary.NativeEndian.PutUint32(response[:], uint32(m.Fd))
			binary.NativeEndian.PutUint32(response[4:], unix.FAN_ALLOW)
			_, _ = w.fan.Write(response[:])
			unix.Close(int(m.Fd))
		}
	}
}

func (w *warden) decide(tid int) {
	number, err := w.holds.Pending(tid)
	if err != nil || number == 0 {
		return
	}
	for range 500 {
		w.mu.Lock()
		if number <= w.past {
			w.mu.Unlock()
			return
		}
		e, ok := w.seen[number]
		judge := w.judge
		delete(w.seen, number) // an execution is also an open: it comes twice
		if ok {
			w.past = number
			w.asked = append(w.asked, e)
		}
		w.mu.Unlock()
		if ok {
			if a := judge(e); a != nil {
				a.Number = e.Hold + a.Number // a test may want a wrong one
				_ = w.holds.Answer(*a)
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// says makes the warden's answer to all that comes, and forgets what came.
func (w *warden) says(judge func(abi.Event) *bpf.Answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.judge, w.asked = judge, nil
}

func (w *warden) heard() (list []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.asked {
		list = append(list, e.Missing.String()+" "+e.Path)
	}
	return list
}

func (w *warden) close() {
	w.holds.Close()
	w.fan.Close()
}

// asks makes a policy ask about actions on places.
func asks(actions string, places ...string) string {
	return strings.Replace(permit(actions, places...), ";\n", ` when { context has user && context.user.username == "ann" };`+"\n", 1)
}

func allow(abi.Event) *bpf.Answer   { return &bpf.Answer{Allow: true} }
func refused(abi.Event) *bpf.Answer { return &bpf.Answer{} }
func silent(abi.Event) *bpf.Answer  { return nil }
func other(abi.Event) *bpf.Answer   { return &bpf.Answer{Number: 7, Allow: true} }

// judged answers yes, for an image of these strings.
func judged(argc, envc int, strings ...string) func(abi.Event) *bpf.Answer {
	var image []byte
	for _, s := range strings {
		image = append(append(image, s...), 0)
	}
	return func(abi.Event) *bpf.Answer {
		return &bpf.Answer{Allow: true, Image: &bpf.Image{Argc: argc, Envc: envc, Strings: image}}
	}
}

// TestHeldExecutions: what is asked waits for the agent, and is denied without
// its answer.
//
//	@
//	├── bin/      execute
//	│   ├── tool, loaded (by @/ask/loader)
//	│   └── script   #! @/ask/tool @/ws/f
//	├── ask/      execute is asked
//	│   ├── tool, loader
//	│   └── script   #! @/bin/tool @/ws/f
//	└── ws/       everything but execute
func TestHeldExecutions(t *testing.T) {
	s := newStage(t, permit("open read execute", "@/bin/"), permit("open read", "@/ask/"), asks("execute", "@/ask/"), permit(anyUse, "@/ws/"))
	s.program("bin/tool", "ask/tool")
	s.tree("ws/f")
	must(t, os.WriteFile(s.at("@/ask/loader"), probes.Loader(), 0o755))
	must(t, os.WriteFile(s.at("@/bin/loaded"), probes.Interpreted(s.at("@/ask/loader")), 0o755))
	must(t, os.WriteFile(s.at("@/bin/script"), []byte(s.at("#!@/ask/tool @/ws/f\n")), 0o755))
	must(t, os.WriteFile(s.at("@/ask/script"), []byte(s.at("#!  @/bin/tool @/ws/f \n")), 0o755))
	op := func(words ...string) []string { return words }
	run := func(path string, why abi.Reason) denial { return denial{actions: "execute", path: path, reason: why} }

	s.run(trial{name: "execution is denied where none is held", control: op("exec", "@/bin/tool"), probe: op("exec", "@/ask/tool"), errno: eacces,
		want: run("@/ask/tool", abi.ReasonAsk)})
	must(t, s.SetHold(s.id, bpf.HoldExec))
	s.run(trial{name: "execution is denied without an agent", control: op("exec", "@/bin/tool"), probe: op("exec", "@/ask/tool"), errno: eacces,
		want: run("@/ask/tool", abi.ReasonAsk)})

	w := newWarden(t, s)
	defer w.close()
	held := func(judge func(abi.Event) *bpf.Answer, want string, tr trial) {
		t.Helper()
		w.says(judge)
		tr.control = op("exec", "@/bin/tool")
		s.run(tr)
		if got := strings.Join(w.heard(), " "); got != s.at(want) {
			t.Errorf("%s: held %q, want %q", tr.name, got, s.at(want))
		}
	}
	tool := "execute @/ask/tool"
	held(allow, tool, trial{name: "execution that the agent allows is allowed", probe: op("exec", "@/ask/tool")})
	held(refused, tool, trial{name: "execution that the agent refuses is denied", probe: op("exec", "@/ask/tool"), errno: eacces, want: run("@/ask/tool", abi.ReasonAnswered)})
	held(silent, tool, trial{name: "execution without an answer is denied", probe: op("exec", "@/ask/tool"), errno: eacces, want: run("@/ask/tool", abi.ReasonAsk)})
	held(other, tool, trial{name: "answer to another question is none", probe: op("exec", "@/ask/tool"), errno: eacces, want: run("@/ask/tool", abi.ReasonAsk)})
	held(func(e abi.Event) *bpf.Answer {
		s.install(abi.Enforce, permit("open read execute", "@/bin/"), permit("open read", "@/ask/"), asks("execute", "@/ask/"), permit(anyUse, "@/ws/"))
		return &bpf.Answer{Allow: true}
	}, tool, trial{name: "answer under another plan is none", probe: op("exec", "@/ask/tool"), errno: eacces, want: run("@/ask/tool", abi.ReasonAsk)})
	held(allow, tool, trial{name: "execution by descriptor is held", probe: op("execfd", "@/ask/tool")})
	held(allow, "execute @/ask/script", trial{name: "script is held", probe: op("exec", "@/ask/script", "a0", "@/ws/f")})
	held(refused, "execute @/ask/script", trial{name: "script is denied", probe: op("exec", "@/ask/script", "a0", "@/ws/f"), errno: eacces,
		want: run("@/ask/script", abi.ReasonAnswered)})
	held(allow, tool, trial{name: "interpreter is held", probe: op("exec", "@/bin/script", "a0", "@/ws/f")})
	held(refused, tool, trial{name: "interpreter is denied", probe: op("exec", "@/bin/script", "a0", "@/ws/f"), errno: eacces,
		want: run("@/ask/tool", abi.ReasonAnswered)})

	f := s.at("@/ws/f")
	held(judged(2, 1, "a0", f, "A=b"), tool, trial{name: "image that was judged is run", probe: op("execenv", "A=b", "@/ask/tool", "a0", "@/ws/f")})
	held(judged(2, 0, "a0", f), tool, trial{name: "image that a thread makes was judged", probe: op("execthread", "@/ask/tool", "a0", "@/ws/f")})
	held(allow, "execute @/ask/loader", trial{name: "ELF loader is held", probe: op("exec", "@/bin/loaded", "a0", "@/ws/f")})
	held(judged(4, 0, s.at("@/bin/tool"), f, s.at("@/ask/script"), f), "execute @/ask/script",
		trial{name: "image of a script that was judged is run", probe: op("exec", "@/ask/script", "a0", "@/ws/f")})
}

// TestChangedImages: a process whose image is not the one that was judged dies
// before its first instruction.
func TestChangedImages(t *testing.T) {
	s := newStage(t, permit("execute", "@/bin/"), permit("open read", "@/ask/"), asks("execute", "@/ask/"), permit(anyUse, "@/ws/"))
	s.program("ask/tool")
	s.tree("ws/f", "ws/g")
	must(t, s.SetHold(s.id, bpf.HoldExec))
	w := newWarden(t, s)
	defer w.close()
	long := strings.Repeat("x", 100_000)
	f := s.at("@/ws/f")
	must(t, os.MkdirAll(s.at("@/bin"), 0o755))
	must(t, os.WriteFile(s.at("@/ask/loader"), probes.Loader(), 0o755))
	must(t, os.WriteFile(s.at("@/bin/loaded"), probes.Interpreted(s.at("@/ask/loader")), 0o755))
	// A loader that was refused is not mapped either.
	killed := func(a *attempt, why abi.Reason, mapped ...string) {
		s.t.Helper()
		if status, ok := a.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
			s.t.Errorf("not killed: %v", a)
		}
		got := s.collect()
		if len(got) != 1+len(mapped) || got[0].Reason != why || got[0].Missing.String() != "execute" || got[0].PID != uint32(a.pid) {
			s.t.Errorf("events: %v", got)
			return
		}
		for i, path := range mapped {
			s.compare(got[1+i], denial{actions: "execute,map", path: path, reason: abi.ReasonAsk, exe: "@/bin/loaded"}, a.pid)
		}
		s.balance(len(got))
	}
	for name, judge := range map[string]func(abi.Event) *bpf.Answer{
		"argument":     judged(2, 1, "a0", s.at("@/ws/g"), "A="+long),
		"count":        judged(1, 2, "a0", f, "A="+long),
		"environment":  judged(2, 1, "a0", f, "A="+long[1:]+"y"),
		"shorter":      judged(2, 1, "a0", f, "A="+long+"x"),
		"longer":       judged(2, 1, "a0", f, "A="+long[1:]),
		"first string": judged(2, 1, "b0", f, "A="+long),
	} {
		s.t.Run(name, func(t *testing.T) {
			s.sub(t, func() {
				w.says(judged(2, 1, "a0", f, "A="+long))
				s.expectAllowed(s.start("", nil, 0, "execenv", "A="+long, "@/ask/tool", "a0", f).wait())
				w.says(judge)
				a := s.start("", nil, 0, "execenv", "A="+long, "@/ask/tool", "a0", f).wait()
				killed(a, abi.ReasonChanged)
			})
		})
	}
	// Nothing can be denied any more once the ELF loader was opened.
	for name, judge := range map[string]func(abi.Event) *bpf.Answer{"refused loader": refused, "loader without an answer": silent} {
		s.t.Run(name, func(t *testing.T) {
			s.sub(t, func() {
				w.says(allow)
				s.expectAllowed(s.start("", nil, 0, "exec", "@/bin/loaded", "a0", f).wait())
				w.says(judge)
				why := abi.ReasonAsk
				if name == "refused loader" {
					why = abi.ReasonAnswered
				}
				killed(s.start("", nil, 0, "exec", "@/bin/loaded", "a0", f).wait(), why, "@/ask/loader")
			})
		})
	}
	w.says(judged(2, 0, "a0", "/"))
	killed(s.start("", nil, 0, "execthread", "@/ask/tool", "a0", f).wait(), abi.ReasonChanged)
}

// hasHook reports whether this kernel has an LSM hook.
func hasHook(t *testing.T, hook string) bool {
	t.Helper()
	symbols := must1(os.ReadFile("/proc/kallsyms"))(t)
	return bytes.Contains(symbols, []byte(" bpf_lsm_"+hook+"\n"))
}

// TestHeldOpens: opens wait where the kernel has a hook behind them.
func TestHeldOpens(t *testing.T) {
	s := newStage(t, permit(anyUse, "@/ws/"), asks("open read write", "@/ask/"))
	s.tree("ws/f", "ask/f")
	op := func(words ...string) []string { return words }
	want := func(actions string, why abi.Reason) denial {
		return denial{actions: actions, path: "@/ask/f", reason: why}
	}
	if !hasHook(t, "file_post_open") {
		if err := s.SetHold(s.id, bpf.HoldOpen); err == nil || !strings.Contains(err.Error(), "file_post_open") && !strings.Contains(err.Error(), "no hook behind an open") {
			t.Errorf("hold of opens on %s: %v", kernel(), err)
		}
		s.run(trial{name: "open is denied where none can be held", control: op("open", "r", "@/ws/f"), probe: op("open", "r", "@/ask/f"), errno: eacces, want: want("open,read", abi.ReasonAsk)})
		return
	}
	must(t, s.SetHold(s.id, bpf.HoldOpen))
	control := op("open", "rw", "@/ws/f")
	s.run(trial{name: "open is denied without an agent", control: control, probe: op("open", "r", "@/ask/f"), errno: eacces, want: want("open,read", abi.ReasonAsk)})
	w := newWarden(t, s)
	defer w.close()
	for _, c := range []struct {
		judge func(abi.Event) *bpf.Answer
		trial
	}{
		{allow, trial{name: "open that the agent allows is allowed", probe: op("open", "r", "@/ask/f")}},
		{allow, trial{name: "writing open that the agent allows is allowed", probe: op("open", "rw", "@/ask/f")}},
		{refused, trial{name: "open that the agent refuses is denied", probe: op("open", "r", "@/ask/f"), errno: eacces, want: want("open,read", abi.ReasonAnswered)}},
		{silent, trial{name: "open without an answer is denied", probe: op("open", "rw", "@/ask/f"), errno: eacces, want: want("open,read,write", abi.ReasonAsk)}},
		{refused, trial{name: "truncating open that the agent refuses is denied", probe: op("open", "w|trunc", "@/ask/f"), errno: eacces, want: want("open,write", abi.ReasonAnswered)}},
	} {
		w.says(c.judge)
		c.control = control
		s.run(c.trial)
		if n := len(w.heard()); n != 1 {
			t.Errorf("%s: %d holds", c.name, n)
		}
	}
	if info := must1(os.Stat(s.at("@/ask/f")))(t); info.Size() != 4096 {
		t.Errorf("the refused open truncated: %d bytes", info.Size())
	}
	// What passes no hook afterwards is not held.
	w.says(allow)
	s.run(trial{name: "open by io_uring is not held", control: op("uring", "inline", "open", "r", "@/ws/f"), probe: op("uring", "inline", "open", "r", "@/ask/f"), errno: eacces, want: want("open,read", abi.ReasonAsk)})
	if n := w.heard(); len(n) != 0 {
		t.Errorf("io_uring: held %q", n)
	}
	s.install(abi.Audit, permit(anyUse, "@/ws/"), asks("open read write", "@/ask/"))
	for _, c := range []struct {
		judge func(abi.Event) *bpf.Answer
		want  []denial
	}{{allow, nil}, {refused, []denial{{actions: "open,read", path: "@/ask/f", reason: abi.ReasonAnswered, mode: abi.Audit}}},
		{silent, []denial{{actions: "open,read", path: "@/ask/f", reason: abi.ReasonAsk, mode: abi.Audit}}}} {
		w.says(c.judge)
		s.expectAudited(s.start("", nil, 0, "open", "r", "@/ask/f").wait(), c.want...)
	}
}

// TestHoldsAfterTasks: a task that dies while it waits leaves nothing, and the
// hold ends with it.
func TestHoldsAfterTasks(t *testing.T) {
	s := newStage(t, permit("open read", "@/ask/"), asks("execute", "@/ask/"))
	s.program("ask/tool")
	must(t, s.SetHold(s.id, bpf.HoldExec))
	w := newWarden(t, s)
	defer w.close()
	waits, over := make(chan abi.Event, 1), make(chan struct{})
	w.says(func(e abi.Event) *bpf.Answer {
		waits <- e
		<-over
		return &bpf.Answer{Allow: true}
	})
	a := s.start("", nil, 0, "exec", "@/ask/tool")
	e := <-waits
	if n := must1(w.holds.Pending(int(e.TID)))(t); n != e.Hold {
		t.Errorf("thread %d waits for hold %d, want %d", e.TID, n, e.Hold)
	}
	must(t, a.cmd.Process.Kill())
	a.wait()
	close(over)
	if n := must1(w.holds.Pending(int(e.TID)))(t); n != 0 {
		t.Errorf("the dead thread %d waits for hold %d", e.TID, n)
	}
	s.quiet("after the task died")
	fmt.Printf("hold: killed while it waited: %s\n", show(e))
}
