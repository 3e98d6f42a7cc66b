package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/compiler"
)

func compileVerb() *cli.Command {
	var stages strings.Builder
	for _, s := range compiler.Stages {
		fmt.Fprintf(&stages, "   %-9s %s\n", s.Name, s.Leaves)
	}
	return &cli.Command{
		Name:      "compile",
		Usage:     "show what policies become",
		UsageText: "stockade compile [OPTIONS] FILE...",
		Description: `Prints the figures of the compiled table, or with --dump what a stage of the
compiler leaves. Policies that mean the same become the same bytes.

STAGES:
` + stages.String() + `
EXIT CODE:
   0, 1 if the policies do not compile, 2 if the command line is wrong

` + examples(
			`stockade compile policy.cedar`,
			`stockade compile --dump rules policy.cedar`,
			`stockade compile -o policy.table --baseline runtime policies/`,
		),
		Flags: append(inputFlags("none"),
			&cli.StringFlag{Name: "dump", Usage: "print what `STAGE` leaves: " + strings.Join(compiler.StageNames(), ", ")},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, TakesFile: true, Usage: "write the table, little-endian, to `FILE`"},
		),
		Action: compileAction,
	}
}

func compileAction(c *cli.Context) error {
	in, err := readInput(c, c.Args().Slice())
	if err != nil {
		return err
	}
	if stage := c.String("dump"); stage != "" {
		if c.IsSet("output") {
			return usage(c, "output: has the table alone, not what --dump prints: nothing was written; leave one out")
		}
		return compiler.Dump(stage, in, c.App.Writer)
	}
	plan, err := compiler.Compile(in)
	if err != nil {
		return err
	}
	if path := c.String("output"); path != "" {
		if err := os.WriteFile(path, plan.Table.Bytes(), 0o644); err != nil {
			return fmt.Errorf("output: %w: the table is not written; name another file", err)
		}
	}
	t := plan.Table
	_, err = fmt.Fprintf(c.App.Writer, `principal   %s
policies    %d
rules       %d
nodes       %d
rows        %d
decisions   %d
automata    %d of %d states
subtrees    %d
buckets     %d
long names  %d
bytes       %d
handled     %s
digest      sha256:%s
`, plan.Principal, len(plan.Rules.Policies), len(plan.Rules.Rules), t.Nodes, t.Rows, t.Decisions, t.Automata, t.States, t.Subs,
		t.Buckets, t.LongNames, len(t.Words())*8, plan.Handled, plan.Digest)
	return err
}
