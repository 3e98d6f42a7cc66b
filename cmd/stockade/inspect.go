package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
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
choice. One that keeps its memory from being read is shown without its command line. One that
left the cgroups of its workload, or was moved out, is confined as before: it is shown with the
cgroup in which it is now.

EXIT CODE:
   0, 2 if there is no such workload

` + examples("stockade inspect ci-runner", "stockade inspect ci-runner --json | jq '.processes.processes[].args'"),
		Flags: []cli.Flag{socketFlag(), &cli.BoolFlag{Name: "json", Usage: "print one JSON object, with the last denials"}},
		Action: func(c *cli.Context) error {
			name, err := subject(c, "")
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

// shown is how many kinds of denials are shown: JSON has all.
const shown = 10

func showInspection(w io.Writer, i *agent.Inspection) error {
	x := &i.Workload
	var doc agent.ProcessDocument
	if err := json.Unmarshal(i.Processes, &doc); err != nil {
		return fmt.Errorf("inspect: %w: use the agent's own build", err)
	}
	text := fmt.Sprintf("%s: mode %s, %s\n", x.Name, modeOf(x), agent.Plural(len(doc.Processes), "process"))
	if x.Locked != nil {
		text += fmt.Sprintf("  %s\n", x.Locked)
	}
	if by := stoppedBy(x); by != "" {
		text += fmt.Sprintf("  %s\n", by)
	}
	text += fmt.Sprintf("  principal %s, labels %s\n  cgroups %s\n", orDash(x.Principal), orDash(x.Labels.String()), orDash(strings.Join(x.Cgroups, " ")))
	text += fmt.Sprintf("  allowed %d, denied %d: delivered %d, dropped %d, lost %d\n", x.Allowed, x.Denied, x.Delivered, x.Dropped, x.Lost)
	text += fmt.Sprintf("  generation %d, policies %s (%s)\n", x.Generation, orDash(x.Digest), x.Origin)
	text += "processes: number, user, state, name, command line\n" + tree(doc.Processes, i.Outside)
	if doc.Incomplete != "" {
		text += "  incomplete: " + agent.Token(doc.Incomplete) + "\n"
	}
	text += denials(i.Denials, x.Denied)
	_, err := io.WriteString(w, text)
	return err
}

// denial is what is shown of one.
type denial struct {
	Time             time.Time
	Actions          []string
	Path, Exe        string
	Reason, Boundary string
	Policies         []struct{ ID, Reason string }
}

// denials lists the last ones, those that are alike together, the latest last.
func denials(list []json.RawMessage, denied uint64) string {
	type group struct {
		text string
		n    int
		last time.Time
	}
	var groups []*group
	known := map[string]*group{}
	for _, raw := range list {
		var d denial
		if json.Unmarshal(raw, &d) != nil {
			continue
		}
		why := d.Reason
		for _, p := range d.Policies {
			why = "policy " + p.ID
			if p.Reason != "" {
				why += fmt.Sprintf(" (%q)", p.Reason)
			}
		}
		text := fmt.Sprintf("%s %s by %s: %s", strings.Join(d.Actions, ","), agent.Token(d.Path), agent.Token(d.Exe), agent.Token(why))
		g := known[text]
		if g == nil {
			g = &group{text: text}
			known[text] = g
			groups = append(groups, g)
		}
		g.n, g.last = g.n+1, d.Time
	}
	switch {
	case len(groups) == 0 && denied == 0:
		return "nothing was denied\n"
	case len(groups) == 0:
		return "no denial is kept here: what was denied is in its log, or waits for who does not answer\n"
	}
	slices.SortStableFunc(groups, func(a, b *group) int { return a.last.Compare(b.last) })
	text := fmt.Sprintf("of the last %s, with the time of the latest\n", agent.Plural(uint64(len(list)), "denial"))
	for _, g := range groups[max(0, len(groups)-shown):] {
		text += fmt.Sprintf("  %s  %3d x %s\n", g.last.UTC().Format("2006-01-02 15:04:05Z"), g.n, g.text)
	}
	return text
}

// tree lists processes below their parents, with where those are that left the cgroups.
func tree(list []agent.ProcessRecord, outside []agent.Outside) string {
	left := map[int]string{}
	for _, p := range outside {
		left[p.PID] = "  (left its cgroup, and is in " + agent.Token(p.Cgroup) + ")"
	}
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
			uid := "?"
			if p.UID != nil {
				uid = fmt.Sprint(*p.UID)
			}
			fmt.Fprintf(&text, "  %s%d %s %s [%s] %s%s\n", strings.Repeat("  ", min(depth, maxIndent)), p.PID, uid, p.State, agent.Token(p.Comm), line, left[p.PID])
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
