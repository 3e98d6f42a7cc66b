package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/agent"
)

// exitUnverified is the exit code of a response that is not verified.
const exitUnverified = 3

// respondVerbs stop workloads, or undo that.
func respondVerbs() []*cli.Command {
	return []*cli.Command{
		killVerb(),
		respondVerb(agent.VerbFreeze, "have every process of a workload stand still",
			`The workload is locked down first. Its cgroups are frozen, and what bears its mark in
others is stopped by a signal. Verified is that all cgroups say so, and all of the others
are stopped.`),
		respondVerb(agent.VerbThaw, "let a frozen workload go on", `What was frozen goes on, locked down as it was: unlock does both.`),
		respondVerb(agent.VerbLockdown, "deny a workload all that policies could decide, from now on",
			`What is open stays open, and what runs goes on: freeze or kill end that. New workloads
like it may start: lock ends that.`),
		respondVerb(agent.VerbUnlock, "undo lock, lockdown and freeze", `The workload has its policies again, in the mode that it was declared or started
with, and what was frozen goes on. A lock is undone by what it was made with: labels, a
principal, or --all, which ends every lock.`),
		lockVerb(), locksVerb(),
	}
}

// killVerb is a verb that takes evidence, too.
func killVerb() *cli.Command {
	verb := respondVerb(agent.VerbKill, "end every process of a workload, and verify that none lives",
		`The workload is locked down and frozen. Its TCP sockets are destroyed, so that nothing
more is sent, and evidence is taken: processes, open files, sockets, executables with
their SHA-256, policies, last denials, signed with this host's key. Then every process
in its cgroups is killed, and every one that bears its mark in others. Verified is that
no cgroup of it, nor one beneath, holds a process, that no living task bears its mark,
and that no socket of it is left. It stays locked down until unlock.`)
	verb.Flags = append(verb.Flags,
		&cli.StringFlag{Name: "evidence", TakesFile: true, Usage: "write the evidence to `FILE`, which must be new (default: one in /var/lib/stockade/evidence)"},
		&cli.BoolFlag{Name: "no-evidence", Usage: "take none: faster"},
		&cli.BoolFlag{Name: "values", Usage: "have it tell the values of environments too: they often are secrets"},
	)
	for _, f := range verb.Flags {
		if d, ok := f.(*cli.DurationFlag); ok {
			d.Usage = "kill by the end of `DURATION`, whatever evidence is missing then; and wait as long again until it is verified"
		}
	}
	return verb
}

// selectFlags select workloads otherwise than by a name.
func selectFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "all", Usage: "every workload of this host, in place of NAME"},
		&cli.StringSliceFlag{Name: "label", Usage: "every workload with the label `KEY=VALUE`, in place of NAME; with several it has all of them"},
		&cli.StringFlag{Name: "principal", Usage: "every workload that acts for `PRINCIPAL`, for example 'User::\"ci\"', in place of NAME"},
	}
}

// selection reads those flags; ok says that one was given.
func selection(c *cli.Context) (s agent.Selection, ok bool, err error) {
	if !c.Bool("all") && len(c.StringSlice("label")) == 0 && !c.IsSet("principal") {
		return s, false, nil
	}
	if c.NArg() > 0 {
		return s, true, usage(c, "%s: a name, and a selection: nothing was done; leave one out", c.Args().First())
	}
	s = agent.Selection{All: c.Bool("all"), Principal: c.String("principal")}
	if s.Labels, err = agent.ParseLabels(c.StringSlice("label")); err == nil {
		s, err = s.Canonical()
	}
	if err != nil {
		return s, true, usage(c, "%w: nothing was done", err)
	}
	return s, true, nil
}

// subject is the name of the workload that a verb is about.
func subject(c *cli.Context, otherwise string) (string, error) {
	if c.NArg() > 1 {
		if otherwise != "" {
			otherwise = ", or select several by --label, --principal or --all"
		}
		return "", usage(c, "%s: %d names: nothing was done; give one at a time%s", c.Command.Name, c.NArg(), otherwise)
	}
	if c.Args().First() == "" {
		return "", usage(c, "%s: not one workload: nothing was done; give the name of one, as `stockade ps` shows it%s", c.Command.Name, otherwise)
	}
	return c.Args().First(), nil
}

// thisHost is where workloads are: who names an agent means that one alone.
func thisHost(c *cli.Context) *agent.Host {
	host := agent.ThisHost(c.String("socket"))
	if c.IsSet("socket") {
		host.Runs, host.Deputy = nil, nil
	}
	host.Notice = func(text string) { fmt.Fprintf(c.App.ErrWriter, "stockade: %s\n", text) }
	return host
}

func respondVerb(verb, does, description string) *cli.Command {
	return &cli.Command{
		Name:      verb,
		Usage:     does,
		UsageText: "stockade " + verb + " NAME | --all | --label KEY=VALUE | --principal PRINCIPAL [OPTIONS]",
		Description: description + `

EXIT CODE:
   0 verified, 3 not verified, 2 not tried: a mistake, or no such workload (with --all:
   there is none)

` + examples("stockade "+verb+" ci-runner", "stockade "+verb+" ci-runner --within 30s --json", "stockade "+verb+" --label team=payments"),
		Flags: append(selectFlags(), socketFlag(),
			&cli.DurationFlag{Name: "within", Value: 10 * time.Second, Usage: "wait for `DURATION` at most until it is verified"},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON object"},
		),
		Action: func(c *cli.Context) error { return respondAction(c, verb) },
	}
}

func respondAction(c *cli.Context, verb string) error {
	s, several, err := selection(c)
	if err != nil {
		return err
	}
	if c.IsSet("within") && c.Duration("within") <= 0 {
		return usage(c, "--within %v: no time: nothing was done; give more, or leave it out", c.Duration("within"))
	}
	ask := agent.Respond{Verb: verb, Within: c.Duration("within"), NoEvidence: c.Bool("no-evidence"), Values: c.Bool("values")}
	if file := c.String("evidence"); file != "" {
		if ask.NoEvidence {
			return usage(c, "--evidence and --no-evidence: one wants what the other leaves out: nothing was done; leave one out")
		}
		if several {
			return usage(c, "--evidence %s: one file, for several workloads: nothing was done; leave it out, then each has one of its own in /var/lib/stockade/evidence, or kill them one at a time", file)
		}
		if ask.Evidence, err = filepath.Abs(file); err != nil {
			return err
		}
	}
	host := thisHost(c)
	var all agent.Responses
	switch {
	case !several:
		name, failed := subject(c, ", or --all, --label or --principal")
		if failed != nil {
			return failed
		}
		all, err = host.Respond(c.Context, name, ask)
	case verb == agent.VerbUnlock:
		all, err = host.Unlock(c.Context, s)
	default:
		all, err = host.RespondMany(c.Context, s, ask)
	}
	return tell(c, all, several, err)
}

// tell shows responses; the exit code says whether all are verified.
func tell(c *cli.Context, all agent.Responses, several bool, err error) error {
	switch {
	case errors.Is(err, agent.ErrUncertain):
		return status{err, exitUnverified}
	case err != nil:
		return status{err, exitUsage}
	}
	if all.Responses == nil {
		all.Responses = []agent.Response{}
	}
	unverified := 0
	for i := range all.Responses {
		if !all.Responses[i].Verified {
			unverified++
		}
	}
	if c.Bool("json") {
		enc := plainJSON(c.App.Writer)
		enc.SetIndent("", "  ")
		if several || len(all.Responses) != 1 {
			err = enc.Encode(all)
		} else {
			err = enc.Encode(all.Responses[0])
		}
	} else {
		err = showResponses(c.App.Writer, &all, unverified)
	}
	if err == nil && unverified > 0 {
		err = quietly(exitUnverified)
	}
	return err
}

func lockVerb() *cli.Command {
	return &cli.Command{
		Name:      "lock",
		Usage:     "lock workloads down, and have no new ones like them start",
		UsageText: "stockade lock --all | --label KEY=VALUE | --principal PRINCIPAL [--reason TEXT]",
		Description: `What is selected is locked down now. Until ` + "`stockade unlock`" + ` with the same selection,
also across reboots, a stockade run like it is refused, and cgroups that appear for such a
workload are denied everything. Who is refused is told who locked it, when and why. What
runs goes on: freeze or kill it.

EXIT CODE:
   0 locked, 3 not everything could be locked down, 2 not tried

` + examples(`stockade lock --label team=payments --reason "INC-4711"`, `stockade lock --principal 'User::"ci"'`, `stockade unlock --label team=payments`),
		Flags: append(selectFlags(), socketFlag(),
			&cli.StringFlag{Name: "reason", Usage: "`TEXT` for who is refused, and for auditors"},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON object"},
		),
		Action: func(c *cli.Context) error {
			s, ok, err := selection(c)
			switch {
			case err != nil:
				return err
			case !ok && c.NArg() > 0:
				return usage(c, "%s: a name is not locked: nothing was done; lock down one workload by `stockade lockdown %s`", c.Args().First(), c.Args().First())
			case !ok:
				return usage(c, "lock: nothing is selected: nothing was done; give --all, --label KEY=VALUE or --principal PRINCIPAL")
			}
			all, err := thisHost(c).Lock(c.Context, s, c.String("reason"))
			return tell(c, all, true, err)
		},
	}
}

func locksVerb() *cli.Command {
	return &cli.Command{
		Name:      "locks",
		Usage:     "show what is locked, by whom and why",
		UsageText: "stockade locks [--json]",
		Description: `EXIT CODE:
   0, 1 if it cannot be known

` + examples("stockade locks", "stockade locks --json | jq '.[].reason'"),
		Flags: []cli.Flag{socketFlag(), &cli.BoolFlag{Name: "json", Usage: "print a JSON array"}},
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			list, err := thisHost(c).Locks(c.Context)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return plainJSON(c.App.Writer).Encode(append([]agent.Lock{}, list...))
			}
			if len(list) == 0 {
				fmt.Fprintln(c.App.Writer, "nothing is locked")
			}
			for i := range list {
				fmt.Fprintln(c.App.Writer, list[i].Line())
			}
			return nil
		},
	}
}

// showResponses prints what was done to each, and what that came to.
func showResponses(w io.Writer, all *agent.Responses, unverified int) error {
	if l := all.Lock; l != nil {
		fmt.Fprintf(w, "locked: %s\n  nothing new of it starts until `stockade unlock %s`\n", l.Line(), l.Selection)
		if all.LockedBefore {
			fmt.Fprintf(w, "  %s\n", l.Before())
		}
	}
	for i := range all.Ended {
		fmt.Fprintf(w, "unlocked: %s\n", all.Ended[i].Line())
	}
	if all.Lock == nil && len(all.Ended)+len(all.Responses) == 0 {
		fmt.Fprintln(w, "nothing was locked, and there is no workload: nothing was done")
	}
	for i := range all.Responses {
		if err := showResponse(w, &all.Responses[i], all.Lock); err != nil {
			return err
		}
	}
	if n := len(all.Responses); n > 1 {
		_, err := fmt.Fprintf(w, "%s: %d verified, %d NOT\n", agent.Plural(uint64(n), "workload"), n-unverified, unverified)
		return err
	}
	return nil
}

// came says what a kill came to, in numbers.
func came(r *agent.Response) string {
	if r.Verb != agent.VerbKill || len(r.Steps) < 2 {
		return ""
	}
	text := " (there were no processes"
	if r.Processes > 0 {
		text = " (" + agent.Plural(r.Processes, "process")
	}
	if r.Destroyed > 0 {
		text += fmt.Sprintf(", %s cut", agent.Plural(r.Destroyed, "connection"))
	}
	return text + ")"
}

// aboutEvidence says where it is, and what it lacks.
func aboutEvidence(r *agent.Response) string {
	switch e := r.Evidence; {
	case r.NoEvidence():
		return "  NO EVIDENCE was kept: see the step that failed\n"
	case e == nil:
		return ""
	case len(e.Missing) > 0:
		return fmt.Sprintf("  evidence, INCOMPLETE: %s, SHA-256 %s\n  missing in it: %s\n", agent.Token(e.Path), e.SHA256, strings.Join(e.Missing, " "))
	default:
		return fmt.Sprintf("  evidence: %s, SHA-256 %s\n", agent.Token(e.Path), e.SHA256)
	}
}

// showResponse prints what was done, and what is left; by is the lock that asked for it,
// if one did.
func showResponse(w io.Writer, r *agent.Response, by *agent.Lock) error {
	text := fmt.Sprintf("%s: %s: %s%s\n%s%s", r.Workload, r.Verb, r.Outcome(), came(r), was(r), aboutEvidence(r))
	switch {
	case r.Unattended && r.OwnSet:
		text += "  nobody answered for it; its denials are read once its run goes on: kill -CONT that, if it was stopped\n"
	case r.Unattended:
		text += "  nobody answered for it; its denials are read once somebody does: start the agent\n"
	}
	text += steps(r.Steps)
	for _, path := range r.Populated {
		text += fmt.Sprintf("  left: processes in %s\n", agent.Token(path))
	}
	for _, p := range r.Left {
		text += fmt.Sprintf("  left: %s[%d] thread %d, state %s, waits in %s\n", agent.Token(p.Command), p.PID, p.TID, p.State, agent.Token(p.Wait))
	}
	for _, s := range r.Sockets {
		text += fmt.Sprintf("  left: socket %s %s %s to %s, %s to send\n", s.Protocol, s.State, agent.Token(s.Local), agent.Token(s.Peer), agent.Plural(s.SendQueue, "byte"))
	}
	for _, p := range r.Returned {
		text += fmt.Sprintf("  brought back from cgroup %s: %s[%d]\n", agent.Token(p.Cgroup), agent.Token(p.Command), p.PID)
	}
	for _, h := range r.Handed {
		text += fmt.Sprintf("  %s[%d] has, from it or with it: socket %d %s %s %s\n", agent.Token(h.Command), h.PID, h.Socket.Inode, h.Socket.Family, h.Socket.Protocol, agent.Token(h.Socket.Local))
	}
	for _, ring := range r.Rings {
		if ring.Begun == 0 {
			continue
		}
		n := "an unknown number of requests"
		if ring.Begun > 0 {
			n = agent.Plural(ring.Begun, "request")
		}
		text += fmt.Sprintf("  process %d had an io_uring, descriptor %d, with %s begun: what waits for a device the kernel may still finish\n", ring.PID, ring.Descriptor, n)
	}
	for _, p := range r.Zombies {
		text += fmt.Sprintf("  ended, and nobody has asked how: %s[%d]\n", agent.Token(p.Command), p.PID)
	}
	text += stays(r, by)
	_, err := io.WriteString(w, text)
	return err
}
