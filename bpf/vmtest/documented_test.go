package vmtest

import (
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/vmtest/probes"
	"github.com/stockade-dev/stockade/docs"
)

// limit is a documented limit that a trial meets: how its line in docs/limits.md
// begins. The trial then says how the operation ends with the limit; the other
// verdict is the better one. Whether a kernel has the limit is seen by trying.
// A line that holds "(kernels A to B)" tells of these only.
type limit string

const (
	limitStat       limit = "stat, access and readlink show"
	limitXattr      limit = "Extended attributes of a file that a policy denies"
	limitAnonymous  limit = "Anonymous executable memory is permitted"
	limitData       limit = "What an interpreter reads is data"
	limitMounts     limit = "Where a policy permits `mount`"
	limitObjects    limit = "Objects that the kernel keeps for a user"
	limitLog        limit = "Where `kernel.dmesg_restrict` is 0"
	limitDescriptor limit = "A task moved in by somebody outside"
	limitNested     limit = "An overlay over an overlay"
)

var documented = []limit{limitStat, limitXattr, limitAnonymous, limitData, limitMounts, limitObjects, limitLog, limitDescriptor, limitNested}

// line finds the limit in a text: one item of a list.
func (l limit) line(text string) (string, error) {
	found := ""
	for _, item := range strings.Split(text, "\n- ")[1:] {
		item, _, _ = strings.Cut(item, "\n\n")
		if item = strings.Join(strings.Fields(item), " "); !strings.HasPrefix(item, string(l)) {
			continue
		}
		if found != "" {
			return "", fmt.Errorf("docs/limits.md: two lines begin %q", l)
		}
		found = item
	}
	if found == "" {
		return "", fmt.Errorf("docs/limits.md: no line begins %q", l)
	}
	return found, nil
}

// tested are the kernels that the text names as such: what it tells of them was
// seen, so that another verdict there is a change of Stockade's, or of the tests'.
func tested(text string, version [3]int) bool {
	_, list, _ := strings.Cut(text, "\nTested on Debian's kernels ")
	list, _, _ = strings.Cut(list, "\n\n")
	list, _, _ = strings.Cut(strings.Join(strings.Fields(list), " "), ". ")
	for _, word := range strings.FieldsFunc(list, func(r rune) bool { return r == ' ' || r == ',' }) {
		if word != "and" && parseVersion(word) == version {
			return true
		}
	}
	return false
}

var kernelRange = regexp.MustCompile(`\(kernels ([0-9.]+) to ([0-9.]+)\)`)

// covers reports whether a line tells of a kernel.
func covers(line string, version [3]int) bool {
	m := kernelRange.FindStringSubmatch(line)
	return m == nil || !earlier(version, parseVersion(m[1])) && !earlier(parseVersion(m[2]), version)
}

// settle says what a trial came to that met its limit, or the better verdict.
// An error is a failure of the trial.
func (l limit) settle(text string, version [3]int, limited, refused bool) (result, error) {
	line, err := l.line(text)
	switch told := err == nil && covers(line, version); {
	case err != nil:
		return isFailed, err
	case told && limited:
		return isLimit, nil
	case told && tested(text, version):
		return isFailed, fmt.Errorf("better than documented, on a kernel that docs/limits.md names as tested: revise %q", line)
	case told:
		return isBetter, nil
	case limited:
		return isFailed, fmt.Errorf("a limit, and docs/limits.md does not tell it of this kernel: %q", line)
	case refused:
		return isDenied, nil
	}
	return isAllowed, nil
}

// bounded ends a trial of a limit: with is how it ends where the kernel has it.
// A refusal that is better than documented is one of Stockade's, with its one
// event, or the kernel's own.
func (s *stage) bounded(l limit, a *attempt, errno syscall.Errno, with func()) {
	s.t.Helper()
	refused := a.startErr == nil && (a.code == probes.Denied || a.code == probes.DeniedOtherwise)
	limited := refused == (errno != 0)
	switch {
	case limited:
		with()
	case refused:
		events := len(s.collect())
		if s.balance(events); events > 1 || a.errno != eacces && a.errno != eperm && a.errno != exdev {
			s.t.Errorf("neither allowed, as documented, nor refused as it should be, with %d events: %v", events, a)
		}
	default:
		s.expectAllowed(a)
	}
	r, err := l.settle(docs.Limits, version(), limited, refused)
	if err != nil {
		s.t.Error(err)
	}
	results.note(s.t.Name(), r)
	if line, _ := l.line(docs.Limits); r == isBetter && !s.t.Failed() {
		results.improve(s.t.Name(), line)
	}
}

// absentHere ends a trial that the kernel cannot try, or fails it: a task that
// nothing confines must get the same answer.
func (s *stage) absentHere(a, unconfined *attempt) {
	s.t.Helper()
	if unconfined.startErr != nil || unconfined.errno != a.errno {
		s.t.Errorf("refused with what would mean that the kernel has no such call, and it has: %v; unconfined: %v", a, unconfined)
		return
	}
	s.t.Logf("n/a on this kernel: %v", a)
	s.quiet("after an absent call")
	results.note(s.t.Name(), isAbsent)
}

// has reports whether this kernel has what a test's own preparation needs. If
// not, err must be among absent, and the trial is noted as one that it lacks.
func (s *stage) has(trial string, err error, absent ...syscall.Errno) bool {
	s.t.Helper()
	if err == nil {
		return true
	}
	for _, e := range absent {
		if err == e {
			s.t.Logf("n/a on this kernel: %s: %v", trial, err)
			results.note(s.t.Name()+"/"+rewrite(trial), isAbsent)
			return false
		}
	}
	s.t.Errorf("%s: cannot be tried: %v", trial, err)
	return false
}

var debianVersion = regexp.MustCompile(`\bDebian ([0-9]+\.[0-9]+\.[0-9]+)`)

// version returns the running kernel's: Debian names it in the build's text, for
// its release may be that of the interface only ("6.1.0-56").
func version() [3]int {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return [3]int{}
	}
	if m := debianVersion.FindStringSubmatch(unix.ByteSliceToString(u.Version[:])); m != nil {
		return parseVersion(m[1])
	}
	return parseVersion(unix.ByteSliceToString(u.Release[:]))
}

// parseVersion reads up to three numbers, whatever follows them.
func parseVersion(text string) (v [3]int) {
	fmt.Sscanf(text, "%d.%d.%d", &v[0], &v[1], &v[2])
	return v
}

func earlier(a, b [3]int) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

func TestLimitsAreDocumented(t *testing.T) {
	for _, l := range documented {
		if _, err := l.line(docs.Limits); err != nil {
			t.Error(err)
		}
	}
}

// A made-up kernel has a limit, mends it, or breaks what was whole.
func TestLimitsOfMadeUpKernels(t *testing.T) {
	const text = "# Limits\n\nTested on Debian's kernels 6.1.192, 6.12.117\nand 7.2.13. What a kernel has is 6.5.0.\n\n- Everywhere: it is\n  permitted.\n- Some time (kernels 6.5 to 6.12.107): it\n  is refused.\n- Twice.\n- Twice, too.\n\nEnd.\n"
	for _, c := range []struct {
		limit            limit
		version          string
		limited, refused bool
		want             result
	}{
		{"Everywhere", "9.9.9", true, false, isLimit},
		{"Everywhere", "9.9.9", false, true, isBetter},
		{"Everywhere", "6.5.0", false, true, isBetter},
		{"Everywhere", "6.1.192", false, true, isFailed},
		{"Everywhere", "6.12.117+deb13", false, true, isFailed},
		{"Everywhere", "7.2.13", true, false, isLimit},
		{"Some time", "6.12.107+deb13", true, true, isLimit},
		{"Some time", "6.5", true, true, isLimit},
		{"Some time", "6.12.107", false, false, isBetter},
		{"Some time", "6.12.117", false, false, isAllowed},
		{"Some time", "6.12.117", true, true, isFailed},
		{"Some time", "6.4.16", false, false, isAllowed},
		{"Some time", "6.4.16", true, true, isFailed},
		{"Some time", "7.3", false, true, isDenied},
		{"Nowhere", "6.12.117", true, true, isFailed},
		{"Twice", "6.12.117", true, true, isFailed},
	} {
		got, err := c.limit.settle(text, parseVersion(c.version), c.limited, c.refused)
		if got != c.want || (err != nil) != (c.want == isFailed) {
			t.Errorf("%q on %s, limited %t: got %s (%v), want %s", c.limit, c.version, c.limited, got, err, c.want)
		}
	}
}
