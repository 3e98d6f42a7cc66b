// Package examples holds policies to start from; here each is tested.
package examples

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

func file(path string, actions ...abi.Action) []abi.Request {
	return requests(abi.File, path, actions)
}
func dir(path string, actions ...abi.Action) []abi.Request { return requests(abi.Dir, path, actions) }

func requests(kind abi.Kind, path string, actions []abi.Action) []abi.Request {
	var list []abi.Request
	for _, a := range actions {
		list = append(list, abi.Request{Action: a, Kind: kind, Path: path})
	}
	return list
}

// with gives requests their facts.
func with(facts abi.Facts, list []abi.Request) []abi.Request {
	for i := range list {
		list[i].Facts = facts
	}
	return list
}

func join(lists ...[]abi.Request) []abi.Request {
	var all []abi.Request
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// expectation lists what one example must allow and must deny.
type expectation struct{ allowed, denied []abi.Request }

func source(t *testing.T, name string) compiler.Source {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return compiler.Source{Name: name, Text: text}
}

func compileSources(t *testing.T, sources ...compiler.Source) *compiler.Plan {
	t.Helper()
	plan, err := compiler.Compile(compiler.Input{Sources: sources, Principal: `User::"agent"`})
	if err != nil {
		t.Fatalf("%s: does not compile:\n%v", sources[0].Name, err)
	}
	return plan
}

// compile compiles an example alone, but the library with a profile.
func compile(t *testing.T, name string) *compiler.Plan {
	t.Helper()
	if name == library {
		return compileSources(t, source(t, profiles[0]), source(t, name))
	}
	return compileSources(t, source(t, name))
}

// TestExamplesDecide asks every example what it must allow and deny, and
// demands that each of its policies determined some answer.
func TestExamplesDecide(t *testing.T) {
	names, err := filepath.Glob("*.cedar")
	if err != nil || len(names) != len(expectations) {
		t.Fatalf("%d examples, %d expectations (%v): every example is tested, every test has its example", len(names), len(expectations), err)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			plan := compile(t, name)
			want, ok := expectations[name]
			if !ok {
				t.Fatalf("%s: no expectations: add them to cases_test.go", name)
			}
			used := make(map[string]bool)
			ask := func(list []abi.Request, verdict abi.Verdict) {
				for _, r := range list {
					for _, p := range plan.Satisfied(r) {
						used[p.ID] = true
					}
					if got := plan.Decide(r); got != verdict {
						t.Errorf("%+v: %s, want %s", r, got, verdict)
					}
				}
			}
			ask(want.allowed, abi.Allow)
			ask(want.denied, abi.Deny)
			ask(outsiders, abi.Deny)
			for _, p := range plan.Rules.Policies {
				if p.File == name && !used[p.ID] {
					t.Errorf("policy %s: no request of the test depends on it: add one", p.ID)
				}
			}
		})
	}
}

// TestExamplesNameTheirPolicies: a denial line shows the id, so each has one.
func TestExamplesNameTheirPolicies(t *testing.T) {
	for name := range expectations {
		for _, p := range compile(t, name).Rules.Policies {
			if p.Annotations["id"] == "" {
				t.Errorf("%s: a policy has no @id", p.Position())
			}
		}
	}
}

func TestHoneytokensAreRespondedTo(t *testing.T) {
	plan := compileSources(t, source(t, profiles[0]), source(t, "honeytokens.cedar"))
	want := map[string]string{"honeytoken-kill": "kill", "honeytoken-freeze": "freeze"}
	for _, p := range plan.Rules.Policies {
		if got := p.Respond(); got != want[p.ID] {
			t.Errorf("%s: %q, want %q", p.ID, got, want[p.ID])
		}
		delete(want, p.ID)
	}
	if len(want) > 0 {
		t.Errorf("not there: %v", want)
	}
	for path, id := range map[string]string{home + "/.aws/credentials.old": "honeytoken-kill", home + "/passwords.txt": "honeytoken-freeze"} {
		by := plan.Satisfied(file(path, abi.Read)[0])
		if !slices.ContainsFunc(by, func(p *compiler.Policy) bool { return p.ID == id }) {
			t.Errorf("%s rests on %v", path, by)
		}
	}
}
