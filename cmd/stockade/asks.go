package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/agent"
	"github.com/stockade-dev/stockade/compiler"
)

func asksVerb() *cli.Command {
	return &cli.Command{
		Name:      "asks",
		Usage:     "show what was denied because a policy asks about it",
		UsageText: "stockade asks [--json]",
		Description: `Policies may depend on what the kernel does not know: the arguments of a program,
user names. What they ask about is denied, with a ticket; ` + "`approve`" + ` and
` + "`refuse`" + ` answer it, and a retry then succeeds or fails by that answer. The
latest question comes last.

EXIT CODE:
   0, 1 if there is no agent, 2 if the command line is wrong

` + examples(`sudo stockade asks`, `sudo stockade asks --json | jq -r '.asks[].id'`),
		Flags:  []cli.Flag{socketFlag(), &cli.BoolFlag{Name: "json", Usage: "print all that is known, as one JSON object"}},
		Action: asksAction,
	}
}

func asksAction(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	asks, err := client(c).Asks(c.Context)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return plainJSON(c.App.Writer).Encode(asks)
	}
	return showAsks(c.App.Writer, asks)
}

func showAsks(w io.Writer, asks agent.Asks) error {
	for _, a := range asks.Asks {
		by := ""
		if a.Exe != "" {
			by = " by " + compiler.Printable(a.Exe)
		}
		fmt.Fprintf(w, "%s  %s  %s %s %s%s, count %d, last at %s\n", a.ID, a.Workload, strings.Join(a.Actions, ","), strings.ToLower(a.Kind),
			compiler.Printable(a.Path), by, a.Count, a.Last.Local().Format(time.TimeOnly))
		for _, wait := range a.Waits {
			fmt.Fprintf(w, "    policy %s waits for `%s`: %s\n", compiler.Printable(wait.Policy), compiler.Printable(wait.Expression), wait.Reason)
		}
	}
	switch {
	case asks.Forgotten > 0:
		_, err := fmt.Fprintf(w, "%s had to make room\n", agent.Plural(asks.Forgotten, "older question"))
		return err
	case len(asks.Asks) == 0:
		_, err := fmt.Fprintln(w, "nothing waits for an answer")
		return err
	}
	return nil
}

func approveVerb() *cli.Command {
	return answerVerb("approve", "let what a policy asks about be allowed", true,
		`Takes what the asking policies cannot decide to favour the request: the path of the
ticket, or with --scope its directory or every path. Everything else still counts:
the rest of the condition, and other policies that forbid it. The kernel ends it
in time, whether or not an agent runs; a rollback ends it at once.

With --times, so many operations are allowed and no more: each of those that wait
for the agent's answer, executions and on newer kernels opens, and that it cannot
answer by the policies. --for ends it as well.`,
		`sudo stockade approve 3f9a01c2`, `sudo stockade approve 3f9a01c2 --for 10m --scope dir`, `sudo stockade approve 3f9a01c2 --times 1`)
}

func refuseVerb() *cli.Command {
	return answerVerb("refuse", "let what a policy asks about be denied", false,
		`Takes what the asking policies cannot decide to be against the request, so that no
new ticket is made for it.`,
		`sudo stockade refuse 3f9a01c2 --for 24h`)
}

func answerVerb(name, text string, allow bool, description string, lines ...string) *cli.Command {
	synopsis := "stockade " + name + " TICKET [--for TIME] [--scope file|dir|policy]"
	flags := []cli.Flag{socketFlag(),
		&cli.DurationFlag{Name: "for", Value: time.Hour, Usage: "how long the answer holds, a `TIME` like 90s or 1h; 0 is until a rollback"},
		&cli.StringFlag{Name: "scope", Value: "file", Usage: "file: that path; dir: everything in its directory; policy: every path"},
	}
	if allow {
		synopsis += " [--times N]"
		flags = append(flags, &cli.IntFlag{Name: "times", Usage: "allow `N` operations, of those that wait for the agent; no limit if it is not given"})
	}
	return &cli.Command{
		Name:        name,
		Usage:       text,
		UsageText:   synopsis,
		Description: description + "\n\nEXIT CODE:\n   0, 1 if the agent refuses, 2 if the command line is wrong\n\n" + examples(lines...),
		Flags:       flags,
		Action: func(c *cli.Context) error {
			id, err := oneName(c, 1)
			if err != nil {
				return err
			}
			seconds := int64(c.Duration("for").Seconds())
			if c.Duration("for") < 0 || c.Duration("for") > 0 && seconds == 0 {
				return usage(c, "--for %v: not a number of seconds: nothing was done; use a TIME like 90s or 1h", c.Duration("for"))
			}
			if c.Int("times") < 0 || c.IsSet("times") && c.Int("times") == 0 {
				return usage(c, "--times %d: not a number of operations: nothing was done; use one from 1", c.Int("times"))
			}
			change, err := client(c).Answer(c.Context, id, agent.Answer{Allow: allow, Seconds: seconds, Scope: c.String("scope"), Times: c.Int("times")})
			if err != nil {
				return err
			}
			return showChange(c, change)
		},
	}
}
