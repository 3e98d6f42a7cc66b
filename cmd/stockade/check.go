package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/agent"
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

Warnings are about policies that may not do what they seem to: among them those
that never matter, because no request satisfies them or because every verdict is
the same without them.

EXIT CODE:
   0 if the policies can be enforced, 1 if not, or if there are warnings and
   --strict is given, 2 if the command line is wrong

` + examples(
			`stockade check policy.cedar`,
			`stockade check policies/ --principal 'User::"alice"' --entities users.json`,
			`stockade check -v policy.cedar`,
			`stockade check --strict policy.cedar`,
		),
		Flags: append(inputFlags("none"), &cli.BoolFlag{
			Name: "verbose", Aliases: []string{"v"},
			Usage: "say of each policy what enforces it: the kernel, the agent that is asked, or nothing and why",
		},
			&cli.BoolFlag{Name: "container", Usage: "warn of paths that usually are no container's, and of tests of users and groups"},
			&cli.BoolFlag{Name: "strict", Usage: "fail if there is a warning"},
			&cli.DurationFlag{Name: "idle", Value: 5 * time.Second, Usage: "look for policies that never matter for at most `TIME`; 0 is not at all"}),
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
	warnings, unchecked, err := checkWarnings(c, in, plan)
	if err != nil {
		return err
	}
	for _, source := range in.Sources {
		permits, forbids, audits, rules := count(plan, source.Name)
		inAudit := ""
		if audits > 0 {
			inAudit = fmt.Sprintf(", %d in audit", audits)
		}
		fmt.Fprintf(c.App.Writer, "%s: ok: %s (%d permit, %d forbid%s), %s\n",
			source.Name, agent.Plural(permits+forbids, "policy"), permits, forbids, inAudit, agent.Plural(rules, "rule"))
	}
	if c.Bool("verbose") {
		for _, report := range plan.Reports() {
			fmt.Fprint(c.App.Writer, report.String())
		}
	}
	for _, warning := range warnings {
		fmt.Fprintf(c.App.Writer, "%s\n", warning)
	}
	for _, name := range plan.Rules.Unenforced {
		fmt.Fprintf(c.App.Writer, "not enforced here: %s: no kernel hook of this version decides it\n", name)
	}
	fmt.Fprintf(c.App.Writer, "plan for %s: %s, %s, %s, %s, %d bytes, sha256:%s\n",
		plan.Principal, agent.Plural(plan.Table.Nodes, "node"), agent.Plural(plan.Table.Rows, "row"), agent.Plural(plan.Table.Decisions, "decision node"),
		agent.Plural(plan.Table.States, "automaton state"), len(plan.Table.Bytes()), plan.Digest)
	for _, line := range unchecked {
		fmt.Fprintf(c.App.Writer, "%s\n", line)
	}
	if c.Bool("strict") && len(warnings) > 0 {
		return fmt.Errorf("policies: %s: --strict lets none pass; mend what they name", agent.Plural(len(warnings), "warning"))
	}
	return nil
}

// checkWarnings lists the warnings, and what was not looked at.
func checkWarnings(c *cli.Context, in compiler.Input, plan *compiler.Plan) (warnings, unchecked []string, err error) {
	limit := c.Duration("idle")
	warnings = slices.Clone(plan.Warnings)
	if c.Bool("container") {
		warnings = append(warnings, plan.Container.Warnings...)
		for _, place := range plan.Container.IDs {
			warnings = append(warnings, place+": tests users or groups: with a user namespace a container has other numbers than the host's, which are compared: it does not start")
		}
	}
	if limit <= 0 {
		return warnings, nil, nil
	}
	found, err := compiler.FindIdle(in, plan, limit, baselineName)
	if err != nil {
		return nil, nil, err
	}
	for _, idle := range found.Idle {
		warnings = append(warnings, idle.String())
	}
	return warnings, found.Unchecked(), nil
}

// count counts the policies of a file, and the rules that they became.
func count(plan *compiler.Plan, file string) (permits, forbids, audits, rules int) {
	for _, p := range plan.Rules.Policies {
		if p.File != file {
			continue
		}
		if p.Audited() {
			audits++
		}
		switch {
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
	return permits, forbids, audits, rules
}
