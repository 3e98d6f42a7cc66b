package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"
)

func eventsVerb() *cli.Command {
	return &cli.Command{
		Name:      "events",
		Usage:     "show denials of all workloads as they happen",
		UsageText: "stockade events",
		Description: `Writes one JSON object a line, until it is interrupted. Denials from before are
in the logs. A reader that is too slow misses some and is told how many:
{"type":"missed","count":N}.

EXIT CODE:
   0 if it was interrupted, 1 if there is no agent or it ended, 2 if the command
   line is wrong

` + examples(`stockade events | jq -r '.workload + " " + .path'`),
		Flags: []cli.Flag{socketFlag()},
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return client(c).Events(ctx, c.App.Writer)
		},
	}
}
