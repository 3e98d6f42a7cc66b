package main

import (
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/agent"
	"github.com/stockade-dev/stockade/bpf/abi"
)

func decideVerb() *cli.Command {
	return &cli.Command{
		Name:      "decide",
		Usage:     "answer requests from compiled policies",
		UsageText: "stockade decide --policy FILE [OPTIONS] [--requests FILE]",
		Description: `Reads one JSON request a line and writes one answer a line, from the same
tables that the kernel walks:

   {"principal":"User::\"alice\"","action":"read","resource":{"type":"file_system::File","path":"/etc/passwd"}}
   {"verdict":"allow","policies":["etc"]}

Principal and action are Cedar text or {"type":…,"id":…}; an action of files
may be a short name; without a principal, --principal holds. The policies are
the forbids that are satisfied, else the permits; "audit" are those in audit that
would deny what is allowed. A line that is no request is answered by {"error":…}.

EXIT CODE:
   0, 1 if a request was bad or the policies do not compile, 2 if the command
   line is wrong

` + examples(
			`stockade decide --policy policy.cedar --requests requests.jsonl`,
			`echo '{"action":"read","resource":{"type":"file_system::File","path":"/etc/passwd"}}' | stockade decide -p policy.cedar`,
		),
		Flags: append([]cli.Flag{policyFlag()}, append(inputFlags("none"),
			&cli.StringFlag{Name: "requests", Value: "-", TakesFile: true, Usage: "a `FILE` of requests; - is standard input"})...),
		Action: decideAction,
	}
}

func decideAction(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	in, err := readInput(c, c.StringSlice("policy"))
	if err != nil {
		return err
	}
	in.Handled = abi.EnforcedActions // what run leaves out by default can be asked too
	requests, err := openRequests(c)
	if err != nil {
		return err
	}
	defer requests.Close()
	decider, err := agent.NewDecider(in)
	if err != nil {
		return err
	}
	bad, err := decider.Decide(requests, c.App.Writer)
	if err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("requests: %d could not be decided: the others were; see the errors among the answers", bad)
	}
	return nil
}

func openRequests(c *cli.Context) (io.ReadCloser, error) {
	path := c.String("requests")
	if path == "-" {
		return io.NopCloser(c.App.Reader), nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("requests: %w: nothing is decided; check the path", err)
	}
	return file, nil
}
