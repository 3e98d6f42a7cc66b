package compiler

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/gen"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// caseInput is the compiler's input for a generated case.
func caseInput(c *gen.Case) Input {
	return Input{
		Sources:  []Source{{"gen.cedar", c.Policies}},
		Entities: c.Entities, EntitiesName: "entities.json",
		Principal: c.Principal,
		Handled:   abi.EnforcedActions,
		Workload:  &Workload{Name: "demo", Image: "registry/demo", Labels: []string{"ci"}},
	}
}

// draws is how many times what only the agent knows is drawn for a request
// that depends on it.
const draws = 12

// judge compares a plan with cedar-go.
type judge struct {
	plan   *Plan
	oracle *Oracle
	random *rand.Rand
	// decide is the table's answer; a test of the tests puts a liar here.
	decide func(r abi.Request) abi.Verdict
	tally
}

// tally counts what comparisons saw.
type tally struct {
	compared, allowed, denied, asked int
	// settled counts the asks for which both answers were drawn, errored the
	// requests with a policy that errors, reported those that are allowed and
	// that policies in audit would deny, and perhaps those that these may deny.
	settled, errored, reported, perhaps int
}

func (a *tally) add(b tally) {
	a.compared += b.compared
	a.allowed += b.allowed
	a.denied += b.denied
	a.asked += b.asked
	a.settled += b.settled
	a.errored += b.errored
	a.reported += b.reported
	a.perhaps += b.perhaps
}

func newJudge(c *gen.Case, plan *Plan, oracle *Oracle) *judge {
	return &judge{plan: plan, oracle: oracle, random: rand.New(rand.NewPCG(1, uint64(len(c.Policies)))), decide: plan.Decide}
}

// verdictOf is the meaning of rules: forbid over permit, default deny, and ask
// where it depends on a residual.
// With audits, those in audit count as well.
func verdictOf(set *rule.Set, q abi.Request, audits bool) (v abi.Verdict, unclear bool) {
	facts := &q
	var permit, forbid rule.Truth
	for _, r := range set.Rules {
		if r.Actions>>q.Action&1 == 0 || r.Audited && !audits {
			continue
		}
		to := &permit
		if r.Effect == rule.Forbid {
			to = &forbid
		}
		switch rule.Eval(r.Cond, facts) {
		case rule.True:
			*to = rule.True
		case rule.Unclear:
			unclear = true
			if *to == rule.False {
				*to = rule.Unclear
			}
		}
	}
	switch {
	case forbid == rule.True || permit == rule.False:
		return abi.Deny, unclear
	case permit == rule.True && forbid == rule.False:
		return abi.Allow, unclear
	}
	return abi.Ask, unclear
}

// check compares one request. Its error says who says what.
func (j *judge) check(r abi.Request) error {
	rules, unclear := verdictOf(&j.plan.Rules, r, false)
	would, doubtful := verdictOf(&j.plan.Rules, r, true)
	walked, reported := j.decide(r), j.plan.Table.Reports(r)
	if reported && (walked != abi.Allow || would == abi.Allow) {
		return fmt.Errorf("%s: the table says %s and reports it; by the rules it would be %s", gen.Show(r), walked, would)
	}
	n := 1
	if unclear || doubtful || walked == abi.Ask {
		n = draws
	}
	var seen [2]bool
	for i := 0; i < n && !(seen[0] && seen[1]); i++ {
		told := Told(gen.NewTold(j.random, r.Path))
		decision, diagnostic := j.oracle.diagnose(r, told)
		answer := abi.Deny
		if decision {
			answer = abi.Allow
		}
		seen[answer] = true
		if rules != abi.Ask && rules != answer || walked != abi.Ask && walked != answer || walked == abi.Ask && rules != abi.Ask {
			return fmt.Errorf("%s: cedar-go says %s by %q, the rules %s, the table %s (told %+v)",
				gen.Show(r), answer, reasons(diagnostic), rules, walked, told)
		}
		if walked == abi.Allow {
			all, diagnostic := j.oracle.diagnoseBy(j.oracle.all, r, told)
			if !bool(all) && !reported || bool(all) && reported && !doubtful {
				return fmt.Errorf("%s: with those in audit cedar-go allows: %v by %q, the table reports: %v (told %+v)", gen.Show(r), all, reasons(diagnostic), reported, told)
			}
			if err := j.audited(r, reported, reasons(diagnostic), doubtful); err != nil {
				return err
			}
		}
		if determining := reasons(diagnostic); !unclear {
			if ids := j.satisfied(r); !slices.Equal(ids, determining) {
				return fmt.Errorf("%s: cedar-go says by %q, the rules by %q", gen.Show(r), determining, ids)
			}
		}
		if i == 0 && len(diagnostic.Errors) > 0 {
			j.errored++
		}
	}
	j.count(walked, seen[0] && seen[1])
	if reported && doubtful {
		j.perhaps++
	} else if reported {
		j.reported++
	}
	return nil
}

// audited compares the policies in audit that are named for a report with those
// by which cedar-go denies.
func (j *judge) audited(r abi.Request, reported bool, determining []string, doubtful bool) error {
	would, by := j.plan.Audited(r)
	var ids []string
	for _, p := range by {
		ids = append(ids, p.ID)
	}
	slices.Sort(ids)
	if reported != (len(ids) > 0) || reported == (would == abi.Allow) || reported && !doubtful && !slices.Equal(ids, determining) {
		return fmt.Errorf("%s: reported: %v; with those in audit %s by %q, cedar-go by %q", gen.Show(r), reported, would, ids, determining)
	}
	return nil
}

func (j *judge) count(v abi.Verdict, settled bool) {
	j.compared++
	switch v {
	case abi.Allow:
		j.allowed++
	case abi.Deny:
		j.denied++
	case abi.Ask:
		j.asked++
		if settled {
			j.settled++
		}
	}
}

// satisfied lists the ids of the policies that determine the verdict.
func (j *judge) satisfied(r abi.Request) []string {
	var ids []string
	for _, p := range j.plan.Satisfied(r) {
		ids = append(ids, p.ID)
	}
	slices.Sort(ids)
	return ids
}

// checkCase compares the plan with cedar-go on every request of a case.
func checkCase(t *testing.T, c *gen.Case, plan *Plan, oracle *Oracle) tally {
	t.Helper()
	j := newJudge(c, plan, oracle)
	for _, r := range c.Requests {
		if err := j.check(r); err != nil {
			t.Fatalf("%v\nprincipal %s\n%s\n%s\n%v", err, c.Principal, c.Policies, c.Entities, plan.Rules.Rules)
		}
	}
	return j.tally
}

// mismatch compiles a case and returns its first mismatch. A case that does
// not compile has none.
func mismatch(c *gen.Case, lie func(r abi.Request, v abi.Verdict) abi.Verdict) error {
	f, err := read(caseInput(c))
	if err != nil {
		return nil
	}
	plan, err := f.compile(caseInput(c))
	if err != nil {
		return nil
	}
	j := newJudge(c, plan, newOracle(f))
	if lie != nil {
		j.decide = func(r abi.Request) abi.Verdict { return lie(r, plan.Decide(r)) }
	}
	for _, r := range c.Requests {
		if err := j.check(r); err != nil {
			return err
		}
	}
	return nil
}

// report shrinks a case with a mismatch and describes what is left.
func report(c *gen.Case, lie func(r abi.Request, v abi.Verdict) abi.Verdict) string {
	small := gen.Shrink(c, func(c *gen.Case) bool { return mismatch(c, lie) != nil })
	return fmt.Sprintf("%v\n%s", mismatch(small, lie), small)
}

func TestPlansDecideAsCedarDoes(t *testing.T) {
	cases := 1600
	if testing.Short() {
		cases = 200
	}
	var total tally
	var refused int
	productions := map[string]int{}
	conditions := map[string]int{}
	reasons := map[string]int{}
	for seed := range cases {
		c := gen.New(uint64(seed), gen.Options{Audits: true})
		f, err := read(caseInput(c))
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, c)
		}
		plan, err := f.compile(caseInput(c))
		if err != nil {
			refused++
			t.Logf("seed %d: %v", seed, err)
			continue
		}
		for name, n := range c.Productions {
			productions[name] += n
		}
		count(&plan.Rules, conditions, reasons)
		j := newJudge(c, plan, newOracle(f))
		for _, r := range c.Requests {
			if err := j.check(r); err != nil {
				t.Fatalf("seed %d: %s", seed, report(c, nil))
			}
		}
		total.add(j.tally)
	}
	t.Logf("%+v; %d of %d cases refused", total, refused, cases)
	if refused*20 > cases {
		t.Errorf("%d of %d generated cases are refused: the generator and the compiler have drifted apart", refused, cases)
	}
	for name, share := range map[string]int{"allowed": total.allowed, "denied": total.denied} {
		if n := share * 100 / max(total.compared, 1); n < 10 {
			t.Errorf("%d%% of the requests are %s: the comparison proves little", n, name)
		}
	}
	if total.errored*20 < total.compared {
		t.Errorf("%d of %d requests have a policy that errors: the comparison proves little about errors", total.errored, total.compared)
	}
	if total.reported*500 < total.compared || total.perhaps == 0 {
		t.Errorf("%d of %d requests are reported, %d perhaps: the comparison proves little about policies in audit", total.reported, total.compared, total.perhaps)
	}
	// An ask that relates facts of the request with each other settles one way.
	if total.settled*5 < total.asked {
		t.Errorf("both answers were drawn for %d of %d asks only", total.settled, total.asked)
	}
	showCounts(t, "productions", productions, gen.Productions())
	showCounts(t, "conditions", conditions, conditionKinds)
	showCounts(t, "residuals", reasons, []string{reasonUser, reasonGroup, reasonArguments, reasonEnvironment, reasonNamespace,
		reasonOf(), "this computation is not compiled"})
}

// showCounts prints a table of counts, and fails if one of want is zero.
func showCounts(t *testing.T, title string, counts map[string]int, want []string) {
	t.Helper()
	names := slices.Clone(want)
	for name := range counts {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, "\n%10d  %s", counts[name], name)
	}
	t.Logf("%s:%s", title, b.String())
	for _, name := range want {
		if counts[name] == 0 && !testing.Short() {
			t.Errorf("%s: %q was never exercised", title, name)
		}
	}
}

// conditionKinds are the kinds of rule.Cond, with their fields.
var conditionKinds = func() []string {
	list := []string{"dir", "path ==", "path <", "unknown", "not", "and", "or", "const"}
	for _, f := range rule.Texts() {
		list = append(list, "like "+f.String())
	}
	for _, f := range rule.Numbers() {
		list = append(list, "less "+f.String())
	}
	return list
}()

// count notes the kinds of conditions and the reasons of residuals.
func count(set *rule.Set, conditions, reasons map[string]int) {
	for _, r := range set.Rules {
		countCondition(r.Cond, conditions)
	}
	for _, r := range set.Residuals {
		reasons[r.Reason]++
	}
}

func countCondition(c rule.Cond, counts map[string]int) {
	switch c := c.(type) {
	case rule.Const:
		counts["const"]++
	case rule.Is:
		counts["dir"]++
	case rule.PathEq:
		counts["path =="]++
	case rule.PathBelow:
		counts["path <"]++
	case rule.Like:
		counts["like "+c.Field.String()]++
	case rule.Less:
		counts["less "+c.Field.String()]++
	case rule.Unknown:
		counts["unknown"]++
	case rule.Not:
		counts["not"]++
		countCondition(c.X, counts)
	case rule.And:
		counts["and"]++
		for _, x := range c {
			countCondition(x, counts)
		}
	case rule.Or:
		counts["or"]++
		for _, x := range c {
			countCondition(x, counts)
		}
	}
}

// A table that lies about one action must be found out, and what is printed
// must be small: one policy at most, one request, no fact.
func TestAMismatchIsShrunk(t *testing.T) {
	lie := func(r abi.Request, v abi.Verdict) abi.Verdict {
		if r.Action == abi.Chmod && v != abi.Ask {
			return abi.Allow - v
		}
		return v
	}
	found := 0
	for seed := range uint64(40) {
		c := gen.New(seed, gen.Options{Themes: gen.None})
		if mismatch(c, lie) == nil {
			continue
		}
		found++
		small := gen.Shrink(c, func(c *gen.Case) bool { return mismatch(c, lie) != nil })
		if mismatch(small, lie) == nil {
			t.Fatalf("seed %d: the shrunk case does not fail:\n%s", seed, small)
		}
		want := abi.Request{Action: abi.Chmod, Path: "/"}
		if len(small.Set) > 0 || len(small.Data) > 0 || len(small.Requests) != 1 || small.Requests[0] != want {
			t.Errorf("seed %d: not small:\n%s", seed, small)
		}
	}
	if found < 20 {
		t.Errorf("the liar was found out in %d of 40 cases", found)
	}
}

// A table that lies only where a directory is allowed to be read needs a policy that
// permits it: that policy must be left, without what does not matter.
func TestAShrunkMismatchKeepsWhatItNeeds(t *testing.T) {
	lie := func(r abi.Request, v abi.Verdict) abi.Verdict {
		if r.Kind == abi.Dir && r.Action == abi.Read && v == abi.Allow {
			return abi.Deny
		}
		return v
	}
	for seed := range uint64(60) {
		c := gen.New(seed, gen.Options{Themes: gen.None})
		if mismatch(c, lie) == nil {
			continue
		}
		small := gen.Shrink(c, func(c *gen.Case) bool { return mismatch(c, lie) != nil })
		text := string(small.Policies)
		if len(small.Set) != 1 || small.Set[0].Effect != "permit" || len(text) > 60 || len(small.Data) > 0 || small.Requests[0].Path != "/" {
			t.Errorf("seed %d: not small:\n%s", seed, small)
		}
	}
}
