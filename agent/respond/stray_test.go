package respond

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/cgroup"
)

// members tells of processes as if each bore the mark of workload 1.
type members struct{ pids []int }

func (m members) Roll() (list []bpf.Marked, err error) {
	for _, pid := range m.pids {
		if start, ok := startOf(pid, pid); ok {
			list = append(list, bpf.Marked{Workload: 1, PID: pid, TGID: pid, Started: time.Duration(start) * (1e9 / userHz)})
		}
	}
	return list, nil
}

func (m members) Tasks() (map[uint32]int, error) {
	list, err := m.Roll()
	return map[uint32]int{1: len(list)}, err
}
func (members) SetEnding(uint32, bool) error  { return nil }
func (members) Mode(uint32) (abi.Mode, error) { return abi.Lockdown, nil }

// group makes a cgroup, or skips where none can be made.
func group(t *testing.T) *cgroup.Group {
	t.Helper()
	g, err := cgroup.Create(fmt.Sprintf("respond-%d-%d", os.Getpid(), time.Now().UnixNano()))
	if err != nil && (os.Geteuid() != 0 || errors.Is(err, syscall.EROFS)) && os.Getenv("STOCKADE_STRICT") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := g.Kill(10 * time.Second); err != nil {
			t.Error(err)
		}
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// writer starts a process that writes on and on, in a cgroup.
func writer(t *testing.T, g *cgroup.Group, file string) int {
	t.Helper()
	dir, err := g.Dir()
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command("/bin/sh", "-c", "while :; do echo; done >"+file)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd.Process.Pid
}

// runs reports whether a file grows.
func runs(t *testing.T, file string) bool {
	t.Helper()
	size := func() int64 {
		info, err := os.Stat(file)
		if err != nil {
			return 0 // not yet
		}
		return info.Size()
	}
	before := size()
	for range 50 {
		if time.Sleep(10 * time.Millisecond); size() > before {
			return true
		}
	}
	return false
}

// What left its cgroup is brought back to stand still: a signal that it sends itself does
// not have it go on. Let go, it goes on, and so does what stood still before.
func TestWhatLeftItsCgroupIsBroughtBack(t *testing.T) {
	own, away := group(t), group(t)
	file := filepath.Join(t.TempDir(), "file")
	pid := writer(t, away, file)
	if !runs(t, file) {
		t.Fatal("it does not write")
	}
	rel := path.Join(cgroup.Parent, own.Name())
	target := Target{Name: "one", ID: 1, Groups: []string{rel}, Lock: func() error { return nil }, Keep: func() error { return nil }}
	r := begin(members{[]int{pid}}, target, api.VerbFreeze)
	if err := r.standStill(limited(t)); err != nil || !r.Verified {
		t.Fatalf("%v: %+v", err, r.Response)
	}
	if len(r.Returned) != 1 || r.Returned[0].PID != pid || r.Returned[0].Cgroup != path.Join("/", cgroup.Parent, away.Name()) || len(r.Left) != 0 {
		t.Errorf("returned %+v, left %+v", r.Returned, r.Left)
	}
	if now, err := cgroup.Of(fmt.Sprint(pid)); err != nil || !strings.HasPrefix(now, rel+"/") {
		t.Errorf("it is in %q, %v", now, err)
	}
	if _, outside := r.pids(); len(outside) != 1 || outside[0] != pid {
		t.Errorf("what it made outside is not looked for: %v", outside)
	}
	if err := unix.Kill(pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if runs(t, file) {
		t.Error("a signal has it go on")
	}
	again := begin(members{[]int{pid}}, target, api.VerbThaw)
	if err := again.goOn(limited(t)); err != nil || !again.Verified {
		t.Fatalf("%v: %+v", err, again.Response)
	}
	if !runs(t, file) {
		t.Error("thawed, it does not go on")
	}
}

// Where it cannot be brought back, that is said, and nothing is verified.
func TestWhatCannotBeBroughtBackIsNotVerified(t *testing.T) {
	away := group(t)
	file := filepath.Join(t.TempDir(), "file")
	pid := writer(t, away, file)
	r := begin(members{[]int{pid}}, Target{Name: "one", ID: 1, Groups: []string{"stockade/there-is-none"}, Lock: func() error { return nil }, Keep: func() error { return nil }}, api.VerbFreeze)
	if err := r.standStill(limited(t)); err != nil || r.Verified {
		t.Fatalf("%v: %+v", err, r.Response)
	}
	if last := r.Steps[len(r.Steps)-1]; !strings.Contains(last.Error, fmt.Sprintf("process %d: ", pid)) || !strings.Contains(last.Error, "only a signal stops it") {
		t.Errorf("%+v", r.Steps)
	}
	if runs(t, file) {
		t.Error("it was not even stopped")
	}
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	t.Cleanup(cancel)
	return ctx
}
