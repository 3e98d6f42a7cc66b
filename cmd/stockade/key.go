package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/agent"
)

func keyVerb() *cli.Command {
	return &cli.Command{
		Name:        "key",
		Usage:       "the key that this host signs with",
		UsageText:   "stockade key show",
		Description: "An Ed25519 key, made on its first use.\n\n" + examples(`stockade key show`),
		Subcommands: []*cli.Command{{
			Name:      "show",
			Usage:     "print the public half of this host's key",
			UsageText: "stockade key show",
			Description: `Prints the fingerprint and the public half, in PEM, of the Ed25519 key that this
host signs with. It is made on its first use, and only root can read it. Keep the
public half elsewhere: who has the host can replace the key.

Needs root.

` + examples(
				`stockade key show`,
				`stockade key show | openssl pkey -pubin -text -noout`,
			),
			Flags:  []cli.Flag{&cli.StringFlag{Name: "file", Value: agent.KeyFile, TakesFile: true, Usage: "the key lies in `FILE`"}},
			Action: showKey,
		}},
		Action: func(c *cli.Context) error { return noVerb(c, "show") },
	}
}

func showKey(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	key, err := agent.HostKey(c.String("file"))
	if err != nil {
		return err
	}
	text, fingerprint := agent.PublicKey(key)
	_, err = fmt.Fprintf(c.App.Writer, "fingerprint: %s\n%s", fingerprint, text)
	return err
}
