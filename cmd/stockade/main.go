// Command stockade confines programs by Cedar policies, in the kernel.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/agent"
	"github.com/stockade-dev/stockade/compiler"
)

// Exit codes; `stockade run` has those of package agent.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr)) }

// run runs one command line and returns its exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	app := newApp()
	app.Reader, app.Writer, app.ErrWriter = stdin, stdout, stderr
	err := app.Run(nameLast(args))
	if err == nil {
		return 0
	}
	report(stderr, err)
	var code cli.ExitCoder
	if errors.As(err, &code) {
		return code.ExitCode()
	}
	return exitFailed
}

// nameLast lets the name of a workload or ticket stand before the flags too, as
// in `stockade policy apply NAME --policy FILE`.
func nameLast(args []string) []string {
	at := 0
	switch {
	case len(args) > 2 && args[1] == "policy":
		at = 3
	case len(args) > 1 && (args[1] == "approve" || args[1] == "refuse"):
		at = 2
	}
	if at == 0 || len(args) <= at+1 || strings.HasPrefix(args[at], "-") {
		return args
	}
	return append(append(slices.Clone(args[:at]), args[at+1:]...), args[at])
}

// report prints an error. Those of a policy begin with their position, so that
// editors find it.
func report(stderr io.Writer, err error) {
	var positioned compiler.Errors
	switch {
	case err.Error() == "":
	case errors.As(err, &positioned):
		fmt.Fprintln(stderr, err)
	default:
		fmt.Fprintln(stderr, "stockade:", err)
	}
}

// status is an error with an exit code.
type status struct {
	error
	code int
}

func (s status) ExitCode() int { return s.code }
func (s status) Unwrap() error { return s.error }

// quietly is an exit code without a message.
func quietly(code int) error { return cli.Exit("", code) }

// newApp builds the command line.
func newApp() *cli.App {
	app := &cli.App{
		Name:  "stockade",
		Usage: "confine programs by Cedar policies, in the kernel",
		Description: `A policy says what a program and all that it starts may do with files. The
kernel decides every operation; what it refuses is shown as it happens.

` + examples(
			`stockade doctor`,
			`stockade check policy.cedar`,
			`stockade run --policy policy.cedar -- git status`,
		),
		HideVersion:               true,
		EnableBashCompletion:      true,
		DisableSliceFlagSeparator: true,
		Suggest:                   true,
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              usageError,
		Action:                    unknownVerb,
		Commands: []*cli.Command{
			runVerb(), checkVerb(), diffVerb(), explainVerb(), compileVerb(), decideVerb(), baselineVerb(),
			agentVerb(), reloadVerb(), psVerb(), policyVerb(), modeVerb(), asksVerb(), approveVerb(), refuseVerb(), eventsVerb(), uninstallVerb(),
			doctorVerb(), versionVerb(), completionVerb(), reapVerb(),
		},
	}
	plain(app.Commands)
	return app
}

// plain sets what all verbs have in common.
func plain(verbs []*cli.Command) {
	for _, verb := range verbs {
		verb.HideHelpCommand = true
		verb.OnUsageError = usageError
		plain(verb.Subcommands)
	}
}

// usageError turns what the flag parser says into an error of our style.
func usageError(c *cli.Context, err error, _ bool) error {
	text := fmt.Sprintf("%v: nothing was done; see `%s --help`", err, c.Command.HelpName)
	if _, name, ok := strings.Cut(err.Error(), "not defined: -"); ok {
		if near := cli.SuggestFlag(c.Command.Flags, name, false); near != "" {
			text += ". Did you mean " + near + "?"
		}
	}
	if c.Command.Name == "run" {
		return status{errors.New(text), agent.ExitFailed}
	}
	return status{errors.New(text), exitUsage}
}

// unknownVerb is what happens where no verb is named.
func unknownVerb(c *cli.Context) error {
	if !c.Args().Present() {
		return cli.ShowAppHelp(c)
	}
	hint := ""
	if near := cli.SuggestCommand(c.App.Commands, c.Args().First()); !strings.Contains(near, `"h`) && !strings.Contains(near, `""`) {
		hint = ". " + near
	}
	return usage(c, "%s: unknown verb: nothing was done; see `stockade --help`%s", c.Args().First(), hint)
}

// usage is an error about the command line.
func usage(c *cli.Context, format string, args ...any) error {
	code := exitUsage
	if c.Command.Name == "run" {
		code = agent.ExitFailed
	}
	return status{fmt.Errorf(format, args...), code}
}

// noArgs refuses arguments that a verb does not take.
func noArgs(c *cli.Context) error {
	if c.Args().Present() {
		return usage(c, "%s: unexpected argument: nothing was done; see `%s --help`", c.Args().First(), c.Command.HelpName)
	}
	return nil
}

// examples renders the examples of a help text.
func examples(lines ...string) string {
	text := "EXAMPLES:"
	for _, line := range lines {
		text += "\n   " + line
	}
	return text
}
