package compiler

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/gen"
)

// Every suggestion allows the request; one that claims to allow nothing else
// changes no other verdict, and the changes of the others cover what they do.
func TestSuggestionsDoWhatTheySay(t *testing.T) {
	var asked, told, only, wider, dead int
	for seed := range uint64(120) {
		c := gen.New(seed, gen.Options{Requests: 60})
		in := caseInput(c)
		plan, err := Compile(in)
		if err != nil {
			continue
		}
		i := slices.IndexFunc(c.Requests, func(q abi.Request) bool { return plan.Decide(q) == abi.Deny })
		if i < 0 {
			continue
		}
		q := c.Requests[i]
		e, err := Explain(in, q)
		if err != nil {
			t.Fatalf("%v\n%s", err, c)
		}
		asked++
		if (len(e.Suggestions) == 0) != (e.Dead != "") {
			t.Fatalf("%d suggestions and %q", len(e.Suggestions), e.Dead)
		}
		if e.Dead != "" {
			dead++
		}
		for _, s := range e.Suggestions {
			told++
			edited := in
			if edited.Sources, err = Apply(in.Sources, s.Edits); err != nil {
				t.Fatal(err)
			}
			changed, err := Compile(edited)
			if err != nil || changed.Decide(q) != abi.Allow {
				t.Fatalf("%+v does not allow %s: %v\n%s", s.Edits, gen.Show(q), err, c)
			}
			if s.Only {
				only++
			} else {
				wider++
			}
			for _, other := range c.Requests {
				was, is := plan.Decide(other), changed.Decide(other)
				same := other.Path == q.Path && other.Action == q.Action && other.Kind == q.Kind
				if was != is && s.Only && !same {
					t.Fatalf("%+v changes %s from %v to %v\n%s", s.Edits, gen.Show(other), was, is, c)
				}
				if was != is && !slices.ContainsFunc(s.Changes, func(d Change) bool { return d.New.Verdict == is && d.Covers(other) }) {
					t.Fatalf("%+v changes %s from %v to %v: untold\n%s", s.Edits, gen.Show(other), was, is, c)
				}
			}
		}
	}
	t.Logf("%d denials, %d suggestions, %d for the request alone, %d wider, %d without any", asked, told, only, wider, dead)
	if asked < 50 || only == 0 || wider == 0 {
		t.Fatal("the test sees one side only")
	}
}

// A fact that does not matter changes no verdict, and each that matters does
// for some request.
func TestFactsThatMatter(t *testing.T) {
	r := rand.New(rand.NewPCG(31, 32))
	facts := []func(q *abi.Request, from abi.Request){
		func(q *abi.Request, from abi.Request) { q.UID = from.UID },
		func(q *abi.Request, from abi.Request) { q.GID = from.GID },
		func(q *abi.Request, from abi.Request) { q.Now = from.Now },
		func(q *abi.Request, from abi.Request) { q.Exe = from.Exe },
		func(q *abi.Request, from abi.Request) { q.Parent = from.Parent },
	}
	dims := []abi.Dim{abi.DimUID, abi.DimGID, abi.DimNow, abi.DimExe, abi.DimParent}
	var matters, changed int
	for seed := range uint64(300) {
		c := gen.New(seed, gen.Options{Requests: 80})
		plan, err := Compile(caseInput(c))
		if err != nil {
			continue
		}
		for range 80 {
			q, from := c.Requests[r.IntN(len(c.Requests))], c.Requests[r.IntN(len(c.Requests))]
			list := plan.Table.Matters(q)
			matters += len(list)
			other := q
			for i, set := range facts {
				if !slices.Contains(list, dims[i]) {
					set(&other, from)
				}
			}
			if plan.Decide(other) != plan.Decide(q) {
				t.Fatalf("%s and %s, but only %v matter\n%s", gen.Show(q), gen.Show(other), list, c)
			}
			all := q
			for _, set := range facts {
				set(&all, from)
			}
			if plan.Decide(all) != plan.Decide(q) {
				changed++
			}
		}
	}
	if matters == 0 || changed == 0 {
		t.Fatalf("one-sided: %d facts matter, %d verdicts changed", matters, changed)
	}
}

func explained(t *testing.T, text string, q abi.Request, fixed ...string) *Explanation {
	t.Helper()
	e, err := Explain(Input{Sources: []Source{{"p.cedar", []byte(text)}}, Principal: `User::"alice"`}, q, fixed...)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

var readKey = abi.Request{Action: abi.Read, Path: "/srv/key"}

const noKey = `
// when; forbid
@id("no-key") @reason("permit (;")
forbid (principal, action /* every, */, resource) when { resource == file_system::File::"/srv/key" } // ;
;`

func TestEditsSpareWhatIsAround(t *testing.T) {
	e := explained(t, readSrv+noKey, readKey)
	if len(e.Policies) != 1 || e.Policies[0].ID != "no-key" || !strings.HasPrefix(e.Policies[0].Text, "forbid (principal, action") {
		t.Errorf("%+v", e.Policies)
	}
	if len(e.Suggestions) != 1 || !e.Suggestions[0].Only || !strings.HasPrefix(e.Suggestions[0].Edits[0].Text(), `unless { action == file_system::Action::"read"`) {
		t.Errorf("%+v, %s", e.Suggestions, e.Dead)
	}
	write := readKey
	write.Action, write.Path = abi.Write, "/srv/a b\"c"
	e = explained(t, `permit (principal, action == file_system::Action::"read" /* , */, resource in file_system::Dir::"/srv");`, write)
	if len(e.Suggestions) != 2 || !e.Suggestions[0].Only || e.Suggestions[1].Only ||
		e.Suggestions[1].Edits[0].Text() != `action in [file_system::Action::"read", file_system::Action::"write"]` {
		t.Errorf("%+v, %s", e.Suggestions, e.Dead)
	}
}

func TestWhatIsNotYoursIsNotEdited(t *testing.T) {
	if e := explained(t, readSrv+noKey, readKey, "p.cedar"); len(e.Suggestions) != 0 || !strings.Contains(e.Dead, "not yours to edit") {
		t.Errorf("%+v, %s", e.Suggestions, e.Dead)
	}
	write := readKey
	write.Action = abi.Write
	if e := explained(t, readSrv, write, "p.cedar"); len(e.Suggestions) != 1 || e.Suggestions[0].Edits[0].Policy != nil {
		t.Errorf("%+v", e.Suggestions)
	}
}

func TestAnAskSaysWhatItWaitsFor(t *testing.T) {
	e := explained(t, `@id("named") permit (principal, action == file_system::Action::"execute", resource) when { context.user.username == "ann" };`,
		abi.Request{Action: abi.Execute, Path: "/usr/bin/id"})
	if e.Verdict != abi.Ask || len(e.Asks) != 1 || e.Asks[0].Policy.ID != "named" || !strings.Contains(e.Asks[0].Expr, "username") || e.Suggestions != nil {
		t.Errorf("%+v", e)
	}
}

func TestWhatNoPolicyDecidesIsSaid(t *testing.T) {
	for action, want := range map[abi.Action]string{abi.Stat: "handle stat", abi.Kill: "no policy is asked"} {
		_, err := Explain(Input{Principal: `User::"alice"`}, abi.Request{Action: action, Path: "/a"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", action, err)
		}
	}
	if e := explained(t, "", abi.Request{Action: abi.Write, Path: "/sys/fs/bpf/x"}); !strings.Contains(e.Boundary, "bpffs") {
		t.Errorf("%q", e.Boundary)
	}
	if e := explained(t, "", abi.Request{Action: abi.Read, Path: "/sys/fs/bpfx"}); e.Boundary != "" {
		t.Errorf("%q", e.Boundary)
	}
	if _, err := Explain(Input{Principal: `User::"alice"`}, abi.Request{Action: abi.Read, Path: "a/"}); err == nil {
		t.Error("a path that is not absolute is explained")
	}
}
