package inspect

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	oddName  = ") R 1 ("
	oddFiles = 1500 // descriptors, more than are told
	oddPos   = 3
)

// beOdd is a process with a name that looks like fields of stat, and many descriptors: of
// the file args[0], of which the first stands at oddPos.
func beOdd(args []string) {
	must(os.WriteFile("/proc/self/comm", []byte(oddName), 0))
	must(unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: oddFiles + 100, Max: oddFiles + 100}))
	for i := range oddFiles {
		fd, err := unix.Open(args[0], unix.O_RDWR|unix.O_APPEND, 0)
		must(err)
		if i == 0 {
			_, err = unix.Seek(fd, oddPos, unix.SEEK_SET)
			must(err)
		}
	}
	ready()
}

// oddFile makes a file whose name is no UTF-8, and does something to terminals.
func oddFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a\xffb\n\x1b[31m\u202e\x9b")
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAProcessIsToldAsItIs(t *testing.T) {
	words := []string{oddFile(t), "new\nline", "\x1b[31mred\u202e", "\xff\xfe", "", "U+FFFD: \ufffd"}
	cmd := do(t, "odd", words...)
	p := start(t, cmd)
	r := one[ProcessRecord](t, Processes, p)
	var args []string
	for _, b := range r.ArgsB64 {
		args = append(args, string(b))
	}
	if !slices.Equal(args, cmd.Args) || len(r.Args) != len(args) || r.Args[4] != words[1] || r.Args[5] != words[2] || r.Cut != nil {
		t.Errorf("args %q, raw %q, want %q; cut %v", r.Args, args, cmd.Args, r.Cut)
	}
	own := named(t, os.Getpid())
	if r.Comm != oddName || r.PPID != own.PID || r.PID != p.PID || r.Started != p.Start*1e7 || p.Start < own.Start {
		t.Errorf("%+v", r)
	}
	exe, _ := os.Executable()
	if r.State != "S" || r.Threads < 2 || *r.UID != 0 || *r.GID != 0 || r.Executable != exe || r.Gone || r.Failed != nil {
		t.Errorf("%+v", r)
	}
	session, _ := unix.Getsid(0)
	if r.Session != session || r.TTY != "" || len(r.NSPID) != 1 || r.NSPID[0] != uint32(p.PID) {
		t.Errorf("%+v", r)
	}
	if text, _ := os.ReadFile("/proc/self/cgroup"); !strings.Contains(string(text), "0::"+r.Cgroup+"\n") || r.Cgroup == "" {
		t.Errorf("cgroup %q of %q", r.Cgroup, text)
	}
}

func TestALongCommandLineIsCut(t *testing.T) {
	cmd := do(t, "odd", oddFile(t), strings.Repeat("x", 100_000))
	r := one[ProcessRecord](t, Processes, start(t, cmd))
	length := len(strings.Join(cmd.Args, "\x00")) + 1
	got := len(r.ArgsB64) - 1 // NULs between
	for _, arg := range r.ArgsB64 {
		got += len(arg)
	}
	if got != MaxArgs || len(r.Args) != len(cmd.Args) || r.Cut["args"] != (Total{Total: int64(length)}) {
		t.Errorf("%d bytes told, cut %v, want %d", got, r.Cut, length)
	}
}

// beTorn is a process that lets nobody read a page of its arguments, of which the last is long.
func beTorn([]string) {
	text, _, err := readAt(unix.AT_FDCWD, "/proc/self/stat", maxSmall)
	must(err)
	s, err := parseStat(text)
	must(err)
	page := (uintptr(s.argsFrom)+4095)&^4095 + 4096
	if _, _, e := unix.Syscall(unix.SYS_MPROTECT, page, 4096, unix.PROT_NONE); e != 0 {
		must(e)
	}
	ready()
}

func TestACommandLineThatIsPartlyGoneIsCut(t *testing.T) {
	cmd := do(t, "torn-args", strings.Repeat("x", 12<<10))
	r := one[ProcessRecord](t, Processes, start(t, cmd))
	length := len(strings.Join(cmd.Args, "\x00")) + 1
	if got := len(strings.Join(r.Args, "\x00")); got < 4096 || got >= length-4096 || r.Cut["args"] != (Total{Total: int64(length)}) {
		t.Errorf("%d of %d bytes told, cut %v, failed %v", got, length, r.Cut, r.Failed)
	}
}

func TestDescriptorsAreToldAndCounted(t *testing.T) {
	path := oddFile(t)
	r := one[DescriptorsRecord](t, Descriptors, start(t, do(t, "odd", path)))
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", r.PID))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Descriptors) != MaxDescriptors || r.Cut["descriptors"] != (Total{Total: int64(len(all))}) || len(all) < oddFiles {
		t.Errorf("%d of %d told, cut %v", len(r.Descriptors), len(all), r.Cut)
	}
	var of []Descriptor
	for _, d := range r.Descriptors {
		if string(d.TargetB64) == path {
			of = append(of, d)
		}
	}
	if len(of) < MaxDescriptors-20 || of[0].Pos != oddPos || of[1].Pos != 0 || of[0].Mount == 0 {
		t.Fatalf("%d are of the file, the first %+v", len(of), of[0])
	}
	var flags int
	if _, err := fmt.Sscanf(of[0].Flags, "%o", &flags); err != nil || flags&unix.O_APPEND == 0 || flags&unix.O_ACCMODE != unix.O_RDWR {
		t.Errorf("flags %q", of[0].Flags)
	}
}

func TestDescriptorsHaveABoundInAll(t *testing.T) {
	p := start(t, do(t, "odd", oddFile(t)))
	q := named(t, os.Getpid())
	var text strings.Builder
	r := newRun(helperArgs, Request{Collector: Descriptors, Processes: []Process{p, q}}, &text)
	r.request.Spent.Descriptors = AllDescriptors - 5
	if err := r.all(t.Context()); err != nil {
		t.Fatal(err)
	}
	doc := decode[DescriptorsRecord](t, text.String())
	first, second := doc.Processes[0], doc.Processes[1]
	if len(first.Descriptors) != 5 || first.Cut["descriptors"].Total < oddFiles || len(second.Descriptors) != 0 || second.Cut["descriptors"].Total < 3 {
		t.Errorf("%d and %d told, cut %v and %v", len(first.Descriptors), len(second.Descriptors), first.Cut, second.Cut)
	}
}

func TestNamespacesAreThoseOfTheProcess(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "echo ready; read x")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUTS}
	r := one[NamespacesRecord](t, Namespaces, start(t, cmd))
	own := map[string]string{}
	names, _ := os.ReadDir("/proc/self/ns")
	for _, n := range names {
		own[n.Name()], _ = os.Readlink("/proc/self/ns/" + n.Name())
	}
	uts, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/uts", r.PID))
	if own["uts"] == uts {
		t.Fatal("the child has no namespace of its own")
	}
	own["uts"] = uts
	if len(own) < 8 || !maps.Equal(own, r.Namespaces) {
		t.Errorf("%v, want %v", r.Namespaces, own)
	}
}

func TestCredentialsAreThoseOfTheProcess(t *testing.T) {
	groups := make([]uint32, MaxSupplementary+10)
	for i := range groups {
		groups[i] = uint32(100_000 + i)
	}
	cmd := exec.Command("/bin/sh", "-c", "echo ready; read x")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1234, Gid: 2345, Groups: groups}}
	r := one[CredentialsRecord](t, Credentials, start(t, cmd))
	if !slices.Equal(r.UID, []uint32{1234, 1234, 1234, 1234}) || !slices.Equal(r.GID, []uint32{2345, 2345, 2345, 2345}) {
		t.Errorf("uid %v, gid %v", r.UID, r.GID)
	}
	if !slices.Equal(r.Groups, groups[:MaxSupplementary]) || r.Cut["groups"] != (Total{Total: int64(len(groups))}) {
		t.Errorf("groups %v, cut %v", r.Groups, r.Cut)
	}
	own := one[CredentialsRecord](t, Credentials, named(t, os.Getpid()))
	none := "0000000000000000"
	if r.Effective != none || r.Permitted != none || r.Inheritable != none || r.Ambient != none || r.Bounding != own.Bounding || own.Effective == none {
		t.Errorf("%+v, own %+v", r, own)
	}
	label, err := os.ReadFile("/proc/self/attr/current")
	if want := strings.TrimRight(string(label), "\n\x00"); err == nil && own.LSMLabel != want {
		t.Errorf("label %q, of this process %q", own.LSMLabel, want)
	}
	if r.NoNewPrivs != "0" || r.Seccomp != own.Seccomp || r.Seccomp == "" || r.Failed != nil {
		t.Errorf("%+v", r)
	}
}

func TestEnvironmentTellsValuesOnlyWhenAsked(t *testing.T) {
	cmd := do(t, "odd", oddFile(t))
	cmd.Env = []string{"PLAIN=one=two", "EMPTY=", "\xffODD=\xfe\n"}
	p := start(t, cmd)
	names := one[EnvironmentRecord](t, Environment, p)
	doc, err := ask[EnvironmentRecord](t, Request{Collector: Environment, Processes: []Process{p}, Values: true})
	if err != nil {
		t.Fatal(err)
	}
	values := doc.Processes[0]
	if len(names.Variables) != 3 || len(values.Variables) != 3 || names.Cut != nil {
		t.Fatalf("%+v, %+v", names, values)
	}
	for i, want := range []struct{ name, value string }{{"PLAIN", "one=two"}, {"EMPTY", ""}} {
		if n, v := names.Variables[i], values.Variables[i]; n.Name != want.name || n.Value != nil || v.Name != want.name || *v.Value != want.value {
			t.Errorf("%+v, %+v", n, v)
		}
	}
	if n, v := names.Variables[2], values.Variables[2]; string(n.NameB64) != "\xffODD" || n.ValueB64 != nil || string(v.ValueB64) != "\xfe\n" {
		t.Errorf("%+v, %+v", n, v)
	}
}

func TestALargeEnvironmentIsCut(t *testing.T) {
	cmd := do(t, "odd", oddFile(t))
	for i := range MaxVariables + 100 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("V%d=", i))
	}
	r := one[EnvironmentRecord](t, Environment, start(t, cmd))
	if len(r.Variables) != MaxVariables || r.Cut["variables"] != (Total{Total: MaxVariables + 100}) || len(r.Cut) != 1 {
		t.Errorf("%d told, cut %v", len(r.Variables), r.Cut)
	}
	cmd = do(t, "odd", oddFile(t))
	cmd.Env = []string{"A=" + strings.Repeat("a", 100_000), "B=" + strings.Repeat("b", 100_000)}
	r = one[EnvironmentRecord](t, Environment, start(t, cmd))
	if len(r.Variables) != 2 || r.Cut["environment"] != (Total{Total: 2 * 100_003}) || len(r.Cut) != 1 {
		t.Errorf("%d told, cut %v", len(r.Variables), r.Cut)
	}
}

func TestAnotherProcessOfThatNumberIsGone(t *testing.T) {
	p := named(t, os.Getpid())
	other := Process{PID: p.PID, Start: p.Start + 1}
	dead := exec.Command("/bin/true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	for _, c := range Collectors() {
		if c == ControlGroup {
			continue
		}
		doc, err := ask[map[string]any](t, Request{Collector: c, Processes: []Process{other, {PID: dead.Process.Pid, Start: p.Start}, p}})
		if err != nil || len(doc.Processes) != 3 {
			t.Fatalf("%s: %v, %v", c, err, doc)
		}
		for i, gone := range []any{true, true, nil} {
			if got := doc.Processes[i]; got["gone"] != gone || got["failed"] != nil {
				t.Errorf("%s: %v, want gone: %v", c, got, gone)
			}
		}
		if text := fmt.Sprint(doc.Processes[0]); strings.Contains(text, filepath.Base(os.Args[0])) {
			t.Errorf("%s: tells of another process: %s", c, text)
		}
	}
}

func TestAProcessThatNobodyWaitedForIsNotGone(t *testing.T) {
	cmd := exec.Command("/bin/true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait() // not before
	p := named(t, cmd.Process.Pid)
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, p.PID, &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if r := one[ProcessRecord](t, Processes, p); r.State != "Z" || r.Gone || r.Comm != "true" || len(r.Args) != 0 {
		t.Errorf("%+v", r)
	}
	if r := one[ExecutablesRecord](t, Executables, p); r.Gone || r.Executable != nil || len(r.Mappings) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestProcessesBeyondTheBoundAreCounted(t *testing.T) {
	list := make([]Process, MaxProcesses+7)
	for i := range list {
		list[i] = Process{PID: 1 << 29, Start: 1} // no process has that number
	}
	doc, err := ask[CredentialsRecord](t, Request{Collector: Credentials, Processes: list})
	if err != nil || len(doc.Processes) != MaxProcesses || doc.Cut["processes"] != (Total{Total: MaxProcesses + 7}) {
		t.Errorf("%v, %d told, cut %v", err, len(doc.Processes), doc.Cut)
	}
}
