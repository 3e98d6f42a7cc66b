package main

import (
	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/agent"
)

// lookVerb is what this program starts by itself to read what a workload may have
// arranged to take for ever.
func lookVerb() *cli.Command {
	return &cli.Command{
		Name:   "look",
		Hidden: true,
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			return agent.Look(c.App.Reader, c.App.Writer)
		},
	}
}
