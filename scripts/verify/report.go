//go:build linux

package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// add records the outcomes of one run and prints its line.
func (r *report) add(list []outcome, where string, took time.Duration) {
	sum := run{where: where, took: took}
	for _, o := range list {
		switch o.action {
		case "pass":
			sum.passed++
		case "fail":
			sum.failed++
			fmt.Printf("verify: %s: FAILED: %s\n", where, o.test)
		case "skip":
			sum.skipped++
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outcomes = append(r.outcomes, list...)
	r.runs = append(r.runs, sum)
	fmt.Printf("verify: %s: %d passed, %d failed, %d skipped in %.0f s\n", where, sum.passed, sum.failed, sum.skipped, took.Seconds())
}

// retry notes a boot that died before any test began.
func (r *report) retry(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.retries++
	fmt.Print("verify: ", line)
}

// leftOut notes what a kernel does not run.
func (r *report) leftOut(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = append(r.left, what)
}

// broken records that something other than a test failed.
func (r *report) broken(where, text string) {
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	r.add([]outcome{{where, "(run)", "fail", text}}, where, 0)
}

// output runs a command that must succeed, and returns what it wrote.
func (r *report) output(ctx context.Context, where, name string, args ...string) (string, bool) {
	var notes strings.Builder
	cmd := command(ctx, name, args...)
	cmd.Stderr = &notes
	out, err := cmd.Output()
	if err != nil {
		r.broken(where, string(out)+notes.String()+err.Error())
		return "", false
	}
	return string(out), true
}

// step runs a command that must succeed and counts as passed if it does not
// only prepare.
func (r *report) step(ctx context.Context, where, name string, args ...string) bool {
	began := time.Now()
	if _, ok := r.output(ctx, where, name, args...); !ok {
		return false
	}
	if took := time.Since(began); took > time.Second {
		fmt.Printf("verify: %s: done in %.0f s\n", where, took.Seconds())
	}
	return true
}

// print writes the summary and reports whether anything failed.
func (r *report) print(out io.Writer, took time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.printSkipped(out)
	if len(r.left) > 0 {
		fmt.Fprintf(out, "\nLEFT OUT (with STOCKADE_ALL=1, nothing is)\n  %s\n", strings.Join(r.left, "\n  "))
	}
	r.matrix.print(out)
	r.printFaults(out)
	failed := 0
	for _, o := range r.outcomes {
		if o.action != "fail" {
			continue
		}
		if failed++; failed == 1 {
			fmt.Fprint(out, "\nFAILED\n")
		}
		fmt.Fprintf(out, "\n%s: %s\n%s", o.where, o.test, indent(tail(o.output, 60)))
	}
	if len(r.kernels) > 0 {
		fmt.Fprintf(out, "\nIN VMs\n  %s\n", strings.Join(r.kernels, "\n  "))
	}
	r.printSlowest(out)
	fmt.Fprint(out, "\nSUMMARY\n")
	fmt.Fprintf(out, "  %-34s %7s %7s %8s %6s\n", "", "passed", "failed", "skipped", "time")
	passed := 0
	slices.SortStableFunc(r.runs, func(a, b run) int { return strings.Compare(a.where, b.where) })
	for _, s := range r.runs {
		fmt.Fprintf(out, "  %-34s %7d %7d %8d %4.0f s\n", s.where, s.passed, s.failed, s.skipped, s.took.Seconds())
		passed += s.passed
	}
	fmt.Fprintf(out, "  in all %.1f minutes; boots that died under emulation and were tried again: %d\n\n", took.Minutes(), r.retries)
	fmt.Fprintf(out, "%d passed, %d failed\n", passed, failed)
	return failed > 0 || passed == 0
}

// slowest is how many parts the summary names.
const slowest = 10

// printSlowest names what the time went to.
func (r *report) printSlowest(out io.Writer) {
	slices.SortStableFunc(r.parts, func(a, b part) int { return cmp.Compare(b.took, a.took) })
	fmt.Fprint(out, "\nSLOWEST\n")
	for _, p := range r.parts[:min(slowest, len(r.parts))] {
		fmt.Fprintf(out, "  %4.0f s  %s: %s\n", p.took.Seconds(), p.where, p.test)
	}
}

// printSkipped groups skipped tests by reason.
func (r *report) printSkipped(out io.Writer) {
	reasons := map[string][]string{}
	for _, o := range r.outcomes {
		if o.action == "skip" {
			reason := o.where + ": " + skipReason(o.output)
			reasons[reason] = append(reasons[reason], o.test)
		}
	}
	if len(reasons) == 0 {
		return
	}
	fmt.Fprint(out, "\nSKIPPED\n")
	var keys []string
	for k := range reasons {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		names := reasons[k]
		if len(names) > 3 {
			names = append(names[:3:3], fmt.Sprintf("and %d more", len(reasons[k])-3))
		}
		fmt.Fprintf(out, "  %s (%s)\n", k, strings.Join(names, ", "))
	}
}

// skipReason finds what the test said when it was skipped.
func skipReason(output string) string {
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "===") || strings.HasPrefix(line, "---") {
			continue
		}
		if _, text, found := strings.Cut(line, ".go:"); found {
			if _, text, found = strings.Cut(text, ": "); found {
				return text
			}
		}
		return line
	}
	return "no reason given"
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("    " + strings.TrimPrefix(line, "    "))
	}
	if s := b.String(); s != "" && !strings.HasSuffix(s, "\n") {
		b.WriteByte('\n')
	}
	return b.String()
}
