package vmtest

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/vmtest/probes"
)

// TestLandlock lets Landlock, with equal rights, judge the same operations: it
// is an oracle that this project did not write.
//
//	@
//	├── rw/, rw2/   everything
//	├── ro/         reading
//	└── none/       nothing
func TestLandlock(t *testing.T) {
	s := newStage(t, permit(anyUse+" execute map", "@/rw/", "@/rw2/"), permit(look, "@/ro/"))
	places := []string{"rw", "rw2", "ro", "none"}
	const steps = "landlock=@/rw:@/rw2:ro!@/ro:/proc"

	// Of each operation X and Y are the places, # a number of its own.
	one := [][]string{
		{"open", "r", "X/file#"}, {"open", "w", "X/file#"}, {"open", "rw", "X/file#"}, {"open", "r", "X/dir#"},
		{"open", "w|creat", "X/new#"}, {"open", "w|trunc", "X/file#"}, {"open", "rw|append", "X/file#"},
		{"mkdir", "X/new#"}, {"fifo", "X/new#"}, {"mkreg", "X/new#"}, {"symlink", "x", "X/new#"}, {"bind", "X/new#"},
		{"unlink", "X/file#"}, {"rmdir", "X/dir#"}, {"exec", "X/file#"}, {"open", "rw|tmpfile", "X"},
	}
	if landlockVersion(t) >= 3 { // since 3 it judges truncation
		one = append(one, []string{"truncate", "X/file#"}, []string{"open", "r|trunc", "X/file#"})
	}
	two := [][]string{
		{"rename", "X/file#", "Y/new#"}, {"rename", "X/file#", "Y/other#"}, {"rename", "X/dir#", "Y/new#"},
		{"exchange", "X/file#", "Y/other#"}, {"exchange", "X/dir#", "Y/other#"}, {"link", "X/file#", "Y/new#"},
	}
	number, same := 0, 0
	judge := func(op []string, x, y string) {
		var verdicts [2]syscall.Errno
		for i, how := range []string{"stockade", "landlock"} {
			number++
			argv := make([]string, len(op))
			for j, a := range op {
				argv[j] = expandPlaces(a, s.dir, x, y, number)
			}
			for _, place := range places {
				s.program(fmt.Sprintf("%s/file%d", place, number), fmt.Sprintf("%s/other%d", place, number))
				must(t, os.Mkdir(s.at(fmt.Sprintf("@/%s/dir%d", place, number)), 0o755))
			}
			var a *attempt
			if how == "stockade" {
				a = s.start("", nil, 0, argv...)
			} else {
				a = s.outside(steps, argv...)
			}
			if a.wait(); a.startErr != nil || a.code != probes.Allowed && a.errno == 0 {
				t.Fatalf("%s: %v", how, a)
			}
			verdicts[i] = a.errno
		}
		switch {
		case (verdicts[0] == 0) != (verdicts[1] == 0):
			t.Errorf("%v from %s to %s: stockade says %d (%v), Landlock %d (%v)", op, x, y, verdicts[0], verdicts[0], verdicts[1], verdicts[1])
		case verdicts[0] != verdicts[1]:
			t.Logf("%v from %s to %s: both refuse, stockade with %v, Landlock with %v", op, x, y, verdicts[0], verdicts[1])
		default:
			same++
		}
	}
	s.t.Run("verdicts are those of Landlock", func(inner *testing.T) {
		outer := t
		t, s.t = inner, inner
		defer func() { t, s.t = outer, outer }()
		for _, op := range one {
			for _, x := range places {
				judge(op, x, x)
			}
		}
		for _, op := range two {
			for _, x := range places {
				for _, y := range places {
					judge(op, x, y)
				}
			}
		}
		t.Logf("%d operations, %d with the same errno, too", number/2, same)
		r := isAllowed
		if t.Failed() {
			r = isFailed
		}
		results.note(t.Name(), r)
	})
	s.take(t, s.id)
}

// landlockVersion is that of Landlock's interface.
func landlockVersion(t *testing.T) int {
	t.Helper()
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		t.Fatalf("Landlock is not there: %v: there is no oracle", errno)
	}
	return int(v)
}

// outside starts a probe that Stockade does not confine, after its steps.
func (s *stage) outside(steps string, argv ...string) *attempt {
	s.t.Helper()
	a := s.command(nil, "-1", steps, 0, argv)
	a.startErr = a.cmd.Start()
	return a
}

// expandPlaces fills in an argument of TestLandlock.
func expandPlaces(arg, dir, x, y string, n int) string {
	out := ""
	for _, c := range arg {
		switch c {
		case 'X':
			out += dir + "/" + x
		case 'Y':
			out += dir + "/" + y
		case '#':
			out += fmt.Sprint(n)
		default:
			out += string(c)
		}
	}
	return out
}
