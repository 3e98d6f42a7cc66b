package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/bpf"
)

func doctorVerb() *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "say what this host has and lacks",
		Description: `Looks for everything that enforcement needs, changes nothing, and names a fix
for each lack.

EXIT CODE:
   0 if stockade run works here, 1 if not, 2 if the command line is wrong

` + examples(`sudo stockade doctor`, `sudo stockade doctor --json`),
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print one JSON object a line"}},
		Action: doctorAction,
	}
}

func doctorAction(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	facts := bpf.Probe()
	show := showFacts
	if c.Bool("json") {
		show = showFactsJSON
	}
	if err := show(c.App.Writer, facts); err != nil {
		return err
	}
	for _, f := range facts {
		if f.Required && !f.OK {
			return quietly(exitFailed)
		}
	}
	return nil
}

// showFacts prints a table, and beneath it what is lacking.
func showFacts(w io.Writer, facts []bpf.Fact) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	lacking, limited := 0, 0
	for _, f := range facts {
		state := "ok"
		switch {
		case f.OK:
		case f.Required:
			state = "LACKS"
			lacking++
		default:
			state = "limit"
			limited++
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", state, f.Name, strings.ReplaceAll(f.Detail, "\n", " "))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, f := range facts {
		if !f.OK {
			fmt.Fprintf(w, "\n%s: %s\n  fix: %s\n", f.Name, f.Consequence, f.Fix)
		}
	}
	verdict := "this host can enforce"
	if lacking > 0 {
		verdict = fmt.Sprintf("this host cannot enforce: it lacks %d of %d", lacking, len(facts))
	} else if limited > 0 {
		verdict += ", with the limits above"
	}
	_, err := fmt.Fprintf(w, "\n%s\n", verdict)
	return err
}

type factJSON struct {
	Name        string `json:"name"`
	OK          bool   `json:"ok"`
	Required    bool   `json:"required"`
	Detail      string `json:"detail"`
	Consequence string `json:"consequence,omitempty"`
	Fix         string `json:"fix,omitempty"`
}

func showFactsJSON(w io.Writer, facts []bpf.Fact) error {
	enc := plainJSON(w)
	for _, f := range facts {
		if err := enc.Encode(factJSON(f)); err != nil {
			return err
		}
	}
	return nil
}
