package main

import "github.com/urfave/cli/v2"

func reloadVerb() *cli.Command {
	return &cli.Command{
		Name:      "reload",
		Usage:     "make the agent read its configuration and policies again, now",
		UsageText: "stockade reload",
		Description: `Returns when what the files say is enforced. The agent sees changes of its files
by itself; this tells you that they are done, or why not. A mistake changes nothing,
and is shown with file, line and column. Logs are opened again, so a log that was
moved away begins anew.

EXIT CODE:
   0, 1 if anything could not be changed or there is no agent, 2 if the command
   line is wrong

` + examples(`sudo stockade reload`, `sudo systemctl reload stockade`),
		Flags: []cli.Flag{socketFlag()},
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			return client(c).Reload(c.Context)
		},
	}
}
