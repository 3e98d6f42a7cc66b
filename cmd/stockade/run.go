package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/agent"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

func runVerb() *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "run a command confined by policies",
		UsageText: "stockade run --policy FILE [OPTIONS] -- COMMAND [ARGUMENT]...",
		Description: `The command starts inside a new cgroup in which every file operation, its own
and that of all it starts, is decided by the policies: what no policy permits
is denied. Input, output, terminal and signals pass through. Each denial is a
line on standard error; a summary follows at the end, when everything the
command left running is killed. The command never runs unconfined: on a host
that cannot confine, it does not run (see stockade doctor).

Where an agent runs, it confines the command, and nothing has to be loaded first;
else stockade run does so by itself. What you see is the same.

Needs root. The command shares standard error and can imitate denials there: use
--log FILE for a record that it cannot write to (unless a policy permits that).

EXIT CODE:
   that of the command; 128+N if signal N ended it; 127 if it was not found, 126
   if it could not be started; 125 if stockade itself failed

` + examples(
			`stockade run --policy policy.cedar -- python3 build.py`,
			`stockade run --policy policies/ --user alice -- bash`,
			`stockade run --policy policy.cedar --mode audit --quiet -- make test`,
			`stockade run --policy policy.cedar --json --log denials.jsonl -- ./agent`,
			`stockade run --policy policy.cedar --principal 'User::"ci"' --entities users.json -- ./job`,
		),
		Flags: slices.Concat([]cli.Flag{policyFlag()}, inputFlags("runtime"), grantFlags(), []cli.Flag{
			&cli.StringFlag{Name: "name", Usage: "a `NAME` for the workload, unique on this host (default: the command's and a random number)"},
			&cli.StringSliceFlag{Name: "label", Usage: "a label `KEY=VALUE` of the workload, by which it can be stopped with others; may be given several times"},
			&cli.StringFlag{Name: "max-denials", Usage: "respond to more denials than `N/TIME=RESPONSE` says, for example 1000/10s=freeze; RESPONSE is lockdown, freeze or kill"},
			&cli.StringFlag{Name: "mode", Value: "enforce", Usage: "`MODE` is enforce, or audit to report, and refuse the boundary only"},
			&cli.BoolFlag{Name: "strict", Usage: "refuse executable memory that no file holds (breaks just-in-time compilers), and judge every use of a descriptor, also of standard input and output"},
			&cli.StringFlag{Name: "agent", Value: agent.AgentAuto, Usage: "`WHEN` is auto: the running agent confines the command, if there is one, which starts faster; never: stockade run does so by itself; or require"},
			socketFlag(),
			&cli.StringFlag{Name: "user", Usage: "run the command as `USER`, a name or UID, optionally with :GROUP (default: who runs stockade)"},
			&cli.StringFlag{Name: "log", TakesFile: true, Usage: "append denials and summary to `FILE`, not standard error"},
			&cli.StringSliceFlag{Name: "sink", Usage: "hand denials to another sink as well, `KIND=ARGUMENT`: " + strings.Join(agent.SinkKinds(), " or ") + ", and a file; may be given several times"},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON object a line"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "leave out the denials; the summary stays"},
		}),
		Action: runAction,
	}
}

func runAction(c *cli.Context) error {
	cfg, discard, err := runConfig(c)
	if err != nil {
		return status{&agent.NotStartedError{Err: err}, agent.ExitFailed}
	}
	result, err := agent.Run(c.Context, cfg)
	if not := (*agent.NotStartedError)(nil); errors.As(err, &not) {
		discard()
	}
	if err != nil {
		return status{err, result.ExitCode}
	}
	if result.ExitCode != 0 {
		return quietly(result.ExitCode)
	}
	return nil
}

// runConfig reads all that a run depends on. What discard undoes is done last.
func runConfig(c *cli.Context) (cfg agent.RunConfig, discard func(), err error) {
	cfg = agent.RunConfig{
		Name: c.String("name"), Args: c.Args().Slice(), User: c.String("user"), Strict: c.Bool("strict"),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	}
	switch mode := c.String("mode"); mode {
	case "enforce":
	case "audit":
		cfg.Mode = abi.Audit
	default:
		return cfg, nil, usage(c, "mode %q: unknown: nothing was started; use enforce or audit", mode)
	}
	switch use := c.String("agent"); use {
	case agent.AgentAuto, agent.AgentNever, agent.AgentRequire:
		cfg.Agent, cfg.Socket = use, c.String("socket")
		if c.IsSet("socket") && use == agent.AgentAuto {
			cfg.Agent = agent.AgentRequire // who names an agent means it
		}
	default:
		return cfg, nil, usage(c, "agent %q: unknown: nothing was started; use auto, never or require", use)
	}
	if cfg.Labels, err = agent.ParseLabels(c.StringSlice("label")); err != nil {
		return cfg, nil, usage(c, "%w: nothing was started", err)
	}
	if text := c.String("max-denials"); text != "" {
		if cfg.Budget, err = agent.ParseBudget(text); err != nil {
			return cfg, nil, usage(c, "max-denials %w: nothing was started", err)
		}
	}
	if cfg.Grants, err = grants(c); err != nil {
		return cfg, nil, err
	}
	if len(cfg.Args) == 0 {
		return cfg, nil, usage(c, "command: none given: nothing was started; write it after --")
	}
	in, err := readInput(c, c.StringSlice("policy"))
	if err != nil {
		return cfg, nil, err
	}
	if cfg.Plan, err = compiler.Compile(in); err != nil {
		return cfg, nil, err
	}
	cfg.Input = in
	discard, err = openSinks(c, &cfg)
	return cfg, discard, err
}

// openSinks opens where denials go; on an error no file is left that was not there.
func openSinks(c *cli.Context, cfg *agent.RunConfig) (discard func(), err error) {
	format := agent.Format{JSON: c.Bool("json"), Quiet: c.Bool("quiet")}
	log := agent.OutputTo(c.App.ErrWriter, format)
	if path := c.String("log"); path != "" {
		if log, err = agent.OpenOutput(path, format); err != nil {
			return nil, fmt.Errorf("log: %w", err)
		}
	}
	others, err := openOthers(c)
	if err == nil {
		err = others.Check(log)
	}
	cfg.Sink, cfg.Sinks = log, others
	discard = func() {
		others.Discard()
		log.Discard()
	}
	if err != nil {
		discard()
	}
	return discard, err
}

// openOthers opens the sinks beside the log, as far as it comes.
func openOthers(c *cli.Context) (list agent.SinkQueues, err error) {
	wanted := c.StringSlice("sink")
	for i, text := range wanted {
		if _, argument, _ := strings.Cut(text, "="); argument == "" {
			return nil, usage(c, "sink %q: no argument: nothing was started; write KIND=ARGUMENT", text)
		}
		if slices.Contains(wanted[:i], text) {
			return nil, usage(c, "sink %q: twice: nothing was started; leave one out", text)
		}
	}
	for _, text := range wanted {
		kind, argument, _ := strings.Cut(text, "=")
		q, err := agent.OpenSink(kind, argument, ".")
		if err != nil {
			return list, err
		}
		list = append(list, q)
	}
	return list, nil
}
