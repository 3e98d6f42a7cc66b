package main

import (
	"fmt"
	"os"
	"os/user"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/agent"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// policyFlag names the policies; other verbs take them as arguments.
func policyFlag() cli.Flag {
	return &cli.StringSliceFlag{
		Name: "policy", Aliases: []string{"p"}, TakesFile: true,
		Usage: "Cedar policies: a `FILE`, or a folder of *.cedar files (repeatable)",
	}
}

// inputFlags are what else a compile depends on.
func inputFlags(defaultBaseline string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "entities", TakesFile: true, Usage: "entity data, a `FILE` of Cedar JSON"},
		&cli.StringFlag{Name: "principal", Usage: "who acts, a Cedar `ENTITY` (default: User::\"NAME\", NAME being who called, also through sudo)"},
		&cli.StringSliceFlag{Name: "handle", Usage: "enforce `ACTION` too, which is not by default: stat (repeatable)"},
		&cli.StringFlag{Name: "baseline", Value: defaultBaseline, Usage: "policies to add: `NAME` is runtime or none"},
	}
}

// readInput reads all that a compile depends on.
func readInput(c *cli.Context, policies []string) (compiler.Input, error) {
	in := compiler.Input{Principal: c.String("principal"), EntitiesName: c.String("entities"), Handled: abi.DefaultActions}
	for _, name := range c.StringSlice("handle") {
		a, ok := abi.ParseEnforced(name)
		if !ok {
			return in, usage(c, "handle %q: no action that can be enforced: %s; use one of %s", name, undone(c), abi.EnforcedActions)
		}
		in.Handled |= abi.MaskOf(a)
	}
	if in.Principal == "" {
		in.Principal = defaultPrincipal()
	}
	if len(policies) == 0 {
		return in, usage(c, "policies: none given: %s; name a file or a folder of *.cedar files", undone(c))
	}
	for _, path := range policies {
		sources, err := agent.ReadPolicies(path)
		if err != nil {
			return in, err
		}
		in.Sources = append(in.Sources, sources...)
	}
	if err := agent.AddBaseline(&in, c.String("baseline")); err != nil {
		return in, usage(c, "%w", err)
	}
	var err error
	if in.EntitiesName != "" {
		if in.Entities, err = os.ReadFile(in.EntitiesName); err != nil {
			return in, fmt.Errorf("entities: %w: nothing is compiled; check the path", err)
		}
	}
	return in, nil
}

// defaultPrincipal is the user who called, also through sudo.
func defaultPrincipal() string {
	name := os.Getenv("SUDO_USER")
	if name == "" {
		name = fmt.Sprint(os.Getuid())
		if u, err := user.Current(); err == nil {
			name = u.Username
		}
	}
	return `User::"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
}
