package compiler

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// audited has policies in audit of every sort: what `all` permits in /srv,
// `key` would forbid in /srv/key; `tmp` would permit /tmp.
const audited = `
@id("all") permit (principal, action in [file_system::Action::"read", file_system::Action::"execute"], resource in file_system::Dir::"/srv");
@id("key") @mode("audit") @reason("soon") forbid (principal, action, resource in file_system::Dir::"/srv/key");
@id("tmp") @mode("audit") permit (principal, action == file_system::Action::"read", resource in file_system::Dir::"/tmp");
@id("none") @mode("audit") forbid (principal, action, resource in file_system::Dir::"/none");
@id("dup") @mode("audit") forbid (principal, action, resource == file_system::File::"/srv/key/a");
@id("maybe") @mode("audit") forbid (principal, action == file_system::Action::"execute", resource in file_system::Dir::"/srv/bin")
  when { context.user.username == "eve" };
@id("on") @mode("enforce") @respond("kill") forbid (principal, action == file_system::Action::"read", resource in file_system::Dir::"/srv/off");
`

func TestAuditedNamesWhatWouldChange(t *testing.T) {
	plan := alicePlan(t, audited)
	for _, c := range []struct {
		action         abi.Action
		path           string
		verdict, would abi.Verdict
		by             string
	}{
		{abi.Read, "/srv/x", abi.Allow, abi.Allow, ""},
		{abi.Read, "/srv/key/x", abi.Allow, abi.Deny, "key"},
		{abi.Read, "/srv/key/a", abi.Allow, abi.Deny, "key dup"},
		{abi.Execute, "/srv/bin/x", abi.Allow, abi.Ask, "maybe"},
		{abi.Read, "/tmp/x", abi.Deny, abi.Allow, "tmp"},
		{abi.Read, "/none/x", abi.Deny, abi.Deny, ""},
		{abi.Read, "/srv/off/x", abi.Deny, abi.Deny, ""},
	} {
		q := abi.Request{Action: c.action, Path: c.path}
		would, by := plan.Audited(q)
		var ids []string
		for _, p := range by {
			ids = append(ids, p.ID)
		}
		if got := strings.Join(ids, " "); plan.Decide(q) != c.verdict || would != c.would || got != c.by {
			t.Errorf("%s: %s, with those in audit %s by %q; want %s, %s by %q", RequestText(q), plan.Decide(q), would, got, c.verdict, c.would, c.by)
		}
		if want := c.verdict == abi.Allow && c.would != abi.Allow; plan.Table.Reports(q) != want {
			t.Errorf("%s: reported: %v", RequestText(q), !want)
		}
	}
	if list := plan.Asks(abi.Request{Action: abi.Execute, Path: "/srv/bin/x"}); len(list) > 0 || DifferentAsks(plan, alicePlan(t, audited+`@mode("audit") forbid (principal, action == file_system::Action::"execute", resource) when { context.user.username == "bob" };`)) {
		t.Errorf("what is in audit is asked: %+v", list)
	}
}

func TestExplainTellsWhatAuditWouldChange(t *testing.T) {
	e := explained(t, audited, abi.Request{Action: abi.Read, Path: "/srv/key/x"})
	if e.Verdict != abi.Allow || len(e.Policies) != 1 || e.Policies[0].ID != "all" || e.Would != abi.Deny || len(e.Audited) != 1 || e.Audited[0].ID != "key" {
		t.Errorf("%+v", e)
	}
	// A policy in audit neither forbids what could be permitted nor is widened.
	q := abi.Request{Action: abi.Read, Path: "/tmp/x"}
	e = explained(t, audited+`@mode("audit") forbid (principal, action, resource in file_system::Dir::"/tmp");`, q)
	if e.Verdict != abi.Deny || len(e.Suggestions) != 1 || e.Suggestions[0].Edits[0].Policy != nil {
		t.Errorf("%+v", e.Suggestions)
	}
}

func TestIdlePoliciesInAuditAreThoseThatWouldChangeNothing(t *testing.T) {
	in := Input{Sources: []Source{{"p.cedar", []byte(audited)}}, Principal: `User::"alice"`}
	plan := alicePlan(t, audited)
	report, err := FindIdle(in, plan, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, x := range report.Idle {
		ids = append(ids, x.Policy.ID)
	}
	if want := []string{"none", "dup"}; !slices.Equal(ids, want) || len(report.Unchecked()) > 0 {
		t.Errorf("idle are %q, want %q; %q", ids, want, report.Unchecked())
	}
}

// Who misspelled @respond is not told to remove the tripwire.
func TestAMisspelledTripwireIsNotToBeRemoved(t *testing.T) {
	text := `@id("wire") @responds("kill") forbid (principal, action == file_system::Action::"read", resource == file_system::File::"/k");`
	for _, annotation := range []string{"@responds", "@respond"} {
		text := strings.Replace(text, "@responds", annotation, 1)
		report, err := FindIdle(Input{Sources: []Source{{"p.cedar", []byte(text)}}, Principal: `User::"alice"`}, alicePlan(t, text), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if annotation == "@respond" {
			if len(report.Idle) > 0 {
				t.Errorf("a tripwire is idle: %v", report.Idle)
			}
		} else if len(report.Idle) != 1 || !strings.HasSuffix(report.Idle[0].String(), "; write @respond for @responds if what it denies is to be responded to") {
			t.Errorf("%v", report.Idle)
		}
	}
}

func TestReportsTellOfAudit(t *testing.T) {
	var got strings.Builder
	for _, r := range alicePlan(t, audited).Reports() {
		if r.Policy.Audited() {
			fmt.Fprint(&got, strings.SplitAfter(r.String(), "\n")[0])
		}
	}
	want := `p.cedar:3:1: forbid key: open,read,write,create,delete,chmod,chown,touch,set_x_attr,execute,map,move,mount,unmount,chroot,userns,connect_unix: in audit: what it would deny is reported
p.cedar:4:1: permit tmp: read: in audit: it permits nothing
p.cedar:5:1: forbid none: open,read,write,create,delete,chmod,chown,touch,set_x_attr,execute,map,move,mount,unmount,chroot,userns,connect_unix: in audit: what it would deny is reported
p.cedar:6:1: forbid dup: open,read,write,create,delete,chmod,chown,touch,set_x_attr,execute,map,move,mount,unmount,chroot,userns,connect_unix: in audit: what it would deny is reported
p.cedar:7:1: forbid maybe: execute: in audit: what it may deny is reported
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}

func TestAuditIsNoPartOfTheDigestAlone(t *testing.T) {
	plan, other := alicePlan(t, audited), alicePlan(t, strings.ReplaceAll(audited, `@mode("audit")`, `@mode("enforce")`))
	if plan.Digest == other.Digest {
		t.Error("a policy that leaves audit leaves the digest as it was")
	}
	if n := len(mustDiff(t, plan, other)); n == 0 {
		t.Error("a policy that leaves audit changes nothing")
	}
	if !slices.ContainsFunc(plan.Rules.Rules, func(r rule.Rule) bool { return strings.HasPrefix(r.String(), "audited forbid ") }) {
		t.Error("no rule says that it is audited")
	}
}
