package main

import (
	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/agent"
)

// reapVerb is started by `stockade run`, never by hand.
func reapVerb() *cli.Command {
	return &cli.Command{
		Name:   "reap",
		Usage:  "end the workload of a run that was killed",
		Hidden: true,
		Action: func(c *cli.Context) error { return agent.Reap(c.Args().First()) },
	}
}
