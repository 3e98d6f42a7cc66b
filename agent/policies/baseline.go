package policies

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

//go:embed baseline/runtime.cedar
var runtimeBaseline []byte

// statBaseline is the part of it where stat is handled.
//
//go:embed baseline/stat.cedar
var statBaseline []byte

// Baselines lists the names of the policies that stockade brings along.
var Baselines = []string{"runtime", "none"}

// Baseline returns a baseline, for a plan that handles some actions, as a source; the
// text of "none" is empty.
func Baseline(name string, handled abi.ActionMask) (compiler.Source, error) {
	source := compiler.Source{Name: "baseline/" + name + ".cedar"}
	switch name {
	case "runtime":
		source.Text = runtimeBaseline
		if handled.Has(abi.Stat) {
			source.Text = slices.Concat(runtimeBaseline, statBaseline)
		}
	case "none":
	default:
		return source, fmt.Errorf("baseline %q: unknown: nothing was done; use one of %s", name, strings.Join(Baselines, ", "))
	}
	return source, nil
}

// AddBaseline adds a baseline to the policies of an input, for the actions that it
// handles.
func AddBaseline(in *compiler.Input, name string) error {
	source, err := Baseline(name, in.Handled)
	if err == nil && source.Text != nil {
		in.Sources = append(in.Sources, source)
	}
	return err
}
