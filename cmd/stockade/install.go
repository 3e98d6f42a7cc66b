package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/agent"
)

func installVerb() *cli.Command {
	return &cli.Command{
		Name:      "install-runtime",
		Usage:     "let a container engine start containers confined",
		UsageText: "stockade install-runtime --engine docker|containerd|podman|crio|nerdctl [--copy-to FILE] [--remove] [--reload] [--dry-run]",
		Description: `Registers stockade-runc, which has the agent confine a container and then starts
the real runtime, in the engine's configuration, and writes ` + agent.RuntimeConfig + `,
which names the real one. It says what is left to do. Other settings and comments
stay; a copy of a changed file is FILE.before-stockade. Done twice it changes
nothing. --remove takes out what it put in.

From a container that sees the host's files below DIR, --root DIR --copy-to FILE copies
the wrapper to the host's FILE first, and registers that; with --remove the copy goes, too,
if no engine uses it any more.

Needs root, but for --dry-run.

EXIT CODE:
   0 if it is done, or was so already, 1 if not, 2 if the command line is wrong

` + examples(
			`stockade install-runtime --engine docker --dry-run`,
			`stockade install-runtime --engine containerd`,
			`stockade install-runtime --engine containerd --config /var/snap/microk8s/current/args/containerd-template.toml`,
			`stockade install-runtime --engine podman --runtime /usr/bin/crun`,
			`stockade install-runtime --engine docker --remove`,
			`stockade install-runtime --root /host --copy-to /usr/local/bin/stockade-runc --engine containerd`,
		),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "engine", Usage: "the `ENGINE`: " + strings.Join(agent.Engines(), ", ")},
			&cli.StringFlag{Name: "name", Value: agent.RuntimeName, Usage: "register it under this `NAME`"},
			&cli.StringFlag{Name: "wrapper", TakesFile: true, Usage: "the wrapper is `FILE` (default: stockade-runc beside this program, else in /usr/local/bin)"},
			&cli.StringFlag{Name: "copy-to", TakesFile: true, Usage: "copy the wrapper to `FILE`, called stockade-runc, below the root, and register that"},
			&cli.StringFlag{Name: "runtime", TakesFile: true, Usage: "the real runtime is `FILE` (default: what is configured, else runc, else crun)"},
			&cli.StringFlag{Name: "socket", TakesFile: true, Usage: "the agent's API is at `FILE` (default: " + agent.DefaultSocket + ")"},
			&cli.StringFlag{Name: "config", TakesFile: true, Usage: "the engine's configuration is `FILE`"},
			&cli.BoolFlag{Name: "remove", Usage: "take it out again"},
			&cli.BoolFlag{Name: "reload", Usage: "then have systemd restart or reload the engine, if it has not read its files as they are"},
			&cli.BoolFlag{Name: "dry-run", Usage: "print what would change, and change nothing"},
			&cli.StringFlag{Name: "root", TakesFile: true, Usage: "all files lie below `DIR`, but for the wrapper that is copied"},
		},
		Action: installAction,
	}
}

func installAction(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	if engine := c.String("engine"); !slices.Contains(agent.Engines(), engine) {
		what := "missing"
		if engine != "" {
			what = engine + ": unknown"
		}
		return usage(c, "--engine: %s: nothing was done; use one of %s", what, strings.Join(agent.Engines(), ", "))
	}
	wrapper := c.String("wrapper")
	if wrapper == "" {
		wrapper = agent.Wrapper()
	}
	plan, err := agent.PlanRuntime(agent.EngineOptions{
		Engine: c.String("engine"), Name: c.String("name"), Wrapper: wrapper, CopyTo: c.String("copy-to"), Runtime: c.String("runtime"),
		Socket: c.String("socket"), Config: c.String("config"), Root: c.String("root"),
	}, c.Bool("remove"))
	if err != nil {
		return err
	}
	say := func(text string) { fmt.Fprintln(c.App.Writer, text) }
	if c.Bool("dry-run") {
		fmt.Fprint(c.App.Writer, plan.Diff())
	} else if err := plan.Apply(say); err != nil {
		return err
	} else if c.Bool("reload") {
		if err := plan.Reload(say); err != nil {
			return err
		}
	}
	for _, text := range plan.Notes {
		say(text)
	}
	if len(plan.Changes) == 0 {
		say("nothing to change")
	}
	if text := plan.Left(); text != "" {
		say("to do: " + text)
	}
	for _, text := range plan.Todo {
		say("to do: " + text)
	}
	return nil
}
