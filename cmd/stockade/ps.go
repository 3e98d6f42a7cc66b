package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/agent"
)

func psVerb() *cli.Command {
	return &cli.Command{
		Name:      "ps",
		Usage:     "show the workloads of this host",
		UsageText: "stockade ps [--pid PID] [--json]",
		Description: `One line a workload: its mode, the generation and the beginning of the digest of
its policy set, where that comes from (config, applied, rolled back; run: a
stockade run; removed: no longer in the configuration, but still confining), its tasks, cgroups and counts.
DENIED counts refusals; of their events DELIVERED were logged and DROPPED or lost
were not, for want of room. A run that has a set of its own (--agent=never) tells its
DELIVERED at its end. Then whether responses are disarmed; errors: of the last reload, and of workloads; locks; and who
stopped a workload, when and by what.

With --pid only the workload that a process is in: that whose cgroup it is in, else that
whose mark it bears, wherever it was moved; then a line says so.

EXIT CODE:
   0, 1 if there is neither an agent nor a run, or it cannot be known, 2 if the command
   line is wrong, or the process is in no workload

` + examples(`sudo stockade ps`, `sudo stockade ps --json | jq .workloads`, `sudo stockade ps --pid 812`),
		Flags: []cli.Flag{socketFlag(),
			&cli.IntFlag{Name: "pid", Usage: "show the workload that the process `PID` is in, and no other"},
			&cli.BoolFlag{Name: "json", Usage: "print all that is known, as one JSON object"}},
		Action: psAction,
	}
}

func psAction(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	if c.IsSet("pid") {
		return psOf(c, c.Int("pid"))
	}
	s, err := thisHost(c).Status(c.Context)
	return show(c, s, err)
}

// show shows what there is, whatever could not be known.
func show(c *cli.Context, s agent.Status, err error) error {
	if err != nil && len(s.Workloads) == 0 {
		return err
	}
	if c.Bool("json") {
		return errors.Join(plainJSON(c.App.Writer).Encode(s), err)
	}
	return errors.Join(showStatus(c.App.Writer, s), err)
}

// psOf shows the workload that a process is in.
func psOf(c *cli.Context, pid int) error {
	if pid <= 0 {
		return usage(c, "--pid %d: not the number of a process: nothing was done; give one from 1 on", pid)
	}
	s, note, err := thisHost(c).StatusOf(c.Context, pid)
	if errors.Is(err, agent.ErrNoMember) {
		return status{err, exitUsage}
	}
	err = show(c, s, err)
	if note != "" && !c.Bool("json") {
		fmt.Fprintf(c.App.Writer, "\n%s\n", note)
	}
	return err
}

func showStatus(w io.Writer, s agent.Status) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tMODE\tGENERATION\tPOLICY\tORIGIN\tTASKS\tDENIED\tDELIVERED\tDROPPED\tCGROUPS\tPRINCIPAL\tLABELS")
	for _, x := range s.Workloads {
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n", x.Name, modeOf(&x), x.Generation, shortDigest(x.Digest), x.Origin,
			x.Tasks, x.Denied, x.Delivered, x.Dropped+x.Lost, orDash(strings.Join(x.Cgroups, " ")), orDash(x.Principal), orDash(x.Labels.String()))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if s.Disarmed != nil {
		fmt.Fprintf(w, "\nALARM: responses are disarmed since %s: policies and budgets lock down, and freeze and kill nobody; look at the policies, then `stockade reload`\n", s.Disarmed.UTC().Format(time.RFC3339))
	}
	if s.Error != "" {
		fmt.Fprintf(w, "\nthe last reload failed:\n%s\n", s.Error)
	}
	for _, x := range s.Workloads {
		if x.Locked != nil {
			fmt.Fprintf(w, "\n%s: %s\n", x.Name, x.Locked)
		}
		if text := stoppedBy(&x); text != "" {
			fmt.Fprintf(w, "\n%s: %s\n", x.Name, text)
		}
	}
	var told []string
	for _, x := range s.Workloads { // what is wrong with many is said once
		if x.Error == "" || slices.Contains(told, x.Error) {
			continue
		}
		told = append(told, x.Error)
		var names []string
		for _, y := range s.Workloads {
			if y.Error == x.Error {
				names = append(names, y.Name)
			}
		}
		fmt.Fprintf(w, "\n%s: %s\n", strings.Join(names, ", "), x.Error)
	}
	return nil
}

// stoppedBy tells what stopped a workload, by whom and when; "" if nothing did, or if that
// is not known any more.
func stoppedBy(x *agent.WorkloadStatus) string {
	if x.Mode != "lockdown" && !x.Frozen {
		return ""
	}
	var list []string
	for i := range x.Responses {
		list = append(list, x.Responses[i].String())
	}
	return strings.Join(list, "; ")
}

// modeOf is the mode of a workload, and whether it stands still.
func modeOf(x *agent.WorkloadStatus) string {
	if x.Frozen {
		return x.Mode + ",frozen"
	}
	return x.Mode
}

func shortDigest(digest string) string {
	hex := strings.TrimPrefix(digest, "sha256:")
	return orDash(hex[:min(len(hex), 12)])
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
