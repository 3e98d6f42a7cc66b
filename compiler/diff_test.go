package compiler

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/gen"
	"github.com/stockade-dev/stockade/compiler/rule"
	"github.com/stockade-dev/stockade/compiler/table"
)

// neighbour drops a policy of a case.
func neighbour(r *rand.Rand, c *gen.Case) *gen.Case {
	n := *c
	i := r.IntN(len(c.Set))
	n.Set = slices.Delete(slices.Clone(c.Set), i, i+1)
	n.Write()
	return &n
}

func TestDiffFindsWhatADroppedPolicyChanges(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	var compiled, equal, different, some, facts, reports int
	for seed := range uint64(700) {
		c := gen.New(seed, gen.Options{Requests: 150, Audits: true})
		n := neighbour(r, c)
		old, err := Compile(caseInput(c))
		if err != nil {
			continue
		}
		now, err := Compile(caseInput(n))
		if err != nil {
			continue
		}
		compiled++
		if list := mustDiff(t, old, old); len(list) > 0 {
			t.Fatalf("a plan differs from itself: %+v\n%s", list, c)
		}
		list := mustDiff(t, old, now)
		if len(list) == 0 {
			equal++
		}
		if back := mustDiff(t, now, old); len(back) != len(list) {
			t.Fatalf("%d changes there, %d back\n%s", len(list), len(back), c)
		}
		for i := range list {
			d := &list[i]
			if was, is := old.answers(d.Witness), now.answers(d.Witness); was != d.Old || is != d.New || !d.Covers(d.Witness) {
				t.Fatalf("witness %s: %v → %v, change %+v\n%s", gen.Show(d.Witness), was, is, *d, c)
			}
			if problem, _ := PathProblem(d.Witness.Path); problem != "" {
				t.Fatalf("witness %q: %s", d.Witness.Path, problem)
			}
			if slices.ContainsFunc(d.Places, func(p table.Place) bool { return p.Some }) {
				some++
			}
			facts += len(d.Needs)
			for _, x := range d.Globs {
				q := d.Witness
				q.Path = x.Path
				if !rule.MatchLike(x.Pattern, x.Path) || old.answers(q) != d.Old || now.answers(q) != d.New || !d.Covers(q) {
					t.Fatalf("example %+v of %+v\n%s", x, *d, c)
				}
			}
		}
		for _, q := range c.Requests {
			was, is := old.answers(q), now.answers(q)
			if was == is {
				continue
			}
			different++
			if was.Verdict == is.Verdict {
				reports++
			}
			if !slices.ContainsFunc(list, func(d Change) bool { return d.Old == was && d.New == is && d.Covers(q) }) {
				t.Fatalf("%s: %v → %v is not among %+v\n%s", gen.Show(q), was, is, list, c)
			}
		}
	}
	t.Logf("%d pairs, %d equal, %d requests differ, %d in reports alone, %d by globs, %d facts", compiled, equal, different, reports, some, facts)
	if compiled < 300 || equal == 0 || different == 0 || some == 0 || facts == 0 || reports == 0 {
		t.Fatal("the test sees one side only")
	}
}

func mustDiff(t *testing.T, old, now *Plan) []Change {
	t.Helper()
	list, err := Diff(old, now)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func alicePlan(t *testing.T, text string) *Plan {
	t.Helper()
	plan, err := Compile(Input{Sources: []Source{{"p.cedar", []byte(text)}}, Principal: `User::"alice"`})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

const readSrv = `permit (principal, action == file_system::Action::"read", resource in file_system::Dir::"/srv");`

func TestDiffRefusesPlansOfDifferentActions(t *testing.T) {
	other, err := Compile(Input{Principal: `User::"alice"`, Handled: abi.EnforcedActions})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Diff(alicePlan(t, readSrv), other); err == nil || !strings.Contains(err.Error(), "not compared") {
		t.Error(err)
	}
}
