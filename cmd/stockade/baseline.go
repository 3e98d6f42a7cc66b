package main

import (
	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/agent"
	"github.com/stockade-dev/stockade/bpf/abi"
)

func baselineVerb() *cli.Command {
	return &cli.Command{
		Name:      "baseline",
		Usage:     "print the policies that run adds to yours",
		UsageText: "stockade baseline [--handle stat] [runtime|none]",
		Description: `The baseline runtime (the default of stockade run) lets dynamically linked
programs start. It grants no program and nothing that stores what is written.
Where stat is handled it has a part for that, too.

` + examples(
			`stockade baseline runtime`,
			`stockade baseline > mine.cedar  # then: stockade run --baseline none --policy mine.cedar ...`,
		),
		Flags: []cli.Flag{&cli.StringFlag{Name: "handle", Usage: "print what is added where this `ACTION` is handled, too: stat"}},
		Action: func(c *cli.Context) error {
			var handled abi.ActionMask
			switch c.String("handle") {
			case "":
			case abi.Stat.String():
				handled = abi.MaskOf(abi.Stat)
			default:
				return usage(c, "handle %q: nothing is added for it: nothing is printed; use stat", c.String("handle"))
			}
			if c.NArg() > 1 {
				return usage(c, "baseline: more than one name: nothing is printed; name one")
			}
			name := c.Args().First()
			if name == "" {
				name = "runtime"
			}
			source, err := agent.Baseline(name, handled)
			if err != nil {
				return usage(c, "%w", err)
			}
			_, err = c.App.Writer.Write(source.Text)
			return err
		},
	}
}
