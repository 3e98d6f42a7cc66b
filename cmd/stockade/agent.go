package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/agent"
)

const defaultConfig = "/etc/stockade/agent.yaml"

func agentVerb() *cli.Command {
	return &cli.Command{
		Name:      "agent",
		Usage:     "confine the cgroups and units that a configuration declares",
		UsageText: "stockade agent [--config FILE] [--check]",
		Description: `Installs the policies of each declared workload in the kernel, confines the
cgroups that match, now and as they appear, and writes denials to the logs. It
reads its files again when they change, on reload or SIGHUP; a mistake changes nothing.

Enforcement is pinned: it goes on when the agent ends, is killed or is upgraded to
a build with the same BPF programs, and the next agent takes it over as it is. Only ` + "`stockade uninstall`" + ` ends it.
One agent runs on a host. Needs root; scripts/deploy has a systemd unit and a
commented configuration.

EXIT CODE:
   0 if it was told to stop, 1 if it failed, 2 if the command line is wrong

` + examples(
			`stockade agent --check`,
			`stockade agent --config /etc/stockade/agent.yaml`,
		),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Value: defaultConfig, TakesFile: true, Usage: "the configuration, a `FILE` of YAML"},
			&cli.BoolFlag{Name: "check", Usage: "read the configuration and compile all its policies, and do nothing else"},
		},
		Action: agentAction,
	}
}

func agentAction(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	if !c.Bool("check") {
		agent.Build.Version, agent.Build.Commit = build()
		return agent.Serve(c.Context, c.String("config"), c.App.ErrWriter)
	}
	checked, err := agent.CheckConfig(c.String("config"))
	if err != nil {
		return err
	}
	for _, warning := range checked.Warnings {
		fmt.Fprintln(c.App.Writer, warning)
	}
	templates := ""
	if checked.Templates > 0 {
		templates = ", " + agent.Plural(checked.Templates, "template") + " for containers"
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s: ok: %s%s\n", c.String("config"), agent.Plural(checked.Workloads, "workload"), templates)
	return err
}

// socketFlag names the agent to talk to.
func socketFlag() cli.Flag {
	return &cli.StringFlag{Name: "socket", Value: agent.DefaultSocket, TakesFile: true, Usage: "the agent's `SOCKET`, a path", Action: checkSocket}
}

func client(c *cli.Context) *agent.Client { return agent.NewClient(c.String("socket")) }

// oneName returns the one argument of a verb that is about a workload.
func oneName(c *cli.Context, n int) (string, error) {
	if c.NArg() != n {
		return "", usage(c, "%s: not %s: nothing was done; see `%s --help`", c.Command.Name, agent.Plural(n, "argument"), c.Command.HelpName)
	}
	return c.Args().First(), nil
}
