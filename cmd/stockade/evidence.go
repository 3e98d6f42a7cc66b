package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/agent"
)

func evidenceVerb() *cli.Command {
	return &cli.Command{
		Name:      "evidence",
		Usage:     "check what was taken of a workload before it was killed",
		UsageText: "stockade evidence verify FILE [--key FILE]",
		Description: "A bundle is a tar file: `tar -tf` lists its parts, `tar -xOf FILE processes.json` prints one.\n\n" +
			examples(`stockade evidence verify /var/lib/stockade/evidence/ci-20261127T064500.000Z.tar`),
		Subcommands: []*cli.Command{{
			Name:      "verify",
			Usage:     "check that a bundle is as it was when a host signed it",
			UsageText: "stockade evidence verify FILE [--key FILE] [--json]",
			Description: `Checks the signature and every byte of the file. It needs nothing but the file and the
public half of the key of the host that took it, as ` + "`stockade key show`" + ` prints it
there: keep that elsewhere, and give it by --key. Without it the key of this host is used,
which says less: who has the host can sign anew. Nothing in the file is followed or unpacked.

EXIT CODE:
   0 nothing was changed, 1 it was, or it is unfinished, 2 nothing could be checked: a
   mistake, no such file, or no key

` + examples(`stockade evidence verify ci.tar --key host.pub`, `stockade evidence verify ci.tar --key host.pub --json | jq .missing`),
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "key", TakesFile: true, Usage: "the public key is in `FILE`, in PEM (default: that of this host, which root can read)"},
				&cli.BoolFlag{Name: "json", Usage: "print one JSON object"},
			},
			Action: verifyEvidence,
		}},
		Action: func(c *cli.Context) error { return noVerb(c, "verify") },
	}
}

func verifyEvidence(c *cli.Context) error {
	if c.NArg() != 1 {
		return usage(c, "verify: %s: nothing was done; name one bundle, and the key after --key", agent.Plural(c.NArg(), "file"))
	}
	report, err := agent.VerifyEvidence(c.Args().First(), c.String("key"))
	if errors.As(err, new(agent.UncheckedError)) {
		return status{err, exitUsage}
	}
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return plainJSON(c.App.Writer).Encode(report)
	}
	return showEvidence(c.App.Writer, &report, c.String("key"))
}

// showEvidence prints what was found; keyFile has the key that it was checked with, "" is
// this host's.
func showEvidence(w io.Writer, r *agent.EvidenceReport, keyFile string) error {
	from := "from " + agent.Token(keyFile)
	if keyFile == "" {
		from = "of this host: who has the host can sign anew; give by --key FILE one that was kept elsewhere"
	}
	whole := ""
	if len(r.Missing) > 0 {
		whole = fmt.Sprintf(", but INCOMPLETE: %s missing when it was taken", agent.Plural(uint64(len(r.Missing)), "part"))
	}
	text := fmt.Sprintf("unchanged since it was signed%s: evidence of workload %s on %s, %s to %s\n  signed with key %s, %s\n  SHA-256 of the file %s\n",
		whole, agent.Token(r.Workload), agent.Token(r.Host.Name), r.Began.Format(time.RFC3339), r.Ended.Format(time.RFC3339), r.KeyID, from, r.SHA256)
	for _, p := range r.Parts {
		text += fmt.Sprintf("  %-20s %9d bytes", p.Name, p.Size)
		if p.Truncated {
			text += ", cut: there was more"
		}
		if p.Error != "" {
			text += ", incomplete: " + agent.Token(p.Error)
		}
		text += "\n"
	}
	for _, a := range r.Missing {
		text += fmt.Sprintf("  missing: %s: %s\n", a.Name, agent.Token(a.Why))
	}
	_, err := io.WriteString(w, text)
	return err
}
