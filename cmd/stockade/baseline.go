package main

import (
	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/agent"
)

func baselineVerb() *cli.Command {
	return &cli.Command{
		Name:      "baseline",
		Usage:     "print the policies that run adds to yours",
		UsageText: "stockade baseline [runtime|none]",
		Description: `The baseline runtime (the default of stockade run) lets dynamically linked
programs start. It grants no program and nothing that stores what is written.

` + examples(
			`stockade baseline runtime`,
			`stockade baseline > mine.cedar  # then: stockade run --baseline none --policy mine.cedar ...`,
		),
		Action: func(c *cli.Context) error {
			if c.NArg() > 1 {
				return usage(c, "baseline: more than one name: nothing is printed; name one")
			}
			name := c.Args().First()
			if name == "" {
				name = "runtime"
			}
			source, err := agent.Baseline(name)
			if err != nil {
				return usage(c, "%w", err)
			}
			_, err = c.App.Writer.Write(source.Text)
			return err
		},
	}
}
