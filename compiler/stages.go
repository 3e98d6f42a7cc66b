package compiler

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/stockade-dev/stockade/compiler/rule"
	"github.com/stockade-dev/stockade/compiler/table"
)

// Stage is a step of a compile.
type Stage struct {
	// Name is that of what the stage leaves, Leaves says what that is.
	Name, Leaves string

	run  func(*compilation) error
	dump func(*compilation, io.Writer) error
}

// Stages are the steps, in order: Compile runs them all, Dump those up to one.
var Stages = slices.Concat([]Stage{
	{"ast", "the policies as parsed, valid by the schema", (*compilation).read, (*compilation).dumpAST},
	{"formulas", "for each policy, and for actions that it tells apart, where it is satisfied", (*compilation).lower, (*compilation).dumpFormulas},
	{"rules", "the same in small alternatives, with the answers to asks", (*compilation).cut, (*compilation).dumpRules},
}, tableStages())

// compilation is what the stages so far have left.
type compilation struct {
	in       Input
	front    *front
	formulas []lowered
	failures []failure
	set      rule.Set
	building *table.Building
}

// run runs stages, which follow on those that ran before.
func (c *compilation) run(stages []Stage) error {
	for _, s := range stages {
		if err := s.run(c); err != nil {
			return err
		}
	}
	return nil
}

// Dump writes what a stage makes of the input.
func Dump(stage string, in Input, w io.Writer) error {
	i := slices.IndexFunc(Stages, func(s Stage) bool { return s.Name == stage })
	if i < 0 {
		return fmt.Errorf("stage %q: unknown: nothing is written; use one of %s", stage, strings.Join(StageNames(), ", "))
	}
	c := &compilation{in: in}
	if err := c.run(Stages[:i+1]); err != nil {
		return err
	}
	return Stages[i].dump(c, w)
}

// StageNames lists the names of the stages, in order.
func StageNames() []string {
	names := make([]string, len(Stages))
	for i, s := range Stages {
		names[i] = s.Name
	}
	return names
}

// read parses and validates.
func (c *compilation) read() (err error) {
	c.front, err = read(c.in)
	return err
}

// lower makes the formulas.
func (c *compilation) lower() error {
	var errs collector
	c.set, c.formulas, c.failures = c.front.lower(c.in.handled(), &errs)
	return errs.err()
}

// cut makes the rules.
func (c *compilation) cut() error {
	c.set.Rules = cut(c.set.Policies, c.formulas)
	settle(&c.set, c.in.Answers)
	prune(&c.set)
	return nil
}

// tableStages are those of package table, which begin with the rules.
func tableStages() []Stage {
	list := make([]Stage, len(table.Stages))
	for i := range table.Stages {
		s := &table.Stages[i]
		list[i] = Stage{Name: s.Name, Leaves: s.Leaves,
			run: func(c *compilation) error {
				if i == 0 {
					c.building = table.Start(&c.set, c.in.handled())
				}
				return costly(&c.set, s.Run(c.building))
			},
			dump: func(c *compilation, w io.Writer) error { return s.Dump(c.building, w) },
		}
	}
	return list
}

func (c *compilation) dumpAST(w io.Writer) error {
	for _, p := range c.front.policies {
		if _, err := fmt.Fprintf(w, "// %s %q\n%s\n", p.meta.Position(), p.meta.ID, p.cedar.MarshalCedar()); err != nil {
			return err
		}
	}
	return nil
}

func (c *compilation) dumpFormulas(w io.Writer) error {
	for _, f := range c.formulas {
		p := &c.set.Policies[f.policy]
		if _, err := fmt.Fprintf(w, "%s %q %s when %s\n", f.rule(p, f.cond).Does(), p.ID, f.actions, f.cond); err != nil {
			return err
		}
	}
	return nil
}

func (c *compilation) dumpRules(w io.Writer) error {
	for _, r := range c.set.Rules {
		if _, err := fmt.Fprintf(w, "%s %q %s when %s\n", r.Does(), c.set.Policies[r.Policy].ID, r.Actions, r.Cond); err != nil {
			return err
		}
	}
	for _, name := range c.set.Unenforced {
		if _, err := fmt.Fprintf(w, "unenforced %s\n", name); err != nil {
			return err
		}
	}
	return nil
}
