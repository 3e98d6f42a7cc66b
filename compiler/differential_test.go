package compiler

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/gen"
)

// caseInput is the compiler's input for a generated case.
func caseInput(c *gen.Case) Input {
	return Input{
		Sources:  []Source{{"gen.cedar", c.Policies}},
		Entities: c.Entities, EntitiesName: "entities.json",
		Principal: c.Principal,
		Handled:   abi.EnforcedActions,
	}
}

// checkCase compares the plan with cedar-go on every request of a case and
// returns on how many of them the answer was allow or a policy errored.
func checkCase(t *testing.T, c *gen.Case, plan *Plan, oracle *Oracle) (allowed, errored int) {
	t.Helper()
	for _, r := range c.Requests {
		decision, diagnostic := oracle.diagnose(r, Told{})
		want, determining := bool(decision), reasons(diagnostic)
		var ids []string
		permit := true
		for _, p := range plan.Satisfied(r) {
			ids = append(ids, p.ID)
			permit = p.Effect == 0
		}
		slices.Sort(ids)
		permit = permit && len(ids) > 0
		walked := plan.Decide(r)
		if permit != want || !slices.Equal(ids, determining) || (walked == abi.Allow) != want {
			t.Fatalf("%s %s %q: cedar-go says %v by %q, the rules %v by %q, the table %s\nprincipal %s\n%s\n%s\n%v",
				r.Action, r.Kind, r.Path, want, determining, permit, ids, walked, c.Principal, c.Policies, c.Entities, plan.Rules.Rules)
		}
		if want {
			allowed++
		}
		if len(diagnostic.Errors) > 0 {
			errored++
		}
	}
	return allowed, errored
}

func TestPlansDecideAsCedarDoes(t *testing.T) {
	cases := 2400
	if testing.Short() {
		cases = 200
	}
	var compared, allowed, errored, refused atomic.Int64
	t.Run("cases", func(t *testing.T) {
		for shard := range 2 {
			t.Run(fmt.Sprint(shard), func(t *testing.T) {
				t.Parallel()
				for seed := shard; seed < cases; seed += 2 {
					c := gen.New(uint64(seed), gen.Options{})
					f, err := read(caseInput(c))
					if err != nil {
						t.Fatalf("seed %d: %v", seed, err)
					}
					plan, err := f.compile(caseInput(c))
					if err != nil {
						refused.Add(1)
						t.Logf("seed %d: %v", seed, err)
						continue
					}
					a, e := checkCase(t, c, plan, newOracle(f))
					allowed.Add(int64(a))
					errored.Add(int64(e))
					compared.Add(int64(len(c.Requests)))
				}
			})
		}
	})
	t.Logf("%d comparisons, %d allowed, %d with an error; %d of %d cases refused", compared.Load(), allowed.Load(), errored.Load(), refused.Load(), cases)
	if refused.Load()*50 > int64(cases) {
		t.Errorf("%d of %d generated cases are refused: the generator and the compiler have drifted apart", refused.Load(), cases)
	}
	if share := allowed.Load() * 100 / max(compared.Load(), 1); share < 10 || share > 90 {
		t.Errorf("%d%% of the requests are allowed: the comparison proves little", share)
	}
	if errored.Load()*20 < compared.Load() {
		t.Errorf("%d of %d requests have a policy that errors: the comparison proves little about errors", errored.Load(), compared.Load())
	}
}
