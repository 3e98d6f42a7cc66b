package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/agent"
	"github.com/stockade-dev/stockade/bpf"
)

func doctorVerb() *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "say what this host has and lacks",
		Description: `Looks for everything that enforcement needs, changes nothing, and names a fix
for each lack. It also has the kernel list sockets, as kill does, for which the kernel
loads modules where it can. What only limits stockade kill is no failure.

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
	facts := append(bpf.Probe(), socketFacts(agent.ProbeSockets())...)
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

// socketFacts says what kill can do of sockets. No lack of it keeps anything from being
// enforced.
func socketFacts(a agent.SocketAbility, err error) []bpf.Fact {
	if err != nil {
		return []bpf.Fact{{Name: "sockets", Detail: err.Error(), Consequence: "`stockade kill` may not find or cut the connections of a workload, which then is NOT STOPPED",
			Fix: "run as root; if you do, boot a kernel with CONFIG_INET_DIAG (Debian's have it)"}}
	}
	var facts []bpf.Fact
	if modules := slices.Sorted(maps.Keys(a.Unlisted)); len(modules) > 0 {
		var protocols []string
		for _, module := range modules {
			protocols = append(protocols, a.Unlisted[module]...)
		}
		f := bpf.Fact{Name: "modules for sockets", Detail: "not loaded: " + strings.Join(modules, ", "),
			Consequence: "the kernel does not list sockets of " + strings.Join(protocols, ", ") + ": a workload that has one is NOT STOPPED by `stockade kill`",
			Fix:         fmt.Sprintf("modprobe -a %s, and write them to /etc/modules-load.d/stockade.conf, a line each, so that they are loaded at boot", strings.Join(modules, " "))}
		if !a.Connections() {
			f.Consequence += "; nor is any other, while this host has a TCP socket"
		}
		facts = append(facts, f)
	}
	if !a.Destroys && a.Connections() {
		facts = append(facts, bpf.Fact{Name: "destroying sockets", Detail: "the kernel refuses",
			Consequence: "`stockade kill` cuts no connection: what a workload has written is still sent after its end, and until then it is NOT STOPPED",
			Fix:         "boot a kernel with CONFIG_INET_DIAG_DESTROY=y (Debian's have it)"})
	}
	if len(facts) == 0 {
		facts = append(facts, bpf.Fact{Name: "sockets", OK: true, Detail: "listed and destroyed"})
	}
	return facts
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
