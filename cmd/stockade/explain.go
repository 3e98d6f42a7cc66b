package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/agent"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
	"github.com/stockade-dev/stockade/compiler/report"
)

// baselineName is the source of the runtime baseline: nobody can edit it.
const baselineName = "baseline/runtime.cedar"

func explainVerb() *cli.Command {
	return &cli.Command{
		Name:      "explain",
		Usage:     "say why a request is allowed, asked or denied, and what would allow it",
		UsageText: "stockade explain --policy FILE [OPTIONS] ACTION PATH",
		Description: `Decides one request from the same tables that the kernel walks, and names the
policies that decide it. For a denial it proposes the smallest changes that would
allow it, and says what else each would allow. Every proposal was compiled and
asked before it is printed.

ACTION is a short name, such as read, or Cedar text; a name that does not exist is
answered with all that do. An operation may ask several actions: opening a file for
reading asks open and read. stat is enforced, and can be explained, with --handle
stat only: stockade explain --policy FILE --handle stat stat PATH.

EXIT CODE:
   0 if the request is allowed, 1 if it is denied or asked, 2 if it could not be
   decided: the command line is wrong, policies do not compile, or the action is
   not enforced

` + examples(
			`stockade explain --policy policy.cedar read /etc/shadow`,
			`stockade explain -p policy.cedar --kind dir --uid 1000 create /srv/www`,
			`stockade explain -p policy.cedar --dest /srv/www/a move /tmp/a`,
		),
		Flags: append([]cli.Flag{policyFlag()}, append(inputFlags("none"),
			&cli.StringFlag{Name: "kind", Value: "file", Usage: "what the path is: `KIND` is file or dir"},
			&cli.UintFlag{Name: "uid", Usage: "effective user `ID`"},
			&cli.UintFlag{Name: "gid", Usage: "effective group `ID`"},
			&cli.StringFlag{Name: "exe", Usage: "`PATH` of the running executable (default: not known)"},
			&cli.StringFlag{Name: "parent-exe", Usage: "`PATH` of the executable that executed it (default: not known)"},
			&cli.StringFlag{Name: "dest", Usage: "destination of a move, a `PATH`"},
			&cli.StringFlag{Name: "xattr", Usage: "`NAME` of the extended attribute, for set_x_attr"},
			&cli.StringFlag{Name: "now", Usage: "`TIME`, as 2006-01-02T15:04:05Z or milliseconds since 1970 (default: now)"},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON object"})...),
		Action: func(c *cli.Context) error { return unknown(explainAction(c)) },
	}
}

func explainAction(c *cli.Context) error {
	if c.NArg() != 2 {
		return usage(c, "request: %s: nothing was decided; write ACTION PATH, flags before them, ACTION being one of %s", agent.Plural(c.NArg(), "argument"), abi.EnforcedActions)
	}
	request, err := explainRequest(c)
	if err != nil {
		return err
	}
	in, err := readInput(c, c.StringSlice("policy"))
	if err != nil {
		return err
	}
	e, err := compiler.Explain(in, request, baselineName)
	if err != nil {
		return err
	}
	write := report.Explanation
	if c.Bool("json") {
		write = report.ExplanationJSON
	}
	if err := write(c.App.Writer, e); err != nil {
		return fmt.Errorf("output: %w: it is not complete; check where it goes", err)
	}
	if e.Verdict != abi.Allow {
		return quietly(exitNo)
	}
	return nil
}

// explainRequest reads the request from the command line.
func explainRequest(c *cli.Context) (abi.Request, error) {
	q := abi.Request{Path: c.Args().Get(1), Facts: abi.Facts{UID: uint32(c.Uint("uid")), GID: uint32(c.Uint("gid")),
		Exe: c.String("exe"), Parent: c.String("parent-exe"), Dest: c.String("dest"), Xattr: c.String("xattr")}}
	if c.Uint("uid") > 1<<32-1 || c.Uint("gid") > 1<<32-1 {
		return q, usage(c, "id: more than 4294967295: nothing was decided; use a user or group id")
	}
	typ, id := "file_system::Action", c.Args().First()
	var uid types.EntityUID
	if uid.UnmarshalCedar([]byte(id)) == nil {
		typ, id = string(uid.Type), string(uid.ID)
	}
	var ok bool
	if q.Action, ok = abi.ParseAction(typ, id); !ok {
		return q, usage(c, "action %s::%q: no kernel hook decides it: it is neither allowed nor denied here; ask about one of %s", typ, id, abi.EnforcedActions)
	}
	switch c.String("kind") {
	case "file":
	case "dir":
		q.Kind = abi.Dir
	default:
		return q, usage(c, "kind %q: unknown: nothing was decided; use file or dir", c.String("kind"))
	}
	for _, name := range []string{"exe", "parent-exe", "dest"} {
		p := c.String(name)
		if problem, mend := compiler.PathProblem(p); p != "" && problem != "" {
			return q, usage(c, "%s %q: %s: nothing was decided; %s", name, p, problem, mend)
		}
	}
	if q.Dest != "" && q.Action != abi.Move {
		return q, usage(c, "dest: %s has no destination: nothing was decided; leave it out", q.Action)
	}
	if q.Dest == "" && q.Action == abi.Move {
		return q, usage(c, "dest: missing: nothing was decided; write --dest PATH")
	}
	if q.Xattr != "" && q.Action != abi.SetXattr {
		return q, usage(c, "xattr: %s is not about an attribute: nothing was decided; leave it out", q.Action)
	}
	var err error
	q.Now, err = explainTime(c)
	return q, err
}

func explainTime(c *cli.Context) (int64, error) {
	text := c.String("now")
	if text == "" {
		return time.Now().UnixMilli(), nil
	}
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		return ms, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0, usage(c, "now %q: no time: nothing was decided; write 2006-01-02T15:04:05Z or milliseconds since 1970", text)
	}
	return t.UnixMilli(), nil
}
