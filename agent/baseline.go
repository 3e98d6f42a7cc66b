package agent

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/stockade-dev/stockade/compiler"
)

//go:embed baseline/runtime.cedar
var runtimeBaseline []byte

// Baselines lists the names of the policies that stockade brings along.
var Baselines = []string{"runtime", "none"}

// Baseline returns a baseline as a source; the text of "none" is empty.
func Baseline(name string) (compiler.Source, error) {
	source := compiler.Source{Name: "baseline/" + name + ".cedar"}
	switch name {
	case "runtime":
		source.Text = runtimeBaseline
	case "none":
	default:
		return source, fmt.Errorf("baseline %q: unknown: nothing was done; use one of %s", name, strings.Join(Baselines, ", "))
	}
	return source, nil
}
