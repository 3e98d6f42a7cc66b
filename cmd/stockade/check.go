package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/compiler"
)

func checkVerb() *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "parse, validate and compile policies",
		UsageText: "stockade check [OPTIONS] FILE...",
		Description: `Says for each file what is in it, and of the whole what this version does not
enforce. Errors have the form FILE:LINE:COLUMN: message, on standard error.
Neither root nor a special kernel is needed.

EXIT CODE:
   0 if the policies can be enforced, 1 if not, 2 if the command line is wrong

` + examples(
			`stockade check policy.cedar`,
			`stockade check policies/ --principal 'User::"alice"' --entities users.json`,
			`stockade check -v policy.cedar`,
		),
		Flags: append(inputFlags("none"), &cli.BoolFlag{
			Name: "verbose", Aliases: []string{"v"},
			Usage: "say of each policy what enforces it: the kernel, the agent that is asked, or nothing and why",
		}),
		Action: checkAction,
	}
}

func checkAction(c *cli.Context) error {
	in, err := readInput(c, c.Args().Slice())
	if err != nil {
		return err
	}
	plan, err := compiler.Compile(in)
	if err != nil {
		return err
	}
	for _, source := range in.Sources {
		permits, forbids, rules := count(plan, source.Name)
		fmt.Fprintf(c.App.Writer, "%s: ok: %d policies (%d permit, %d forbid), %d rules\n",
			source.Name, permits+forbids, permits, forbids, rules)
	}
	if c.Bool("verbose") {
		for _, report := range plan.Reports() {
			fmt.Fprint(c.App.Writer, report.String())
		}
	}
	for _, warning := range plan.Warnings {
		fmt.Fprintf(c.App.Writer, "%s\n", warning)
	}
	for _, name := range plan.Rules.Unenforced {
		fmt.Fprintf(c.App.Writer, "not enforced here: %s: no kernel hook of this version decides it\n", name)
	}
	fmt.Fprintf(c.App.Writer, "plan for %s: %d nodes, %d rows, %d decision nodes, %d automaton states, %d bytes, sha256:%s\n",
		plan.Principal, plan.Table.Nodes, plan.Table.Rows, plan.Table.Decisions, plan.Table.States, len(plan.Table.Bytes()), plan.Digest)
	return nil
}

// count counts the policies of a file, and the rules that they became.
func count(plan *compiler.Plan, file string) (permits, forbids, rules int) {
	for _, p := range plan.Rules.Policies {
		switch {
		case p.File != file:
		case p.Effect.String() == "forbid":
			forbids++
		default:
			permits++
		}
	}
	for _, r := range plan.Rules.Rules {
		if plan.Rules.Policies[r.Policy].File == file {
			rules++
		}
	}
	return permits, forbids, rules
}
