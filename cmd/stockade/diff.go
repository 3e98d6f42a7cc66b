package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/compiler"
	"github.com/stockade-dev/stockade/compiler/report"
)

// Exit codes of diff and explain, those of diff(1) and grep(1).
const (
	exitYes = 0 // equal; allowed
	exitNo  = 1 // different; not allowed
	// exitUsage: it is not known, for any reason.
)

func diffVerb() *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "show what a change of policies allows and denies",
		UsageText: "stockade diff [OPTIONS] OLD NEW",
		Description: `Compares what two policy sets decide, not how they are written: it finds every
request that OLD and NEW answer differently, and prints nothing exactly if there
is none. OLD and NEW are files, or folders of *.cedar files; --policy names more
policies, for both.

Each change is a heading, the places it is about, and one request for which it can
be seen ("for example"). /a is that path itself; "/a (as a directory)" that path if
it is a directory, and not if it is a file; /a/** everything beneath /a; "some of
/a/**" what patterns pick there. "denied as before, newly responded to (@respond)":
the verdict stays, and who is denied is now locked down with it, at least.

With --json, "witness" is the example; of a place, "file" and "dir" say that the
path itself is meant as a file, as a directory; "beneath" everything below it;
"some" that patterns pick what of it; "except" what is not meant. "old" and "new"
are the verdicts; "old_responded" and "new_responded" whether @respond acts.

Not compared: what the agent answers where both sets ask it (diff says so), and
which of the responses @respond names.

EXIT CODE:
   0 if both decide every request alike, 1 if not, 2 if they could not be
   compared: the command line is wrong or policies do not compile

` + examples(
			`stockade diff old.cedar new.cedar`,
			`stockade diff --baseline runtime --principal 'User::"alice"' old/ new/`,
			`stockade diff --json old.cedar new.cedar`,
		),
		Flags: append([]cli.Flag{policyFlag()}, append(inputFlags("none"),
			&cli.BoolFlag{Name: "all", Usage: "print all changes and places, however many"},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON object, with all changes"})...),
		Action: func(c *cli.Context) error { return unknown(diffAction(c)) },
	}
}

// unknown gives errors that have no exit code the one of a question without an
// answer.
func unknown(err error) error {
	if _, coded := err.(cli.ExitCoder); coded || err == nil {
		return err
	}
	return status{err, exitUsage}
}

func diffAction(c *cli.Context) error {
	if c.NArg() != 2 {
		return usage(c, "policies: %d given: nothing was compared; name two files or folders, OLD and NEW", c.NArg())
	}
	var plans [2]*compiler.Plan
	for i := range plans {
		in, err := readInput(c, append([]string{c.Args().Get(i)}, c.StringSlice("policy")...))
		if err != nil {
			return err
		}
		if plans[i], err = compiler.Compile(in); err != nil {
			return err
		}
	}
	changes, err := compiler.Diff(plans[0], plans[1])
	if err != nil {
		return err
	}
	open := compiler.DifferentAsks(plans[0], plans[1])
	if c.Bool("json") {
		err = report.ChangesJSON(c.App.Writer, changes, open)
	} else {
		err = report.Changes(c.App.Writer, changes, open, c.Bool("all"))
	}
	if err != nil {
		return fmt.Errorf("output: %w: it is not complete; check where it goes", err)
	}
	if len(changes) > 0 {
		return quietly(exitNo)
	}
	return nil
}
