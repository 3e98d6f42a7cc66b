//go:build linux

package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
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
