package reach

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/inspect"
)

// in has processes in cgroups, and no others.
func in(t *testing.T, groups map[string]string) {
	t.Helper()
	was := groupOf
	t.Cleanup(func() { groupOf = was })
	groupOf = func(pid string) (string, error) {
		rel, ok := groups[pid]
		if !ok {
			return "", fmt.Errorf("cgroup: %w", os.ErrNotExist)
		}
		return rel, nil
	}
}

// with has a workload with a cgroup, and processes.
func with(name, group string, pids ...int) *fakeRun {
	f := runNamed(name, "", nil)
	f.Cgroups = []string{group}
	for _, pid := range pids {
		var p inspect.ProcessRecord
		p.PID = pid
		f.doc.Processes = append(f.doc.Processes, p)
	}
	return f
}

func TestTheWorkloadOfAProcessIsFound(t *testing.T) {
	a, b, c := with("a", "stockade/a", 10), with("b", "stockade/a/deep/b", 11), with("c", "stockade/ab", 12, 14)
	h := newHost(t, a, b, c)
	in(t, map[string]string{"10": "stockade/a/x", "11": "stockade/a/deep/b", "12": "stockade/ab", "13": "", "14": "user.slice", "15": "user.slice"})
	for pid, want := range map[int]string{10: "a", 11: "b", 12: "c", 14: "c"} {
		s, note, err := h.StatusOf(t.Context(), pid)
		if err != nil || len(s.Workloads) != 1 || s.Workloads[0].Name != want {
			t.Errorf("%d: %+v, %v; want %s", pid, s.Workloads, err, want)
		}
		if left := strings.Contains(note, `process 14 is in cgroup "user.slice", which is none of workload c`); left != (pid == 14) || (note != "") != left {
			t.Errorf("%d: %q", pid, note)
		}
	}
	for pid, says := range map[int]string{13: `process 13: it is in no workload (cgroup "")`, 15: `process 15: it is in no workload (cgroup "user.slice"): `, 16: "process 16: there is none: nothing is shown; "} {
		s, note, err := h.StatusOf(t.Context(), pid)
		if !errors.Is(err, ErrNoMember) || !strings.HasPrefix(err.Error(), says) || len(s.Workloads) != 0 || note != "" {
			t.Errorf("%d: %+v, %q, %v", pid, s, note, err)
		}
	}
}

// That a process is in no workload is not said where one could not be looked at.
func TestAProcessThatMayBeAnybodysIsInNoNamedWorkload(t *testing.T) {
	a, b := with("a", "stockade/a"), with("b", "stockade/b")
	h := newHost(t, a, b)
	in(t, map[string]string{"10": "user.slice", "11": "stockade/b"})
	for what, spoil := range map[string]func(){
		"it fails": func() { a.unseen = errors.New("no") },
		"cut":      func() { a.unseen, a.doc.Cut = nil, inspect.Cuts{"processes": {Total: 9}} },
		"not all":  func() { a.doc.Cut, a.doc.Incomplete = nil, "it hung" },
	} {
		spoil()
		_, _, err := h.StatusOf(t.Context(), 10)
		if err == nil || errors.Is(err, ErrNoMember) || !strings.Contains(err.Error(), "whether it bears the mark of one is not known: workload a: ") {
			t.Errorf("%s: %v", what, err)
		}
		if s, _, err := h.StatusOf(t.Context(), 11); err != nil || len(s.Workloads) != 1 || s.Workloads[0].Name != "b" {
			t.Errorf("%s: what is in a cgroup: %+v, %v", what, s.Workloads, err)
		}
	}
	h.Runs = nil
	if _, _, err := h.StatusOf(t.Context(), 10); !errors.Is(err, api.ErrNoAgent) {
		t.Errorf("without an agent: %v", err)
	}
}
