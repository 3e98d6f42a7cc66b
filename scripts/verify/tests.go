//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// event is a line of test2json.
type event struct {
	Time                                      time.Time
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

// outcome is what became of one test.
type outcome struct {
	where, test string // "bpf/vmtest on 6.1", "TestOpen/read"
	action      string // pass, fail or skip
	output      string
}

// part is one test at the top, with the time that it took.
type part struct {
	where, test string
	took        time.Duration
}

// command makes a command that is asked to end, and then made to, when ctx is
// done; so is everything it started.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	return cmd
}

// tests runs a command that reports tests, in JSON or, on a VM's kernel, as a test
// binary does with -test.v=test2json, and records each.
func (r *report) tests(ctx context.Context, where, kernel, name string, args ...string) {
	fmt.Printf("verify: %s: running\n", where)
	began := time.Now()
	cmd := command(ctx, name, args...)
	var notes bytes.Buffer // what is no test's output
	cmd.Stderr = &notes
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		r.broken(where, err.Error())
		return
	}
	from, wait := io.Reader(out), func() error { return nil }
	if kernel != "" {
		from, wait, err = convert(ctx, out)
		if err != nil {
			r.broken(where, err.Error())
			from = out
		}
	}
	c := newCollector(where)
	c.read(from, &notes)
	err = wait()
	if e := cmd.Wait(); e != nil {
		err = e
	}
	for line := range strings.Lines(notes.String()) {
		if strings.Contains(line, "trying again") {
			r.retry(line)
		}
	}
	r.keep(kernel, c)
	if err == nil && r.narrow && !c.some() {
		fmt.Printf("verify: %s: no test of that name\n", where)
		return
	}
	r.add(c.finish(err, notes.String()), where, time.Since(began))
}

// convert pipes the output of a test binary through test2json.
func convert(ctx context.Context, from io.Reader) (io.Reader, func() error, error) {
	cmd := command(ctx, "go", "tool", "test2json", "-t")
	cmd.Stdin, cmd.Stderr = from, os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	return out, cmd.Wait, cmd.Start()
}

// collector gathers the events of one run.
type collector struct {
	where   string
	output  map[string]*strings.Builder // by package and test
	order   []string
	action  map[string]string
	parents map[string]bool
	began   map[string]time.Time
	failed  map[string]bool // packages that failed
	matrix  []string        // "TRIAL KERNEL RESULT"
	better  []string        // "KERNEL: TRIAL: LINE", of docs/limits.md
	faults  []string        // lines of their table
	parts   []part
}

func newCollector(where string) *collector {
	return &collector{where: where, output: map[string]*strings.Builder{}, action: map[string]string{},
		parents: map[string]bool{}, began: map[string]time.Time{}, failed: map[string]bool{}}
}

func (c *collector) read(from io.Reader, notes io.Writer) {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		if len(line) > 0 {
			if json.Unmarshal(line, &e) != nil {
				notes.Write(line)
			} else {
				c.note(e)
			}
		}
		if err != nil {
			return
		}
	}
}

func (c *collector) note(e event) {
	pkg := strings.TrimPrefix(e.Package, "github.com/stockade-dev/stockade/")
	if e.ImportPath != "" { // output of the compiler
		pkg, _, _ = strings.Cut(strings.TrimPrefix(e.ImportPath, "github.com/stockade-dev/stockade/"), " ")
	}
	key := pkg + "\x00" + e.Test
	if c.output[key] == nil {
		c.output[key] = &strings.Builder{}
		c.order = append(c.order, key)
		for i := strings.LastIndexByte(e.Test, '/'); i > 0; i = strings.LastIndexByte(e.Test[:i], '/') {
			c.parents[pkg+"\x00"+e.Test[:i]] = true
		}
	}
	switch e.Action {
	case "output", "build-output":
		c.output[key].WriteString(e.Output)
		if line, found := strings.CutPrefix(e.Output, "matrix: "); found {
			c.matrix = append(c.matrix, strings.TrimSpace(line))
		}
		if line, found := strings.CutPrefix(e.Output, "better: "); found {
			c.better = append(c.better, strings.TrimSpace(line))
		}
		if line, found := strings.CutPrefix(e.Output, "fault: "); found {
			c.faults = append(c.faults, strings.TrimSpace(line))
		}
	case "run":
		c.action[key], c.began[key] = "run", e.Time
	case "pass", "fail", "skip":
		c.action[key] = e.Action
		if e.Test != "" && !strings.Contains(e.Test, "/") {
			c.parts = append(c.parts, part{c.name(pkg), e.Test, c.took(key, e)})
		}
	case "build-fail":
		c.action[key] = "fail"
	}
	if e.Action == "fail" && e.Test == "" {
		c.failed[pkg] = true
	}
}

// took is how long a test ran, on this host: what a VM's says of itself is in the time
// of its machine.
func (c *collector) took(key string, e event) time.Duration {
	if strings.HasPrefix(c.where, native) || c.began[key].IsZero() {
		return time.Duration(e.Elapsed * float64(time.Second))
	}
	return e.Time.Sub(c.began[key])
}

// finish turns the events into outcomes. Only leaves count, and parents that
// fail by themselves; a package that fails without a failing test, or a run
// that ends badly without one, is a failure of its own.
func (c *collector) finish(err error, notes string) []outcome {
	var list []outcome
	blamed := map[string]bool{} // packages, and parents, in which something failed
	for i := len(c.order) - 1; i >= 0; i-- {
		key := c.order[i]
		pkg, test, _ := strings.Cut(key, "\x00")
		action := c.action[key]
		if test == "" {
			continue
		}
		if action == "run" || action == "" {
			action = "fail" // the run ended in the middle of it
			fmt.Fprintf(c.output[key], "    it did not end: %v\n", err)
		}
		if c.parents[key] && (action != "fail" || blamed[key]) {
			continue
		}
		if action == "fail" {
			blamed[pkg] = true
			for i := strings.LastIndexByte(test, '/'); i > 0; i = strings.LastIndexByte(test[:i], '/') {
				blamed[pkg+"\x00"+test[:i]] = true
			}
		}
		list = append(list, outcome{c.name(pkg), test, action, c.output[key].String()})
	}
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	for _, key := range c.order {
		if pkg, test, _ := strings.Cut(key, "\x00"); test == "" && c.failed[pkg] && !blamed[pkg] {
			blamed[pkg] = true
			list = append(list, outcome{c.name(pkg), "(package)", "fail", c.output[key].String()})
		}
	}
	switch {
	case err != nil && len(blamed) == 0:
		list = append(list, outcome{c.where, "(run)", "fail", c.beside() + tail(notes, 40) + "    " + err.Error() + "\n"})
	case err == nil && len(list) == 0:
		list = append(list, outcome{c.where, "(run)", "fail", tail(notes, 40) + "    no test reported anything\n"})
	case err != nil && notes != "":
		last := &list[len(list)-1]
		last.output += tail(notes, 40)
	}
	return list
}

// some says whether any test ran.
func (c *collector) some() bool {
	return slices.ContainsFunc(c.order, func(key string) bool { return !strings.HasSuffix(key, "\x00") })
}

// beside returns the last of what was written outside every test.
func (c *collector) beside() (text string) {
	for _, key := range c.order {
		if strings.HasSuffix(key, "\x00") {
			text += tail(c.output[key].String(), 10)
		}
	}
	return text
}

func (c *collector) name(pkg string) string {
	flags, here := strings.CutPrefix(c.where, native)
	switch {
	case !here:
		return c.where
	case pkg == "github.com/stockade-dev/stockade":
		return "the repository" + flags
	}
	return pkg + flags
}

func tail(text string, lines int) string {
	all := strings.SplitAfter(text, "\n")
	if len(all) > lines {
		all = append([]string{"    …\n"}, all[len(all)-lines:]...)
	}
	return strings.Join(all, "")
}

// report is everything that happened. Its methods may run at once.
type report struct {
	narrow   bool     // tests were asked for by a pattern: a machine may have none of them
	kernels  []string // that were used, with their versions
	left     []string // what some kernel does not run
	mu       sync.Mutex
	outcomes []outcome
	runs     []run
	retries  int // boots that died under emulation and were tried again
	matrix   matrix
	faults   []string // lines of their table
	parts    []part
}

// run is one line of the summary.
type run struct {
	where                   string
	passed, failed, skipped int
	took                    time.Duration
}
