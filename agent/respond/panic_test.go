package respond

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// A step that panics says so as its error, and the later steps are done: what was frozen is
// killed, and nothing is said to be verified that was not.
func TestAStepThatPanicsStopsNoOther(t *testing.T) {
	o := newOffice(t)
	calls := 0
	o.looked = func() { calls++; var none map[string]bool; none["x"] = true }
	r := o.must(alice, api.Respond{Verb: api.VerbKill, NoEvidence: true})
	var names []string
	told := 0
	for _, s := range r.Steps {
		names = append(names, s.Name)
		if strings.HasPrefix(s.Error, "panic: assignment to entry in nil map: it is a fault of this program") && strings.Contains(s.Error, "panic_test.go:") {
			told++
		}
	}
	for _, want := range []string{"lockdown", "freeze", "count", "list sockets", "kill", "verify", "list holders"} {
		if !slices.Contains(names, want) {
			t.Errorf("no step %s: %v", want, names)
		}
	}
	if calls != 2 || told != 2 || r.Verified { // in freeze and in verify
		t.Errorf("%d panics, told %d times: %+v", calls, told, r.Steps)
	}
}

func TestALockdownThatPanicsIsNotVerified(t *testing.T) {
	kernel := empty{}
	panics := func() error { panic(errors.New("no")) }
	r := begin(fixed{kernel}, Target{Name: "one", Lock: panics, Keep: panics}, api.VerbLockdown)
	if err := r.lockDown(t.Context()); err != nil || r.Verified || len(r.Steps) != 2 || !strings.Contains(r.Steps[1].Error, "panic: no") {
		t.Errorf("%v, %+v", err, r.Response)
	}
}

// fixed is a kernel in which nothing changes.
type fixed struct{ empty }

func (fixed) Mode(uint32) (abi.Mode, error) { return abi.Enforce, nil }

// Half a look verifies nothing.
func TestSocketsThatWereLookedAtHalfwayAreNotGone(t *testing.T) {
	r := begin(fixed{}, Target{Name: "one"}, api.VerbKill)
	r.net = &network{unknown: errHalfway}
	if _, err := r.silent(); err == nil {
		t.Error("verified")
	}
	if err := r.lookAtNetwork(); errors.Is(r.net.unknown, errHalfway) {
		t.Errorf("after the whole look: %v", err)
	}
	defer r.release()
}

// uncover is set for the process in which nothing of the kernel's can be read.
const uncover = "STOCKADE_TEST_COVERED"

// Where /proc and cgroup2 are covered before the process begins, each step tells its errors,
// and none panics; what is not known is not verified.
func TestEveryVerbSurvivesThatNothingCanBeRead(t *testing.T) {
	if os.Getenv(uncover) != "" {
		inTheDark(t)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("not root: no mount namespace can be made")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), uncover+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if text, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(text), "--- PASS: "+t.Name()) {
		t.Errorf("%v: %s", err, text)
	}
}

func inTheDark(t *testing.T) {
	for _, dir := range []string{"/sys/fs/cgroup", "/proc"} {
		if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	target := Target{Name: "one", Groups: []string{"stockade/one"}, Past: []uint64{7}, Papers: func() []Paper { return nil },
		Lock: func() error { return nil }, Keep: func() error { return nil }, Unlock: func() error { return nil }}
	o := newOffice(t)
	for _, verb := range []string{api.VerbLockdown, api.VerbFreeze, api.VerbKill, api.VerbThaw, api.VerbUnlock} {
		o.mode = abi.Lockdown
		r, err := o.Respond(o, alice, "one", api.Respond{Verb: verb, Within: 1e8}, func() (Target, func(), error) { return target, func() {}, nil })
		if err != nil || len(r.Steps) == 0 || r.Verified != (verb == api.VerbLockdown) {
			t.Errorf("%s: %v, verified %v: %+v", verb, err, r.Verified, r.Steps)
		}
		for _, s := range r.Steps {
			if strings.Contains(s.Error, "panic") {
				t.Errorf("%s: %s: %s", verb, s.Name, s.Error)
			}
		}
	}
	if _, err := o.Inspect(t.Context(), o, target, api.Workload{}, nil); err == nil {
		t.Error("inspected")
	}
}
