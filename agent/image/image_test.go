package image

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The process that executes does so in its first thread, the one that the tests
// look at; Go would else move main to another.
func init() { runtime.LockOSThread() }

// TestMain lets the test binary be the program that a test executes, and the
// process that executes it.
func TestMain(m *testing.M) {
	if exe, _ := os.Readlink("/proc/self/exe"); filepath.Base(exe) == "pause" {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	if len(os.Args) == 2 && os.Args[1] == "execute" {
		fmt.Fprintln(os.Stderr, execute())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// order is what the executing process is to do.
type order struct {
	Dir, Path string
	Args, Env []string
	At        string // a file or folder to open: execveat with its descriptor
	Flags     int
	NoArgs    bool // pass a null pointer
}

// execute reads an order and follows it.
func execute() error {
	var o order
	if err := json.NewDecoder(bufio.NewReaderSize(os.Stdin, 1)).Decode(&o); err != nil {
		return err
	}
	if err := os.Chdir(o.Dir); err != nil {
		return err
	}
	path, err := unix.BytePtrFromString(o.Path)
	if err != nil {
		return err
	}
	args, env := pointers(o.Args), pointers(o.Env)
	if o.NoArgs {
		args = nil
	}
	if o.At == "" {
		_, _, errno := unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(args)), uintptr(unsafe.Pointer(env)))
		return errno
	}
	fd, err := unix.Open(o.At, unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	if fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD, 30); err != nil {
		return err
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(args)), uintptr(unsafe.Pointer(env)), uintptr(o.Flags), 0)
	return errno
}

func pointers(list []string) **byte {
	p := make([]*byte, 0, len(list)+1)
	for _, s := range list {
		b, _ := unix.BytePtrFromString(s)
		p = append(p, b)
	}
	return &append(p, nil)[0]
}

// stage is a folder with programs, and a group that holds executions of them.
//
//	DIR
//	├── pause      the test binary: waits for the end of its input
//	├── hard       scripts, made by each case
//	└── sub/
type stage struct {
	t     *testing.T
	dir   string
	group int
	proc  *os.File
	view  *View
}

func newStage(t *testing.T) *stage {
	t.Helper()
	group, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC|unix.FAN_REPORT_TID, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil && os.Getenv("STOCKADE_STRICT") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, dir: t.TempDir(), group: group}
	t.Cleanup(func() { unix.Close(group) })
	if s.proc, err = os.Open("/proc"); err != nil {
		t.Fatal(err)
	}
	if s.view, err = NewView(s.proc); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.view.Close)
	text, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = errors.Join(os.WriteFile(s.path("pause"), text, 0o755), os.Mkdir(s.path("sub"), 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// of is the same stage for a part of the test.
func (s *stage) of(t *testing.T) *stage {
	part := *s
	part.t = t
	return &part
}

func (s *stage) path(name string) string { return filepath.Join(s.dir, name) }

// mark makes executions of a file wait.
func (s *stage) mark(name string) func() {
	if err := unix.FanotifyMark(s.group, unix.FAN_MARK_ADD, unix.FAN_OPEN_EXEC_PERM, unix.AT_FDCWD, s.path(name)); err != nil {
		s.t.Fatal(err)
	}
	return func() {
		if err := unix.FanotifyMark(s.group, unix.FAN_MARK_REMOVE, unix.FAN_OPEN_EXEC_PERM, unix.AT_FDCWD, s.path(name)); err != nil {
			s.t.Error(err)
		}
	}
}

// start lets a process follow an order, up to where it waits.
func (s *stage) start(o order) (cmd *exec.Cmd, held *os.File, release func()) {
	s.t.Helper()
	cmd = exec.Command("/proc/self/exe", "execute")
	in, err := cmd.StdinPipe()
	cmd.Stderr = os.Stderr
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		err = json.NewEncoder(in).Encode(o)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { in.Close(); cmd.Process.Kill(); cmd.Wait() })
	var m unix.FanotifyEventMetadata
	raw := (*[24]byte)(unsafe.Pointer(&m))[:]
	if poll, err := unix.Poll([]unix.PollFd{{Fd: int32(s.group), Events: unix.POLLIN}}, 20_000); poll != 1 {
		s.t.Fatalf("nothing is executed: %v", err)
	}
	if n, err := unix.Read(s.group, raw); err != nil || n != 24 {
		s.t.Fatal(n, err)
	}
	held = os.NewFile(uintptr(m.Fd), "held")
	return cmd, held, func() {
		answer := unix.FanotifyResponse{Fd: m.Fd, Response: unix.FAN_ALLOW}
		if _, err := unix.Write(s.group, (*[8]byte)(unsafe.Pointer(&answer))[:]); err != nil {
			s.t.Fatal(err)
		}
		held.Close()
	}
}

// outcome returns what a process has become.
func (s *stage) outcome(pid int) (args, env []byte) {
	s.t.Helper()
	dir := fmt.Sprintf("/proc/%d/", pid)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		exe, _ := os.Readlink(dir + "exe")
		if args, _ := os.ReadFile(dir + "cmdline"); exe == s.path("pause") && len(args) > 0 {
			break // the kernel sets the bounds of both at once, after the name
		}
		if time.Now().After(end) {
			s.t.Fatal("the program does not begin")
		}
	}
	args, err := os.ReadFile(dir + "cmdline")
	if err == nil {
		env, err = os.ReadFile(dir + "environ")
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return args, env
}

func TestPredictedImagesAreThoseOfTheKernel(t *testing.T) {
	s := newStage(t)
	pause := s.path("pause")
	long := strings.Repeat("long ", 1000)
	many := make([]string, 300)
	for i := range many {
		many[i] = fmt.Sprintf("arg%d=%s", i, strings.Repeat("x", i))
	}
	deep := s.path(strings.Repeat("d", 100))
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(s.path("sub/script"), s.path("link")); err != nil {
		t.Fatal(err)
	}
	write("sub/script", "#!"+pause+" an  optional arg \t\n:\n")
	write("plain", "#!"+pause+"\n")
	write("blanks", "#! \t "+pause+"\t \n")
	write("tab", "#!\t"+pause+"\tone\ttwo\n")
	write("noline", "#!"+pause+" x")
	write("nul", "#!"+pause+"\x00y z\n")
	write("cut", "#!"+pause+" "+strings.Repeat("c", 400)+"\n")
	write("nested1", "#!"+s.path("plain")+" first\n")
	write("nested2", "#!"+s.path("nested1")+" second\n")
	write("relative", "#!pause rel\n")
	write(filepath.Base(deep), "#!"+pause+"\n")
	for _, c := range []struct {
		name, held string
		order      order
		program    bool // what is held is the program itself
	}{
		{"direct", "pause", order{Path: pause, Args: []string{"name", "-f", "push", ""}, Env: []string{"A=1", "B"}}, true},
		{"no arguments", "pause", order{Path: pause, Args: []string{}, Env: []string{"A=1"}}, true},
		{"null arguments", "pause", order{Path: pause, NoArgs: true}, true},
		{"no environment", "pause", order{Path: pause, Args: []string{"x"}}, true},
		{"long", "pause", order{Path: pause, Args: []string{"x", long, "y", long}, Env: []string{"L=" + long}}, true},
		{"many", "pause", order{Path: pause, Args: many, Env: many}, true},
		{"relative", "pause", order{Path: "../pause", Dir: s.path("sub"), Args: []string{"x"}}, true},
		{"of /proc/self", "pause", order{Path: "/proc/self/cwd/pause", Args: []string{"x"}}, true},
		{"script", "plain", order{Path: s.path("plain"), Args: []string{"x", "push"}, Env: []string{"A=1"}}, true},
		{"script without arguments", "plain", order{Path: s.path("plain")}, true},
		{"interpreter", "pause", order{Path: s.path("plain"), Args: []string{"x", "push"}}, false},
		{"link to a script with an argument", "sub/script", order{Path: "link", Args: []string{"x", "push"}}, true},
		{"blanks", "blanks", order{Path: "./blanks", Args: []string{"x"}}, true},
		{"tabs", "tab", order{Path: "tab", Args: []string{"x"}}, true},
		{"no line end", "noline", order{Path: "noline", Args: []string{"x"}}, true},
		{"NUL", "nul", order{Path: "nul", Args: []string{"x", "y"}}, true},
		{"argument cut off", "cut", order{Path: "cut", Args: []string{"x", "y"}}, true},
		{"nested", "nested1", order{Path: "nested1", Args: []string{"x", "y"}}, true},
		{"nested twice", "nested2", order{Path: "nested2", Args: []string{"x", "y"}}, true},
		{"nested, in the middle", "plain", order{Path: "nested2", Args: []string{"x", "y"}}, false},
		{"nested, at the end", "pause", order{Path: "nested2", Args: []string{"x", "y"}}, false},
		{"relative interpreter", "relative", order{Path: "relative", Args: []string{"x", "y"}}, true},
		{"long name", filepath.Base(deep), order{Path: deep, Args: []string{"x"}}, true},
		{"descriptor", "pause", order{At: pause, Flags: unix.AT_EMPTY_PATH, Args: []string{"x", "y"}}, true},
		{"descriptor of a script", "sub/script", order{At: s.path("sub/script"), Flags: unix.AT_EMPTY_PATH, Args: []string{"x", "y"}}, true},
		{"descriptor of a folder", "sub/script", order{At: s.path("sub"), Path: "script", Args: []string{"x"}}, true},
		{"descriptor and a whole path", "plain", order{At: s.path("sub"), Path: s.path("plain"), Args: []string{"x"}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.of(t)
			if c.order.Dir == "" {
				c.order.Dir = s.dir
			}
			defer s.mark(c.held)()
			cmd, held, release := s.start(c.order)
			call, err := Read(s.proc, cmd.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(call.Args, c.order.Args) || !slices.Equal(call.Env, c.order.Env) {
				t.Errorf("read %q %q, want %q %q", call.Args, call.Env, c.order.Args, c.order.Env)
			}
			img, program, err := Predict(call, Task{View: s.view, PID: cmd.Process.Pid, TID: cmd.Process.Pid, Known: held})
			if err != nil {
				t.Fatal(err)
			}
			file, err := FileOf(held)
			if err != nil {
				t.Fatal(err)
			}
			if same := file.Device == program.Device && file.Inode == program.Inode; same != c.program {
				t.Errorf("the file held is the program: %v, want %v", same, c.program)
			}
			release()
			args, env := s.outcome(cmd.Process.Pid)
			if got := append(args, env...); !bytes.Equal(got, img.Strings()) {
				t.Errorf("predicted %q\nthe kernel made %q", img.Strings(), got)
			}
		})
	}
}

func TestTooLongArgumentsAreNotRead(t *testing.T) {
	s := newStage(t)
	defer s.mark("pause")()
	cmd, _, release := s.start(order{Dir: s.dir, Path: "pause", Args: []string{strings.Repeat("x", 70_000), strings.Repeat("y", 70_000)}})
	defer release()
	if _, err := Read(s.proc, cmd.Process.Pid); !errors.Is(err, errLong) {
		t.Errorf("%v, want %v", err, errLong)
	}
}

// What the kernel refuses to run as a script is not predicted.
func TestBrokenScriptsAreNotPredicted(t *testing.T) {
	for text, want := range map[string]string{
		"#!/bin/sh\n":                           "/bin/sh",
		"#! /bin/sh -e \n":                      "/bin/sh|-e",
		"#!/bin/sh -e x\n":                      "/bin/sh|-e x",
		"#!\n":                                  "refused",
		"#!   \t \n":                            "refused",
		"#!" + strings.Repeat(" ", 300):         "refused",
		"#!/" + strings.Repeat("a", 300):        "refused", // a path that may be cut
		"#!/" + strings.Repeat("a", 250):        "/" + strings.Repeat("a", 250),
		"#!/bin/sh":                             "/bin/sh",
		"#!/bin/sh " + strings.Repeat("a", 300): "/bin/sh|" + strings.Repeat("a", 255-10),
	} {
		var h Head
		copy(h[:], text)
		interpreter, argument, has, ok := h.script()
		got := interpreter
		if has {
			got += "|" + argument
		}
		if !ok {
			got = "refused"
		}
		if got != want {
			t.Errorf("%.30q: %q, want %q", text, got, want)
		}
	}
}

func TestOtherMachinesProgramsAreForeign(t *testing.T) {
	var h Head
	copy(h[:], "\x7fELF\x02\x01\x01")
	h[18] = 0xf3 // RISC-V
	for _, head := range []Head{h, {}, {'M', 'Z'}} {
		if native(&head) {
			t.Errorf("%x is taken for a program of this machine", head[:20])
		}
	}
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	if _, err := exe.Read(h[:]); err != nil || !native(&h) {
		t.Errorf("this program is not one of this machine: %v", err)
	}
}

func TestTasksThatExecuteNothingAreNotRead(t *testing.T) {
	s := newStage(t)
	cmd := exec.Command("sleep", "100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	time.Sleep(100 * time.Millisecond)
	if call, err := Read(s.proc, cmd.Process.Pid); err == nil {
		t.Errorf("%+v", call)
	}
	if call, err := Read(s.proc, 1<<22+1); err == nil { // no such task
		t.Errorf("%+v", call)
	}
}
