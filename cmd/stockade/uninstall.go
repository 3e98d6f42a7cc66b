package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/agent"
)

func uninstallVerb() *cli.Command {
	return &cli.Command{
		Name:      "uninstall",
		Usage:     "end all enforcement of the agent",
		UsageText: "stockade uninstall [--force]",
		Description: `Removes everything that the agent pinned in the kernel and what it remembers,
and ends the agent; its files and the program stay. While processes are confined
it refuses, for they would go on unconfined; --force kills them first. Works
without an agent too.

EXIT CODE:
   0 if nothing is left, 1 if not, 2 if the command line is wrong

` + examples(`stockade uninstall`, `stockade uninstall --force`),
		Flags:  []cli.Flag{socketFlag(), &cli.BoolFlag{Name: "force", Usage: "kill every confined process first"}},
		Action: uninstallAction,
	}
}

func uninstallAction(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	killed, err := agent.Uninstall(c.Context, c.String("socket"), c.Bool("force"),
		func(text string) { fmt.Fprintln(c.App.ErrWriter, "stockade:", text) })
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.App.Writer, "uninstalled: %s killed; nothing of the agent enforces any more\n", agent.Plural(killed, "process"))
	return err
}
