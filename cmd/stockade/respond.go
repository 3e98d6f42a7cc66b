package main

import (
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/agent"
)

// exitUnverified is the exit code of a response that is not verified.
const exitUnverified = 3

// respondVerbs stop workloads, or undo that.
func respondVerbs() []*cli.Command {
	return []*cli.Command{
		respondVerb(agent.VerbKill, "end every process of a workload, and verify that none lives",
			`The workload is locked down first: what its policies could decide is denied from
then on. Every process in its cgroups is killed, and every one that bears its mark in
others. Verified is that no cgroup of it, nor one beneath, holds a process, and that no
living task bears its mark. It stays locked down until unlock. Sockets that it handed
out, or that the kernel still empties, are not looked at.`),
		respondVerb(agent.VerbFreeze, "have every process of a workload stand still",
			`The workload is locked down first. Its cgroups are frozen, and what bears its mark in
others is stopped by a signal. Verified is that all cgroups say so, and all of the others
are stopped.`),
		respondVerb(agent.VerbThaw, "let a frozen workload go on", `What was frozen goes on, locked down as it was: unlock does both.`),
		respondVerb(agent.VerbLockdown, "deny a workload all that policies could decide, from now on",
			`What is open stays open, and what runs goes on: freeze or kill end that.`),
		respondVerb(agent.VerbUnlock, "undo lockdown and freeze", `The workload has its policies again, in the mode that it was declared or started
with, and what was frozen goes on.`),
	}
}

func respondVerb(verb, does, description string) *cli.Command {
	return &cli.Command{
		Name:      verb,
		Usage:     does,
		UsageText: "stockade " + verb + " NAME [OPTIONS]",
		Description: description + `

EXIT CODE:
   0 verified, 3 not verified, 2 not tried: a mistake, no such workload, or no agent

` + examples("stockade "+verb+" ci-runner", "stockade "+verb+" ci-runner --within 30s --json"),
		Flags: []cli.Flag{socketFlag(),
			&cli.DurationFlag{Name: "within", Value: 10 * time.Second, Usage: "wait for `DURATION` at most until it is verified"},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON object"},
		},
		Action: func(c *cli.Context) error { return respondAction(c, verb) },
	}
}

func respondAction(c *cli.Context, verb string) error {
	name, err := oneName(c, 1)
	if err != nil {
		return err
	}
	r, err := client(c).Respond(c.Context, name, agent.Respond{Verb: verb, Within: c.Duration("within")})
	if err != nil {
		return status{err, exitUsage}
	}
	if c.Bool("json") {
		enc := plainJSON(c.App.Writer)
		enc.SetIndent("", "  ")
		err = enc.Encode(r)
	} else {
		err = showResponse(c.App.Writer, &r)
	}
	if err == nil && !r.Verified {
		err = quietly(exitUnverified)
	}
	return err
}

// showResponse prints what was done, and what is left.
func showResponse(w io.Writer, r *agent.Response) error {
	text := fmt.Sprintf("%s: %s: %s\n", r.Workload, r.Verb, r.Outcome())
	for _, s := range r.Steps {
		failed := ""
		if s.Error != "" {
			failed = "  " + agent.Token(s.Error)
		}
		text += fmt.Sprintf("  %s  %8.3f s  %s%s\n", s.At.Format("15:04:05.000"), s.Seconds, s.Name, failed)
	}
	for _, path := range r.Populated {
		text += fmt.Sprintf("  left: processes in %s\n", agent.Token(path))
	}
	for _, p := range r.Left {
		text += fmt.Sprintf("  left: %s[%d] thread %d, state %s, waits in %s\n", agent.Token(p.Command), p.PID, p.TID, p.State, agent.Token(p.Wait))
	}
	for _, p := range r.Zombies {
		text += fmt.Sprintf("  ended, and nobody has asked how: %s[%d]\n", agent.Token(p.Command), p.PID)
	}
	_, err := io.WriteString(w, text)
	return err
}
