// Package baseline holds the policies that stockade brings along.
package baseline

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed runtime.cedar
var runtime []byte

// Names lists the baselines.
var Names = []string{"runtime", "none"}

// File is the name that errors and policy ids give to a baseline's text.
func File(name string) string { return "baseline/" + name + ".cedar" }

// Text returns the Cedar text of a baseline; that of "none" is empty.
func Text(name string) ([]byte, error) {
	switch name {
	case "runtime":
		return runtime, nil
	case "none":
		return nil, nil
	}
	return nil, fmt.Errorf("baseline %q: unknown: nothing is added; use one of %s", name, strings.Join(Names, ", "))
}
