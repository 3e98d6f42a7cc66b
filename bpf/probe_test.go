package bpf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// made writes a file of a made-up host.
func made(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLockdownForConfidentialityIsALack(t *testing.T) {
	for _, c := range []struct {
		state, detail string
		ok            bool
	}{
		{"[none] integrity confidentiality\n", "none", true},
		{"none [integrity] confidentiality\n", "integrity", true},
		{"none integrity [confidentiality]\n", "confidentiality", false},
	} {
		f := probeLockdown(made(t, c.state))
		if f.OK != c.ok || f.Detail != c.detail || !c.ok && !strings.Contains(f.Fix, "lockdown=integrity") {
			t.Errorf("%q: %+v", c.state, f)
		}
	}
	if f := probeLockdown("/nowhere"); !f.OK {
		t.Errorf("a kernel without lockdown: %+v", f)
	}
}

// What cannot be read, or names no hook, is BTF's own lack.
func TestEmptyTypesAreALackOfTheirOwn(t *testing.T) {
	for what, path := range map[string]string{"none": "/nowhere", "empty": made(t, ""), "no BTF": made(t, "some text")} {
		if kernel, f := probeBTF(path, func() (*btf.Spec, error) { return btf.LoadSpec(path) }); kernel != nil || f.OK || f.Name != "kernel BTF" || !strings.Contains(f.Fix, "CONFIG_DEBUG_INFO_BTF") {
			t.Errorf("%s: %+v", what, f)
		}
	}
}

func TestFixOfCgroupsHidesNothing(t *testing.T) {
	const two, one = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n", "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"
	for mounts, mount := range map[string]bool{"": true, two: true, one: false, two + one: false} {
		if fix := fixCgroup(made(t, mounts)); strings.Contains(fix, "mount -t cgroup2") != mount || !strings.Contains(fix, "unified_cgroup_hierarchy=1") {
			t.Errorf("%q: %s", mounts, fix)
		}
	}
}

func TestFixOfHiddenSymbolsFollowsTheirSetting(t *testing.T) {
	for _, c := range []struct {
		setting string
		uid     int
		want    string
	}{
		{"2\n", 0, "sysctl kernel.kptr_restrict=1"},
		{"2\n", 1000, "run as root, for example with sudo"},
		{"1\n", 0, "run with the capability SYSLOG, as root has it outside containers"},
	} {
		if fix := fixSymbols(made(t, c.setting), c.uid); fix != c.want {
			t.Errorf("%q as %d: %s, want %s", c.setting, c.uid, fix, c.want)
		}
	}
}

// The library's advice is for its callers: no error of ours repeats it.
func TestAdviceOfTheLibraryIsLeftOut(t *testing.T) {
	err := fmt.Errorf("map create: %w (MEMLOCK may be too low, consider rlimit.RemoveMemlock)", unix.EPERM)
	const want = "BPF programs: map create: operation not permitted: nothing is enforced; see what `stockade doctor` says that this host lacks"
	if got := loadError(err); got.Error() != want || !errors.Is(got, unix.EPERM) {
		t.Errorf("%v", got)
	}
	if line := firstLine(err); line != "map create: operation not permitted" {
		t.Error(line)
	}
}
