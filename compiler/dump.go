package compiler

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Stages are the stages of a compile that Dump can show, in order.
var Stages = []string{"ast", "rules", "table"}

// Dump writes what a stage makes of the input: ast is the policies as parsed,
// rules the intermediate representation, table the compiled form.
func Dump(stage string, in Input, w io.Writer) error {
	if !slices.Contains(Stages, stage) {
		return fmt.Errorf("stage %q: unknown: nothing is written; use one of %s", stage, strings.Join(Stages, ", "))
	}
	f, err := read(in)
	if err != nil {
		return err
	}
	if stage == "ast" {
		return f.dump(w)
	}
	set, err := f.lower(in.handled())
	if err != nil {
		return err
	}
	if stage == "table" {
		t, err := build(&set, in.handled())
		if err != nil {
			return err
		}
		return t.Dump(w)
	}
	for _, r := range set.Rules {
		if _, err := fmt.Fprintf(w, "%s %q %s when %s\n", r.Does(), set.Policies[r.Policy].ID, r.Actions, r.Cond); err != nil {
			return err
		}
	}
	for _, name := range set.Unenforced {
		if _, err := fmt.Fprintf(w, "unenforced %s\n", name); err != nil {
			return err
		}
	}
	return nil
}

func (f *front) dump(w io.Writer) error {
	for _, p := range f.policies {
		if _, err := fmt.Fprintf(w, "// %s %q\n%s\n", p.meta.Position(), p.meta.ID, p.cedar.MarshalCedar()); err != nil {
			return err
		}
	}
	return nil
}
