//go:build linux

// Package label checks names of kernels against those that vm knows, for commands
// that take minutes before they would boot one.
package label

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// Check refuses kernels that vm does not list. It runs at the root of the repository.
func Check(kernels []string) error {
	if len(kernels) == 0 {
		return nil
	}
	list, err := exec.Command("go", "run", "./scripts/vm", "list").CombinedOutput()
	if err != nil {
		return fmt.Errorf("vm list: %w: nothing is run; mend what it says: %s", err, list)
	}
	return among(kernels, string(list))
}

// among checks that a list of vm's has a line for each kernel.
func among(kernels []string, list string) error {
	var known []string
	for line := range strings.Lines(list) {
		if f := strings.Fields(line); len(f) > 0 && f[0] != "KERNEL" && f[0] != "debian" { // the heading, and the root
			known = append(known, f[0])
		}
	}
	for _, kernel := range kernels {
		if !slices.Contains(known, kernel) {
			return fmt.Errorf("kernel %q: not one that vm lists: nothing is run; use some of %s", kernel, strings.Join(known, ", "))
		}
	}
	return nil
}
