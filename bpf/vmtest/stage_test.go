package vmtest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/vmtest/probes"
)

const cgroups = "/sys/fs/cgroup"

// stage is one workload with what belongs to it.
type stage struct {
	*lab
	t       *testing.T
	id      uint32
	dir     string // fixture directory, "@" in policies and arguments
	cgroup  string
	group   *os.File // the cgroup's directory
	exe     string   // the program of the probes
	seq     uint64   // of the last event seen
	denied  uint64   // by the counter, so far
	dropped uint64   // the same
	fixture func()   // makes the files of each trial
}

// stages counts them, also over sets that were loaded one after the other.
var stages int

// newStage makes a workload with the given policies and no files.
func newStage(t *testing.T, policies ...string) *stage {
	t.Helper()
	return stageOn(t, open(t), policies...)
}

func stageOn(t *testing.T, l *lab, policies ...string) *stage {
	t.Helper()
	s := bareStage(t, l)
	s.install(abi.Enforce, policies...)
	return s
}

// bareStage makes a workload without a plan.
func bareStage(t *testing.T, l *lab) *stage {
	t.Helper()
	l.last++
	stages++
	s := &stage{lab: l, t: t, id: l.last, dir: fmt.Sprintf("/tmp/v%d", stages)}
	if l != theLab {
		s.dir += "b"
	}
	s.cgroup = filepath.Join(cgroups, "vmtest-"+filepath.Base(s.dir))
	s.exe = must1(prober())(t)
	must(t, os.Mkdir(s.dir, 0o755))
	must(t, os.Mkdir(s.cgroup, 0o755))
	s.group = must1(os.Open(s.cgroup))(t)
	t.Cleanup(func() { s.group.Close() })
	must(t, l.RegisterRoot(s.id))
	must(t, l.Confine(cgroupID(t, s.cgroup), s.id))
	return s
}

// install makes the policies the workload's plan and returns its generation.
func (s *stage) install(mode abi.Mode, policies ...string) uint32 {
	s.t.Helper()
	plan, err := compile(s.exe, s.dir, policies...)
	must(s.t, err)
	return must1(s.Install(s.id, plan.Table.Words(), mode))(s.t)
}

func cgroupID(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	return st.Ino
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// must1 is used as must1(f())(t).
func must1[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		must(t, err)
		return v
	}
}

// at returns a path in the fixture directory.
func (s *stage) at(path string) string { return strings.ReplaceAll(path, "@", s.dir) }

func (s *stage) expand(list []string) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = s.at(a)
	}
	return out
}

// tree makes fixture files: "dir/" is a directory, "name -> target" a symbolic
// link, anything else a file of one page. Parents are made as needed.
func (s *stage) tree(entries ...string) {
	s.t.Helper()
	for _, e := range entries {
		name, target, link := strings.Cut(e, " -> ")
		path := filepath.Join(s.dir, name)
		must(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
		switch {
		case link:
			must(s.t, os.Symlink(s.at(target), path))
		case strings.HasSuffix(e, "/"):
			must(s.t, os.MkdirAll(path, 0o755))
		default:
			must(s.t, os.WriteFile(path, bytes.Repeat([]byte{'x'}, 4096), 0o644))
		}
	}
}

// anew has the fixture files of each trial made by itself, so that none lives on what
// another one left behind.
func (s *stage) anew(fixture func()) { s.fixture = fixture }

// renew makes them, if that was asked for.
func (s *stage) renew() {
	s.t.Helper()
	if s.fixture == nil {
		return
	}
	for _, e := range must1(os.ReadDir(s.dir))(s.t) {
		must(s.t, os.RemoveAll(filepath.Join(s.dir, e.Name())))
	}
	s.fixture()
}

// program makes an executable file that exits with 0.
func (s *stage) program(names ...string) {
	s.t.Helper()
	for _, name := range names {
		path := filepath.Join(s.dir, name)
		must(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(s.t, os.WriteFile(path, probes.Payload(), 0o755))
	}
}

// attempt is a probe that runs or ran.
type attempt struct {
	s        *stage
	cmd      *exec.Cmd
	in       io.WriteCloser // opens the gate
	out      *bufio.Reader
	notes    bytes.Buffer
	startErr error // the kernel did not even let it start

	code  int
	pid   int // of the process that tried
	errno syscall.Errno
	text  string // its standard output
}

// command prepares a probe. The probe gets files from descriptor 3 on.
func (s *stage) command(files []*os.File, procs, steps string, errno syscall.Errno, argv []string) *attempt {
	a := &attempt{s: s, cmd: exec.Command(s.exe)}
	a.cmd.Args = append([]string{s.exe, procs, s.at(steps), fmt.Sprint(int(errno))}, s.expand(argv)...)
	a.cmd.Stderr = &a.notes
	a.cmd.ExtraFiles = files
	a.in = must1(a.cmd.StdinPipe())(s.t)
	a.out = bufio.NewReader(must1(a.cmd.StdoutPipe())(s.t))
	return a
}

// start starts a probe that takes the steps and then enters the workload. What
// programs do when they start, such as the reading that Go's runtime does, is
// over by then: all events are of the probe.
func (s *stage) start(steps string, files []*os.File, errno syscall.Errno, argv ...string) *attempt {
	s.t.Helper()
	procs := must1(os.OpenFile(s.cgroup+"/cgroup.procs", os.O_WRONLY, 0))(s.t)
	defer procs.Close()
	a := s.command(append(files[:len(files):len(files)], procs), fmt.Sprint(3+len(files)), steps, errno, argv)
	a.startErr = a.cmd.Start()
	return a
}

// born starts a probe inside the cgroup, as stockade starts workloads. Its
// initialisation makes events of its own: take them at a gate.
func (s *stage) born(cgroup *os.File, errno syscall.Errno, argv ...string) *attempt {
	s.t.Helper()
	a := s.command(nil, "-1", "", errno, argv)
	a.cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cgroup.Fd())}
	a.startErr = a.cmd.Start()
	return a
}

// outsider starts a probe that nothing confines.
func (s *stage) outsider(argv ...string) *attempt {
	s.t.Helper()
	a := s.command(nil, "-1", "", 0, argv)
	a.startErr = a.cmd.Start()
	return a
}

// ready waits until a gated probe is at its gate.
func (a *attempt) ready() {
	a.s.t.Helper()
	must(a.s.t, a.startErr)
	for line := ""; line != "ready\n"; {
		var err error
		if line, err = a.out.ReadString('\n'); err != nil {
			a.s.t.Fatalf("probe is not ready: %v", a.wait())
		}
	}
}

// pass opens the gate.
func (a *attempt) pass() {
	a.s.t.Helper()
	_, err := io.WriteString(a.in, "go\n")
	must(a.s.t, err)
}

// proc returns the probe's folder in /proc.
func (a *attempt) proc() string { return fmt.Sprintf("/proc/%d", a.cmd.Process.Pid) }

// wait lets the probe end and notes its outcome.
func (a *attempt) wait() *attempt {
	if a.startErr != nil {
		return a
	}
	out, _ := io.ReadAll(a.out)
	a.text = string(out)
	a.in.Close()
	a.cmd.Wait()
	a.code = a.cmd.ProcessState.ExitCode()
	a.pid = a.cmd.Process.Pid
	for line := range strings.Lines(a.text) {
		var n int
		if _, err := fmt.Sscanf(line, "pid=%d", &n); err == nil {
			a.pid = n
		}
		if _, err := fmt.Sscanf(line, "errno=%d", &n); err == nil {
			a.errno = syscall.Errno(n)
		}
	}
	return a
}

func (a *attempt) String() string {
	if a.startErr != nil {
		return fmt.Sprintf("%v: did not start: %v", a.cmd.Args[4:], a.startErr)
	}
	return fmt.Sprintf("%v: %v, errno %d (%v) %s", a.cmd.Args[4:], a.cmd.ProcessState, int(a.errno), a.errno, a.notes.String())
}
