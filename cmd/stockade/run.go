package main

import (
	"fmt"
	"io"
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
	cfg, err := runConfig(c)
	if err != nil {
		return status{&agent.NotStartedError{Err: err}, agent.ExitFailed}
	}
	result, err := agent.Run(c.Context, cfg)
	if err != nil {
		return status{err, result.ExitCode}
	}
	if result.ExitCode != 0 {
		return quietly(result.ExitCode)
	}
	return nil
}

// runConfig reads all that a run depends on.
func runConfig(c *cli.Context) (cfg agent.RunConfig, err error) {
	cfg = agent.RunConfig{
		Name: c.String("name"), Args: c.Args().Slice(), User: c.String("user"), Strict: c.Bool("strict"),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	}
	switch mode := c.String("mode"); mode {
	case "enforce":
	case "audit":
		cfg.Mode = abi.Audit
	default:
		return cfg, usage(c, "mode %q: unknown: nothing was started; use enforce or audit", mode)
	}
	switch use := c.String("agent"); use {
	case agent.AgentAuto, agent.AgentNever, agent.AgentRequire:
		cfg.Agent, cfg.Socket = use, c.String("socket")
		if c.IsSet("socket") && use == agent.AgentAuto {
			cfg.Agent = agent.AgentRequire // who names an agent means it
		}
	default:
		return cfg, usage(c, "agent %q: unknown: nothing was started; use auto, never or require", use)
	}
	if cfg.Grants, err = grants(c); err != nil {
		return cfg, err
	}
	if len(cfg.Args) == 0 {
		return cfg, usage(c, "command: none given: nothing was started; write it after --")
	}
	in, err := readInput(c, c.StringSlice("policy"))
	if err != nil {
		return cfg, err
	}
	if cfg.Plan, err = compiler.Compile(in); err != nil {
		return cfg, err
	}
	cfg.Input = in
	out, err := openLog(c)
	if err != nil {
		return cfg, err
	}
	cfg.Sink = agent.Output{JSON: c.Bool("json"), Quiet: c.Bool("quiet")}.To(out)
	cfg.Sinks, err = openSinks(c)
	return cfg, err
}

// openSinks opens the sinks beside the log: none, if one of them is not well named.
func openSinks(c *cli.Context) ([]*agent.SinkQueue, error) {
	wanted := c.StringSlice("sink")
	for i, text := range wanted {
		if _, argument, _ := strings.Cut(text, "="); argument == "" {
			return nil, usage(c, "sink %q: no argument: nothing was started; write KIND=ARGUMENT", text)
		}
		if slices.Contains(wanted[:i], text) {
			return nil, usage(c, "sink %q: twice: nothing was started; leave one out", text)
		}
	}
	var list []*agent.SinkQueue
	for _, text := range wanted {
		kind, argument, _ := strings.Cut(text, "=")
		q, err := agent.OpenSink(kind, argument, ".")
		if err != nil {
			return nil, err
		}
		list = append(list, q)
	}
	return list, nil
}

// openLog returns where denials go.
func openLog(c *cli.Context) (io.Writer, error) {
	path := c.String("log")
	if path == "" {
		return c.App.ErrWriter, nil
	}
	file, err := agent.OpenLog(path)
	if err != nil {
		return nil, fmt.Errorf("log: %w: nothing was started; name another file", err)
	}
	return file, nil
}
