// Command stockade confines programs by Cedar policies, in the kernel.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
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

func main() {
	if os.Geteuid() == 0 {
		if err := agent.EnterHost(); err != nil {
			printError(os.Stderr, err)
			os.Exit(exitFailed)
		}
	}
	os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// run runs one command line and returns its exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	app := newApp()
	app.Reader, app.Writer, app.ErrWriter = stdin, stdout, stderr
	err := app.Run(nameLast(args))
	if err == nil {
		return 0
	}
	printError(stderr, err)
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
	case len(args) > 2 && (args[1] == "policy" || args[1] == "evidence"):
		at = 3
	case len(args) > 1 && slices.Contains([]string{"approve", "refuse", agent.VerbKill, agent.VerbFreeze, agent.VerbThaw, agent.VerbLockdown, agent.VerbUnlock, "inspect"}, args[1]):
		at = 2
	}
	if at == 0 || len(args) <= at+1 || strings.HasPrefix(args[at], "-") {
		return args
	}
	return append(append(slices.Clone(args[:at]), args[at+1:]...), args[at])
}

// printError prints an error. Those of a policy begin with their position, so that
// editors find it.
func printError(stderr io.Writer, err error) {
	var positioned compiler.Errors
	switch {
	case err.Error() == "":
	case errors.As(err, &positioned):
		fmt.Fprintln(stderr, err)
	default:
		fmt.Fprintln(stderr, "stockade:", err)
	}
	var unstarted *agent.NotStartedError
	if errors.As(err, &unstarted) && !strings.Contains(err.Error(), nothingStarted) {
		fmt.Fprintln(stderr, "stockade: run:", nothingStarted)
	}
}

// nothingStarted is what follows from an error of a run before its command.
const nothingStarted = "nothing was started"

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
			agentVerb(), reloadVerb(), installVerb(), psVerb(), policyVerb(), modeVerb(), asksVerb(), approveVerb(), refuseVerb(), eventsVerb(), uninstallVerb(),
			inspectVerb(), evidenceVerb(), keyVerb(), doctorVerb(), versionVerb(), completionVerb(), reapVerb(), lookVerb(),
		},
	}
	app.Commands = append(app.Commands, respondVerbs()...)
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
	what, hint := flagFault(err.Error()), ""
	if _, name, ok := strings.Cut(err.Error(), "not defined: -"); ok {
		if near := cli.SuggestFlag(c.Command.Flags, name, false); near != "" {
			hint = ". Did you mean " + near + "?"
		}
		if name == "version" || strings.EqualFold(name, "v") {
			hint = ". Did you mean `stockade version`?"
		}
		if name == "policy" || name == "p" {
			hint = ". Write the files without a flag"
		}
	}
	return usage(c, "%s: %s; see `%s --help`%s", what, undone(c), c.Command.HelpName, hint)
}

// flagFaults are the texts of the flag parser, and what becomes of them: $name is
// the flag's name.
var flagFaults = []struct {
	text *regexp.Regexp
	ours string
}{
	{regexp.MustCompile(`^flag provided but not defined: -(?P<name>.*)$`), "$name: unknown flag"},
	{regexp.MustCompile(`^flag needs an argument: -(?P<name>.*)$`), "$name: no value given"},
	{regexp.MustCompile(`^invalid value "(?P<value>[0-9]+)" for flag -(?P<name>[^ ]+): parse error$`), "$name $value: a time without its unit: write for example ${value}s"},
	{regexp.MustCompile(`^invalid (?:boolean )?value (?P<value>".*") for (?:flag )?-(?P<name>[^ ]+): parse error$`), "$name $value: not a value of this flag"},
	{regexp.MustCompile(`^invalid (?:boolean )?value (?P<value>".*") for (?:flag )?-(?P<name>[^ ]+): (?P<why>.*)$`), "$name $value: $why"},
	{regexp.MustCompile(`^bad flag syntax: -*(?P<name>.*)$`), "$name: not written as a flag is"},
}

// flagFault names the flag first, and then what is wrong with it.
func flagFault(text string) string {
	for _, fault := range flagFaults {
		m := fault.text.FindStringSubmatchIndex(text)
		if m == nil {
			continue
		}
		dashes := "-"
		if i := 2 * fault.text.SubexpIndex("name"); m[i+1]-m[i] > 1 {
			dashes = "--"
		}
		return dashes + string(fault.text.ExpandString(nil, fault.ours, text, m))
	}
	return "flags: " + text
}

// undone says that a mistake on the command line changed nothing.
func undone(c *cli.Context) string {
	if c.Command.Name == "run" {
		return nothingStarted
	}
	return "nothing was done"
}

// unknownVerb is what happens where no verb is named.
func unknownVerb(c *cli.Context) error {
	if !c.Args().Present() {
		return cli.ShowAppHelp(c)
	}
	word, hint := c.Args().First(), ""
	if near := cli.SuggestCommand(c.App.Commands, word); len(word) > 1 && strings.Contains(near, `"`+word[:2]) && !strings.Contains(near, `"h`) {
		hint = ". " + near
	}
	if verb := elsewhere[word]; verb != "" {
		hint = fmt.Sprintf(". Did you mean %q?", verb)
	}
	return usage(c, "%s: unknown verb: nothing was done; see `stockade --help`%s", word, hint)
}

// elsewhere has what other programs call our verbs.
var elsewhere = map[string]string{
	"logs": "events", "log": "events", "watch": "events", "tail": "events", "denials": "events",
	"stop": "kill", "pause": "freeze", "resume": "thaw", "describe": "inspect",
	"list": "ps", "ls": "ps", "status": "ps", "top": "ps",
	"exec": "run", "start": "run", "daemon": "agent", "serve": "agent",
	"validate": "check", "lint": "check", "why": "explain", "test": "decide", "allow": "approve", "deny": "refuse",
}

// usage is an error about the command line.
func usage(c *cli.Context, format string, args ...any) error {
	code := exitUsage
	if c.Command.Name == "run" {
		code = agent.ExitFailed
	}
	return status{fmt.Errorf(format, args...), code}
}

// plainJSON encodes objects for programs, and for people who read them.
func plainJSON(w io.Writer) *json.Encoder {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc
}

// noVerb is the error of a verb that has verbs of its own, and was given none of them.
func noVerb(c *cli.Context, use string) error {
	if c.NArg() > 0 {
		return usage(c, "%s %s: unknown: nothing was done; use %s", c.Command.Name, c.Args().First(), use)
	}
	return usage(c, "%s: a verb is missing: nothing was done; use %s, see `%s --help`", c.Command.Name, use, c.Command.HelpName)
}

// noArgs refuses arguments that a verb does not take.
func noArgs(c *cli.Context) error {
	if c.Args().Present() {
		return usage(c, "%s: unexpected argument: %s; see `%s --help`", c.Args().First(), undone(c), c.Command.HelpName)
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
