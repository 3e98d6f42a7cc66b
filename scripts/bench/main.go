//go:build linux

// Command bench measures what Stockade costs and prints tables of ratios: all
// figures of a table come from one run, for only ratios within a run mean
// anything on a shared machine.
//
//	native   one verdict, in the kernel, by the number of rules (nanoseconds)
//	VM       open+close, by depth and by who is confined (guest instructions)
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/stockade-dev/stockade/scripts/vm/label"
	"github.com/stockade-dev/stockade/scripts/vm/module"
)

const usage = `bench measures what a verdict costs.

  go run ./scripts/bench [OPTION]...

`

const work = ".cache/bench"

func main() {
	native := flag.Bool("native", true, "measure natively")
	kernels := flag.String("kernels", "6.1,6.12,7.2", "`LIST` of kernels to count instructions on; empty for none")
	count := flag.Int("count", 5, "`NUMBER` of native runs; the least is shown")
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage); flag.PrintDefaults() }
	flag.Parse()
	list := strings.FieldsFunc(*kernels, func(r rune) bool { return r == ',' || r == ' ' })
	if err := label.Check(list); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	if err := bench(*native, *count, list); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench runs everything; a failure of one part is told at the end.
func bench(native bool, count int, kernels []string) error {
	var failed []string
	missed := 0
	if native {
		results, err := runNative(count)
		if err != nil {
			failed = append(failed, "native: "+err.Error())
		} else {
			results.print(os.Stdout, nativeTable)
			missed += results.judge(os.Stdout, "native", nativeTargets)
		}
	}
	if len(kernels) > 0 {
		if err := prepare(kernels); err != nil {
			return err
		}
	}
	for _, k := range kernels {
		results, err := runMachine(k)
		if err != nil {
			failed = append(failed, "kernel "+k+": "+err.Error())
			continue
		}
		missed += results.judge(os.Stdout, "kernel "+k, machineTargets)
		if err := responses(k); err != nil {
			failed = append(failed, "kernel "+k+": "+err.Error())
		}
	}
	fmt.Printf("\ntargets missed: %d; parts failed: %d\n", missed, len(failed))
	if len(failed) > 0 {
		return fmt.Errorf("%s", strings.Join(failed, "\nbench: "))
	}
	return nil
}

// runNative runs the benchmarks of this host: the match in the kernel, and
// cedar-go's own decision beside it.
func runNative(count int) (results, error) {
	fmt.Println("bench: native: running, about a minute")
	verdicts, err := output("go", "test", "./bpf", "-run", "-", "-bench", "Verdict|Walk", "-benchtime", "0.3s", fmt.Sprint("-count=", count))
	if err != nil {
		return nil, err
	}
	cedar, err := output("go", "test", "./scripts/bench", "-run", "-", "-bench", "Authorize", "-benchtime", "0.3s", fmt.Sprint("-count=", count))
	if err != nil {
		return nil, err
	}
	return parse(verdicts + cedar), nil
}

func prepare(kernels []string) error {
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"go", "build", "-o", "bin/vm", "./scripts/vm"},
		{"go", "test", "-c", "-o", filepath.Join(work, "vmtest.test"), "./bpf/vmtest"},
		{"go", "test", "-c", "-o", filepath.Join(work, "agent.test"), "./agent/vmtest"},
		{"go", "build", "-trimpath", "-o", filepath.Join(work, "stockade"), "./cmd/stockade"},
		append([]string{"bin/vm", "fetch", "debian"}, kernels...),
	} {
		if _, err := output(args[0], args[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// runMachine counts instructions in a VM, where a nanosecond is one.
// TestBenchOpen of bpf/vmtest prints the table; here it is shown and judged.
func runMachine(kernel string) (results, error) {
	fmt.Printf("\nbench: kernel %s: running, some minutes\n", kernel)
	text, err := output("bin/vm", "run", "--kernel", kernel, "--icount", "--timeout", "15m", "--env", "STOCKADE_BENCH=1", "--env", "STOCKADE_VM=1",
		"--file", filepath.Join(work, "vmtest.test")+":/vmtest/vmtest.test", "--dir", "/vmtest", "--",
		"/vmtest/vmtest.test", "-test.run", "^TestBenchOpen$", "-test.v")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(text) {
		if line, found := strings.CutPrefix(line, "bench:"); found {
			fmt.Print(" ", line)
		}
	}
	r := parseOpen(text)
	if len(r) == 0 {
		return nil, fmt.Errorf("TestBenchOpen of bpf/vmtest printed no figures: nothing is measured; see its output with bin/vm run")
	}
	return r, nil
}

// responses shows what a kill takes, beside the kernel's own of a cgroup in the same
// machine: TestResponseFigures of agent/vmtest prints it.
func responses(kernel string) error {
	fmt.Printf("\nbench: kernel %s: responses: running, some minutes\n", kernel)
	args := []string{"run", "--kernel", kernel, "--root", "debian", "--mem", "4096", "--timeout", "20m", "--env", "STOCKADE_BENCH=1", "--env", "STOCKADE_VM=1",
		"--file", filepath.Join(work, "agent.test") + ":/vmtest/vmtest.test", "--file", filepath.Join(work, "stockade") + ":/usr/bin/stockade", "--dir", "/vmtest"}
	for _, name := range module.Sockets {
		args = append(args, "--module", name)
	}
	text, err := output("bin/vm", append(args, "--", "/vmtest/vmtest.test", "-test.run", "^TestResponseFigures$", "-test.v")...)
	if err != nil {
		return err
	}
	found := false
	for line := range strings.Lines(text) {
		if figure, ok := strings.CutPrefix(line, "figure: "); ok {
			found = true
			fmt.Print("  ", figure)
		}
	}
	if !found {
		return fmt.Errorf("TestResponseFigures of agent/vmtest printed no figures: nothing is measured; see its output with bin/vm run")
	}
	return nil
}

func output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	text, err := cmd.CombinedOutput()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		return "", fmt.Errorf("%s %s: %w:\n%s", name, strings.Join(args, " "), err, strings.Join(lines[max(0, len(lines)-20):], "\n"))
	}
	return string(text), nil
}
