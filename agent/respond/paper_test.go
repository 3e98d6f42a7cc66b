package respond

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/inspect"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// marks is a kernel that knows of one task.
type marks struct {
	empty
	task bpf.Marked
}

func (m marks) Roll() ([]bpf.Marked, error)   { return []bpf.Marked{m.task}, nil }
func (m marks) Mode(uint32) (abi.Mode, error) { return abi.Enforce, nil }

// A process that bears the mark and is in no cgroup of the workload is told with its own.
func TestWhatLeftItsCgroupIsTold(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	own := ""
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			own = strings.TrimSuffix(path, "\n")
		}
	}
	if own == "" {
		t.Skip("no cgroup2 here")
	}
	o, k := newOffice(t), marks{task: bpf.Marked{PID: cmd.Process.Pid, TGID: cmd.Process.Pid, Started: time.Since(began)}}
	for group, want := range map[string]int{"no/such": 1, strings.TrimPrefix(own, "/"): 0} {
		i, err := o.Desk.Inspect(t.Context(), k, Target{Name: "one"}, api.Workload{Name: "one", Cgroups: []string{group}}, nil)
		if err != nil || len(i.Outside) != want || want > 0 && i.Outside[0] != (api.Outside{PID: cmd.Process.Pid, Cgroup: own}) {
			t.Errorf("%s: %+v, %v", group, i.Outside, err)
		}
	}
}

// A cgroup beneath one of the workload's is its, and one with a longer name is not.
func TestWhatIsBeneathIsNotOutside(t *testing.T) {
	for cgroup, want := range map[string]bool{"/a/b": false, "/a/b/c": false, "/a/bc": true, "/a": true, "/": true, "": false, "/x": false} {
		got := outside([]inspect.ProcessRecord{{Head: inspect.Head{PID: 7}, Cgroup: cgroup}}, []string{"a/b", "x"})
		if (len(got) == 1) != want {
			t.Errorf("%q: %+v", cgroup, got)
		}
	}
	if got := outside([]inspect.ProcessRecord{{Cgroup: "/a"}}, []string{""}); len(got) != 0 {
		t.Errorf("beneath the root: %+v", got)
	}
}
