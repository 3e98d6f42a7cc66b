//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// summary renders outcomes as "pass TestA, fail TestB/c".
func summary(list []outcome) string {
	var parts []string
	for _, o := range list {
		parts = append(parts, o.action+" "+o.test)
	}
	return strings.Join(parts, ", ")
}

func line(action, test string) string {
	return fmt.Sprintf(`{"Action":%q,"Package":"github.com/stockade-dev/stockade/p","Test":%q}`, action, test) + "\n"
}

func TestOutcomesAreCounted(t *testing.T) {
	for _, c := range []struct {
		name, events string
		err          error
		want         string
	}{
		{"leaves", line("run", "A") + line("run", "A/x") + line("pass", "A/x") + line("run", "A/y") + line("skip", "A/y") + line("pass", "A"), nil,
			"pass A/x, skip A/y"},
		{"failing leaf, not its parent", line("run", "A") + line("run", "A/x") + line("fail", "A/x") + line("fail", "A") + line("fail", ""), errors.New("exit 1"),
			"fail A/x"},
		{"parent fails alone", line("run", "A") + line("run", "A/x") + line("pass", "A/x") + line("fail", "A") + line("fail", ""), errors.New("exit 1"),
			"fail A, pass A/x"},
		{"died in the middle", line("run", "A") + line("pass", "A") + line("run", "B"), errors.New("exit 125"),
			"pass A, fail B"},
		{"died between tests", line("run", "A") + line("pass", "A"), errors.New("exit 125"),
			"pass A, fail (run)"},
		{"package does not build", line("output", "") + line("fail", ""), errors.New("exit 1"),
			"fail (package)"},
		{"nothing at all", "", nil,
			"fail (run)"},
		{"never began", "vm: kernel panic\n", errors.New("exit 125"),
			"fail (run)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var notes strings.Builder
			col := newCollector("native")
			col.read(strings.NewReader(c.events), &notes)
			if got := summary(col.finish(c.err, notes.String())); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestSkipReasonIsWhatTheTestSaid(t *testing.T) {
	got := skipReason("=== RUN   TestX\n    open_test.go:12: runs in the VM\n--- SKIP: TestX (0.00s)\n")
	if got != "runs in the VM" {
		t.Errorf("got %q", got)
	}
}

// A made-up kernel mends one documented limit and breaks another: the first is
// told, with the line to revise, and passes; the second fails.
func TestMadeUpKernelIsTold(t *testing.T) {
	output := func(text string) string { return fmt.Sprintf(`{"Action":"output","Output":%q}`, text+"\n") + "\n" }
	mended := line("run", "A") + line("run", "A/x") + line("pass", "A/x") + line("pass", "A") +
		output("matrix: A/x 9.9 better") + output("matrix: A/y 9.9 n/a") + output("better: 9.9: A/x: Nothing is judged there")
	for _, c := range []struct {
		name, events string
		err          error
		failed       bool
	}{
		{"mended", mended, nil, false},
		{"and broken", mended + line("run", "B") + line("fail", "B") + output("matrix: B 9.9 FAILED"), errors.New("exit 1"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			col, r := newCollector("p on 9.9-new"), &report{}
			col.read(strings.NewReader(c.events), io.Discard)
			r.used("9.9-new 9.9.1+made-up 9.9.1-1")
			r.keep("9.9-new", col)
			r.add(col.finish(c.err, ""), "p on 9.9-new", 0)
			var out strings.Builder
			if got := r.print(&out, 0); got != c.failed {
				t.Errorf("failed: got %t, want %t", got, c.failed)
			}
			for _, want := range []string{"9.9-new  ", "better 1", "ON NO KERNEL of these (n/a)\n  A/y\n", "revise these lines of docs/limits.md)\n  9.9: A/x: Nothing is judged there", "9.9-new 9.9.1+made-up 9.9.1-1"} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in\n%s", want, out.String())
				}
			}
		})
	}
}

// What ./... does not reach would otherwise be left out in silence.
func TestModulesBelowAreFound(t *testing.T) {
	if list, err := modules("../.."); err != nil || !slices.Equal(list, []string{"scripts/chart", "scripts/image", "scripts/kubernetes"}) {
		t.Errorf("modules: %q, %v", list, err)
	}
}

func TestMakespanIsOfTheLongestFirst(t *testing.T) {
	if got := makespan([]time.Duration{1, 2, 3, 4}, 2); got != 5 {
		t.Errorf("got %d, want 5", got)
	}
	if got := makespan(nil, 0); got != 0 {
		t.Errorf("of nothing: %d", got)
	}
}

// What a run takes is told by the last one; what failed, or ran only in part, tells nothing.
func TestTimesAreKeptOfWholeRuns(t *testing.T) {
	t.Setenv("STOCKADE_ALL", "")
	t.Chdir(t.TempDir())
	r := &report{runs: []run{{where: "p on 6.1", passed: 1, took: time.Minute}, {where: "q on 6.1", failed: 1, took: time.Second}}}
	for _, c := range []struct {
		o    options
		want int
	}{{options{run: "TestX"}, 0}, {options{quick: true}, 0}, {options{}, 1}} {
		if err := r.keepTimes(c.o); err != nil {
			t.Fatal(err)
		}
		if got := lastTimes(); len(got) != c.want {
			t.Errorf("%+v: %v, want %d", c.o, got, c.want)
		}
	}
	last := lastTimes()
	if got := (machineTest{pkg: "p", kernel: "6.1"}).seconds(options{kernels: []string{"6.1"}}, last); got != 60 {
		t.Errorf("%v s, want 60", got)
	}
}

// The whole of the tests runs on one kernel of whatever list is given.
func TestOneKernelRunsEverything(t *testing.T) {
	t.Setenv("STOCKADE_ALL", "")
	for _, c := range []struct{ kernels, want string }{
		{"6.1 6.12 7.2", "6.12"}, {"6.1 6.12-security 7.2", "6.12-security"}, {"6.1 7.2", "7.2"}, {"6.1", "6.1"},
	} {
		o, n := options{kernels: strings.Fields(c.kernels)}, 0
		for _, kernel := range o.kernels {
			r := &report{}
			if _, some := (machineTest{pkg: lifeSuite, kernel: kernel, run: runTests}).leave(o, r); some {
				n++
				if kernel != c.want || len(r.left) > 0 {
					t.Errorf("%s: %s runs everything, want %s", c.kernels, kernel, c.want)
				}
			}
		}
		if n != 1 {
			t.Errorf("%s: on %d kernels, want 1", c.kernels, n)
		}
	}
}

// TestQueue asks for machines as those that run them do.
func TestQueue(t *testing.T) {
	names := func(list ...machineTest) (text string) {
		for _, m := range list {
			text += m.pkg + " "
		}
		return text
	}
	t.Chdir(t.TempDir()) // no times are known
	q := newQueue([]machineTest{{pkg: demo, kernel: "a"}, {pkg: "patient", kernel: "a", patient: true}, {pkg: enforcement, kernel: "a"},
		{pkg: comparisons, patient: true}}, options{kernels: []string{"a"}})
	first, _ := q.next()
	beside, _ := q.nextPatient()
	second, _ := q.next()
	if got := names(first, beside, second); got != "bpf/vmtest native, comparisons demo " {
		t.Errorf("handed out: %s", got)
	}
	third, some := q.next() // nothing else is left
	if _, more := q.next(); third.pkg != "patient" || !some || more {
		t.Errorf("then %+v, and more: %v", third, more)
	}
	if _, more := q.nextPatient(); more {
		t.Error("a machine was handed out twice")
	}
}

// TestNarrow asks for tests that one package does not have: that is no failure of it.
func TestNarrow(t *testing.T) {
	for _, c := range []struct {
		narrow bool
		want   int // outcomes
	}{{true, 0}, {false, 1}} {
		r := &report{narrow: c.narrow}
		r.tests(t.Context(), "p on 6.1", "", "echo", `{"Action":"pass","Package":"p"}`)
		if len(r.outcomes) != c.want {
			t.Errorf("narrow %v: %+v", c.narrow, r.outcomes)
		}
	}
	r := &report{narrow: true}
	r.tests(t.Context(), "p on 6.1", "", "sh", "-c", "echo '{\"Action\":\"fail\",\"Package\":\"p\"}'; exit 1")
	if len(r.outcomes) != 1 || r.outcomes[0].action != "fail" {
		t.Errorf("a run that fails: %+v", r.outcomes)
	}
}
