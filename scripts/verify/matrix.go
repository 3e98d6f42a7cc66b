//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// matrix has what each trial of the VM tests came to on each kernel: D denied,
// A allowed, L a documented limit, better what is documented as one and is none
// there, n/a not on that kernel.
type matrix struct {
	trials, kernels []string
	results         map[[2]string]string // by trial and kernel
	better          []string             // "KERNEL: TRIAL: LINE", of docs/limits.md
}

// used notes a kernel with its version.
func (r *report) used(about string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kernels = append(r.kernels, about)
}

// keep takes what a run said beside its outcomes.
func (r *report) keep(kernel string, c *collector) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.matrix.keep(kernel, c.matrix)
	r.matrix.better = append(r.matrix.better, c.better...)
	r.faults = append(r.faults, c.faults...)
	r.parts = append(r.parts, c.parts...)
}

// keep takes lines "TRIAL KERNEL RESULT" of one of the VMs' kernels, whose name
// counts: two of them may have the number that the line tells. A trial's name may
// have spaces.
func (m *matrix) keep(kernel string, lines []string) {
	if m.results == nil {
		m.results = map[[2]string]string{}
	}
	for _, line := range lines {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		trial, result := strings.Join(f[:len(f)-2], " "), f[len(f)-1]
		if !slices.Contains(m.trials, trial) {
			m.trials = append(m.trials, trial)
		}
		if !slices.Contains(m.kernels, kernel) {
			m.kernels = append(m.kernels, kernel)
		}
		m.results[[2]string{trial, kernel}] = result
	}
}

// nowhere lists the trials that no kernel could try.
func (m *matrix) nowhere() (list []string) {
	for _, trial := range m.trials {
		if !slices.ContainsFunc(m.kernels, func(k string) bool { r := m.results[[2]string{trial, k}]; return r != "" && r != "n/a" }) {
			list = append(list, trial)
		}
	}
	return list
}

// print writes the whole matrix to a file and its counts to out.
func (m *matrix) print(out io.Writer) {
	if len(m.trials) == 0 {
		return
	}
	slices.Sort(m.kernels)
	var text strings.Builder
	row := func(name string, cells []string) {
		fmt.Fprintf(&text, "%-60s", name)
		for _, c := range cells {
			fmt.Fprintf(&text, " %8s", c)
		}
		text.WriteByte('\n')
	}
	row("", m.kernels)
	counts := map[[2]string]int{}
	var kinds []string
	for _, trial := range m.trials {
		var cells []string
		for _, k := range m.kernels {
			result := m.results[[2]string{trial, k}]
			if result == "" {
				result = "not run"
			}
			if !slices.Contains(kinds, result) {
				kinds = append(kinds, result)
			}
			counts[[2]string{k, result}]++
			cells = append(cells, result)
		}
		row(trial, cells)
	}
	slices.Sort(kinds)
	fmt.Fprintf(out, "\nTRIALS in VMs: %d (D denied, A allowed, L a documented limit, better none, though documented, n/a not on that kernel)\n", len(m.trials))
	for _, k := range m.kernels {
		fmt.Fprintf(out, "  %-6s", k)
		for _, kind := range kinds {
			fmt.Fprintf(out, "  %s %d", kind, counts[[2]string{k, kind}])
		}
		fmt.Fprintln(out)
	}
	file := filepath.Join(work, "matrix")
	if err := os.WriteFile(file, []byte(text.String()), 0o644); err == nil {
		fmt.Fprintf(out, "  each of them: %s\n", file)
	}
	if nowhere := m.nowhere(); len(nowhere) > 0 {
		fmt.Fprintf(out, "\nON NO KERNEL of these (n/a)\n  %s\n", strings.Join(nowhere, "\n  "))
	}
	if len(m.better) > 0 {
		fmt.Fprintf(out, "\nBETTER THAN DOCUMENTED (revise these lines of docs/limits.md)\n  %s\n", strings.Join(m.better, "\n  "))
	}
}
