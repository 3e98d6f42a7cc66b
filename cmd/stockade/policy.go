package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/agent"
)

func policyVerb() *cli.Command {
	return &cli.Command{
		Name:      "policy",
		Usage:     "change the policies of a workload while it runs",
		UsageText: "stockade policy apply NAME --policy FILE [OPTIONS]\n   stockade policy rollback NAME",
		Description: `Every verdict is that of one policy set, the old or the new one. What is changed
here stays until the files that the configuration names say something new.

` + examples(
			`stockade policy apply ci-runner --policy new.cedar`,
			`stockade policy rollback ci-runner`,
		),
		Subcommands: []*cli.Command{applyVerb(), rollbackVerb()},
		Action:      func(c *cli.Context) error { return noVerb(c, "apply or rollback") },
	}
}

func applyVerb() *cli.Command {
	return &cli.Command{
		Name:      "apply",
		Usage:     "make a policy set that of a workload",
		UsageText: "stockade policy apply NAME --policy FILE [OPTIONS]",
		Description: `The policy set is compiled and verified before anything changes; a mistake
changes nothing, and is shown with file, line and column. What is not given stays
as the workload has it.

EXIT CODE:
   0, 1 if the policies do not compile or the agent refuses, 2 if the command
   line is wrong

` + examples(
			`stockade policy apply ci-runner --policy policies/`,
			`stockade policy apply ci-runner -p a.cedar -p b.cedar --entities users.json`,
		),
		Flags: []cli.Flag{policyFlag(), socketFlag(),
			&cli.StringFlag{Name: "entities", TakesFile: true, Usage: "entity data, a `FILE` of Cedar JSON"},
			&cli.StringFlag{Name: "principal", Usage: "who acts, a Cedar `ENTITY`"},
			&cli.StringSliceFlag{Name: "handle", Usage: "enforce `ACTION` too, which is not by default: stat (repeatable)"},
			&cli.StringFlag{Name: "baseline", Usage: "policies to add: `NAME` is runtime or none"},
		},
		Action: applyAction,
	}
}

func applyAction(c *cli.Context) error {
	name, err := oneName(c, 1)
	if err != nil {
		return err
	}
	set := agent.PolicySet{Handle: c.StringSlice("handle")}
	for _, path := range c.StringSlice("policy") {
		sources, err := agent.ReadPolicies(path)
		if err != nil {
			return err
		}
		for _, s := range sources {
			set.Sources = append(set.Sources, agent.PolicySource{Name: s.Name, Text: string(s.Text)})
		}
	}
	if len(set.Sources) == 0 {
		return usage(c, "policies: none given: nothing was done; name a file or a folder of *.cedar files")
	}
	if path := c.String("entities"); path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("entities: %w: nothing is applied; check the path", err)
		}
		set.Entities = &agent.PolicySource{Name: path, Text: string(text)}
	}
	if c.IsSet("principal") {
		set.Principal = pointer(c.String("principal"))
	}
	if c.IsSet("baseline") {
		set.Baseline = pointer(c.String("baseline"))
	}
	change, err := client(c).Apply(c.Context, name, set)
	if err != nil {
		return err
	}
	return showChange(c, change)
}

func pointer(s string) *string { return &s }

func rollbackVerb() *cli.Command {
	return &cli.Command{
		Name:      "rollback",
		Usage:     "go back to the policy set before the present one",
		UsageText: "stockade policy rollback NAME",
		Description: `The present policy set becomes the one before: a second rollback undoes the first.

EXIT CODE:
   0, 1 if there is none or the agent refuses, 2 if the command line is wrong

` + examples(`stockade policy rollback ci-runner`),
		Flags: []cli.Flag{socketFlag()},
		Action: func(c *cli.Context) error {
			name, err := oneName(c, 1)
			if err != nil {
				return err
			}
			change, err := client(c).Rollback(c.Context, name)
			if err != nil {
				return err
			}
			return showChange(c, change)
		},
	}
}

func showChange(c *cli.Context, change agent.Change) error {
	for _, warning := range change.Warnings {
		fmt.Fprintln(c.App.Writer, warning)
	}
	_, err := fmt.Fprintf(c.App.Writer, "%s: generation %d, policy %s\n", change.Name, change.Generation, change.Digest)
	return err
}

func modeVerb() *cli.Command {
	return &cli.Command{
		Name:      "mode",
		Usage:     "change how the verdicts on a workload are applied",
		UsageText: "stockade mode NAME enforce|audit|lockdown",
		Description: `enforce denies what the policies deny, audit only reports it (and refuses the boundary), lockdown denies
all that policies could decide from now on. The mode stays, also when the agent is started
again, until it is changed here or the configuration says another one than before.

EXIT CODE:
   0, 1 if the agent refuses, 2 if the command line is wrong

` + examples(`stockade mode ci-runner lockdown`, `stockade mode ci-runner enforce`),
		Flags: []cli.Flag{socketFlag()},
		Action: func(c *cli.Context) error {
			name, err := oneName(c, 2)
			if err != nil {
				return err
			}
			if mode := c.Args().Get(1); !slices.Contains([]string{"enforce", "audit", "lockdown"}, mode) {
				return usage(c, "mode %q: unknown: nothing was done; use enforce, audit or lockdown", mode)
			}
			change, err := client(c).SetMode(c.Context, name, c.Args().Get(1))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.App.Writer, "%s: mode %s, generation %d\n", change.Name, c.Args().Get(1), change.Generation)
			return err
		},
	}
}
