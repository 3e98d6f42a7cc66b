package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/agent"
)

func inspectVerb() *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "show the processes of a workload, its counts and last denials",
		UsageText: "stockade inspect NAME [--json]",
		Description: `What is shown of processes is what /proc tells: names and command lines are their own
choice. One that keeps its memory from being read is shown without its command line.

EXIT CODE:
   0, 2 if there is no such workload

` + examples("stockade inspect ci-runner", "stockade inspect ci-runner --json | jq '.processes.processes[].args'"),
		Flags: []cli.Flag{socketFlag(), &cli.BoolFlag{Name: "json", Usage: "print one JSON object, with the last denials"}},
		Action: func(c *cli.Context) error {
			name, err := oneName(c, 1)
			if err != nil {
				return err
			}
			i, err := thisHost(c).Inspect(c.Context, name)
			if err != nil {
				return status{err, exitUsage}
			}
			if c.Bool("json") {
				return plainJSON(c.App.Writer).Encode(i)
			}
			return showInspection(c.App.Writer, &i)
		},
	}
}

// shown is how many denials are shown: JSON has more.
const shown = 10

func showInspection(w io.Writer, i *agent.Inspection) error {
	x := &i.Workload
	text := fmt.Sprintf("%s: mode %s, generation %d, policies %s (%s)\n", x.Name, x.Mode, x.Generation, orDash(x.Digest), x.Origin)
	text += fmt.Sprintf("  principal %s, labels %s\n  cgroups %s\n", orDash(x.Principal), orDash(x.Labels.String()), orDash(strings.Join(x.Cgroups, " ")))
	text += fmt.Sprintf("  allowed %d, denied %d: delivered %d, dropped %d, lost %d\n", x.Allowed, x.Denied, x.Delivered, x.Dropped, x.Lost)
	if x.Locked != nil {
		text += fmt.Sprintf("  %s\n", x.Locked)
	}
	var doc agent.ProcessDocument
	if err := json.Unmarshal(i.Processes, &doc); err != nil {
		return fmt.Errorf("inspect: %w: use the agent's own build", err)
	}
	text += agent.Plural(uint64(len(doc.Processes)), "process") + "\n" + tree(doc.Processes)
	if doc.Incomplete != "" {
		text += "  incomplete: " + agent.Token(doc.Incomplete) + "\n"
	}
	if n := len(i.Denials); n > 0 {
		text += fmt.Sprintf("the last %s\n", agent.Plural(uint64(min(n, shown)), "denial"))
	}
	for _, d := range i.Denials[max(0, len(i.Denials)-shown):] {
		var one struct {
			Time            time.Time
			Action, Path    string
			Exe, Comm, Mode string
			PID             int
		}
		if json.Unmarshal(d, &one) == nil {
			text += fmt.Sprintf("  %s  %s %s by %s[%d]\n", one.Time.Format("15:04:05.000"), one.Action, agent.Token(one.Path), agent.Token(one.Comm), one.PID)
		}
	}
	_, err := io.WriteString(w, text)
	return err
}

// tree lists processes below their parents.
func tree(list []agent.ProcessRecord) string {
	known, children := map[int]bool{}, map[int][]*agent.ProcessRecord{}
	for i := range list {
		known[list[i].PID] = true
	}
	for i := range list {
		parent := list[i].PPID
		if !known[parent] || parent == list[i].PID {
			parent = 0
		}
		children[parent] = append(children[parent], &list[i])
	}
	var text strings.Builder
	var below func(pid, depth int)
	below = func(pid, depth int) {
		for _, p := range children[pid] {
			words := make([]string, len(p.Args))
			for i, arg := range p.Args {
				words[i] = agent.Token(arg)
			}
			line := strings.Join(words, " ")
			if len(line) > maxLine {
				line = strings.ToValidUTF8(line[:maxLine], "") + "…"
			}
			if p.Unread != "" {
				line = "(" + agent.Token(p.Unread) + ")"
			}
			fmt.Fprintf(&text, "  %s%d %s [%s] %s\n", strings.Repeat("  ", min(depth, maxIndent)), p.PID, p.State, agent.Token(p.Comm), line)
			below(p.PID, depth+1)
		}
	}
	below(0, 0)
	return text.String()
}

// How much of a command line is shown, and how far a tree is indented.
const (
	maxLine   = 200
	maxIndent = 20
)
