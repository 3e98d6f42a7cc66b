package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/agent"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// Exit codes of diff and explain, those of diff(1) and grep(1).
const (
	exitYes = 0 // equal; allowed
	exitNo  = 1 // different; not allowed
	// exitUsage: it is not known, for any reason.
)

// Limits of what diff prints without --all.
const (
	maxChanges = 20
	maxPlaces  = 6
)

func diffVerb() *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "show what a change of policies allows and denies",
		UsageText: "stockade diff [OPTIONS] OLD NEW",
		Description: `Compares what two policy sets decide, not how they are written: it finds every
request that OLD and NEW answer differently, and prints nothing exactly if there
is none. OLD and NEW are files, or folders of *.cedar files; --policy names more
policies, for both. /a/** is everything beneath /a.

What the agent answers where both sets ask it is not compared; diff says so.

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
		err = diffJSON(c.App.Writer, changes, open)
	} else {
		err = diffText(c.App.Writer, changes, open, c.Bool("all"))
	}
	if err != nil {
		return fmt.Errorf("output: %w: it is not complete; check where it goes", err)
	}
	if len(changes) > 0 {
		return quietly(exitNo)
	}
	return nil
}

func diffText(w io.Writer, changes []compiler.Change, open, all bool) error {
	places, shown := maxPlaces, changes[:min(len(changes), maxChanges)]
	if all {
		places, shown = 0, changes
	}
	for _, change := range shown {
		if err := writeChange(w, "", &change, places); err != nil {
			return err
		}
	}
	if n := len(changes) - len(shown); n > 0 {
		if _, err := fmt.Fprintf(w, "and %s: use --all\n", agent.Plural(n, "more change")); err != nil {
			return err
		}
	}
	if open {
		_, err := fmt.Fprintln(w, "not compared: what the agent answers where both ask it: the conditions that it evaluates differ")
		return err
	}
	return nil
}

func writeChange(w io.Writer, indent string, change *compiler.Change, places int) error {
	if _, err := fmt.Fprintf(w, "%s%s\n", indent, change.Heading()); err != nil {
		return err
	}
	for _, line := range change.Lines(places) {
		if _, err := fmt.Fprintf(w, "%s    %s\n", indent, line); err != nil {
			return err
		}
	}
	return nil
}

// changeJSON is a change as programs read it.
type changeJSON struct {
	Old     string              `json:"old"`
	New     string              `json:"new"`
	Was     bool                `json:"old_reported,omitempty"`
	Is      bool                `json:"new_reported,omitempty"`
	Actions map[string][]string `json:"actions"`
	Places  []placeJSON         `json:"places"`
	Globs   []map[string]string `json:"globs,omitempty"`
	Facts   []string            `json:"facts,omitempty"`
	Witness map[string]any      `json:"witness"`
}

type placeJSON struct {
	Path    string      `json:"path"`
	File    bool        `json:"file,omitempty"`
	Dir     bool        `json:"dir,omitempty"`
	Beneath bool        `json:"beneath,omitempty"`
	Some    bool        `json:"some,omitempty"`
	Except  []placeJSON `json:"except,omitempty"`
}

func diffJSON(w io.Writer, changes []compiler.Change, open bool) error {
	out := struct {
		Equal       bool         `json:"equal"`
		Changes     []changeJSON `json:"changes"`
		NotCompared bool         `json:"asks_not_compared,omitempty"`
	}{len(changes) == 0, changesJSON(changes), open}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(out)
}

func changesJSON(changes []compiler.Change) []changeJSON {
	list := make([]changeJSON, len(changes))
	for i, c := range changes {
		x := changeJSON{Old: c.Old.Verdict.String(), New: c.New.Verdict.String(), Was: c.Old.Reported, Is: c.New.Reported, Actions: map[string][]string{}}
		for _, g := range c.Globs {
			x.Globs = append(x.Globs, map[string]string{"pattern": g.Pattern, "path": g.Path})
		}
		for k, mask := range c.Actions {
			for _, a := range mask.Actions() {
				x.Actions[abi.Kind(k).String()] = append(x.Actions[abi.Kind(k).String()], a.String())
			}
		}
		x.Witness = map[string]any{"action": c.Witness.Action.String(), "type": "file_system::" + c.Witness.Kind.String(), "path": c.Witness.Path}
		for _, d := range c.Needs {
			x.Facts = append(x.Facts, compiler.FactNames[d])
			x.Witness[compiler.FactNames[d]] = compiler.FactValue(d, c.Witness.Facts)
		}
		for _, p := range c.Places {
			place := placeJSON{Path: p.Path, File: p.Self[abi.File], Dir: p.Self[abi.Dir], Beneath: p.Beneath, Some: p.Some}
			for _, e := range p.Except {
				place.Except = append(place.Except, placeJSON{Path: e.Path, File: e.Self[abi.File], Dir: e.Self[abi.Dir], Beneath: e.Beneath})
			}
			x.Places = append(x.Places, place)
		}
		list[i] = x
	}
	return slices.Clip(list)
}
