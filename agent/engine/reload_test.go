package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// systemd stands in for systemctl: it says when the unit began, µs after boot, and notes
// what it is asked to do.
func systemd(t *testing.T, began int64, exit int) (asked func() string) {
	t.Helper()
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nif [ $1 = show ]; then echo %d; exit; fi\necho $* >>%s/asked\necho no such unit >&2\nexit %d\n", began, dir, exit)
	if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() string {
		text, _ := os.ReadFile(dir + "/asked") // none: nothing was asked
		return string(text)
	}
}

func sinceBoot(t *testing.T) int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano() / 1000
}

func TestEnginesReadTheirFilesAgain(t *testing.T) {
	const minute = int64(time.Minute / time.Microsecond)
	for _, c := range []struct {
		what  string
		began int64
		again bool // the plan is one that changes nothing
		exit  int
		asked string
		err   string
	}{
		{"changed", sinceBoot(t) - minute, false, 0, "restart containerd\n", ""},
		{"changed by an earlier run that got no further", sinceBoot(t) - minute, true, 0, "restart containerd\n", ""},
		{"it has read them", sinceBoot(t) + minute, true, 0, "", ""},
		{"it does not run", 0, false, 0, "restart containerd\n", ""},
		{"it cannot", 0, false, 5, "restart containerd\n", "containerd: systemctl restart: exit status 5: no such unit: it does not know what was changed; `systemctl restart containerd`"},
	} {
		t.Run(c.what, func(t *testing.T) {
			h := newHost(t, map[string]string{"/etc/containerd/config.toml": "version = 3\n"})
			asked := systemd(t, c.began, c.exit)
			if c.again {
				h.install("containerd")
			}
			plan, err := Install(h.options("containerd"))
			if err != nil {
				t.Fatal(err)
			}
			plan.root = "" // the files are below a root of the test's, the mounts are its own
			if err := plan.Apply(func(string) {}); err != nil {
				t.Fatal(err)
			}
			var said []string
			err = plan.Reload(func(text string) { said = append(said, text) })
			if got := asked(); got != c.asked {
				t.Errorf("asked %q, want %q", got, c.asked)
			}
			if c.err == "" && (err != nil || plan.Left() != "" || len(said) != strings.Count(c.asked, "\n")) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("%v; said %q, left %q", err, said, plan.Left())
			}
		})
	}
}
