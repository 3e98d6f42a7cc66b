package table

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

var names = []string{"a", "b", "ab", "etc", "x y", "new\nline", "*", strings.Repeat("n", 16), strings.Repeat("n", 17),
	strings.Repeat("n", 24), strings.Repeat("m", 255), "\xff\xfe"}

func randomPath(r *rand.Rand) string {
	n := r.IntN(5)
	if n == 0 {
		return "/"
	}
	var b strings.Builder
	for range n {
		b.WriteString("/" + names[r.IntN(len(names))])
	}
	return b.String()
}

func randomCond(r *rand.Rand, depth int) rule.Cond {
	switch n := r.IntN(10); {
	case n < 3 || depth == 0:
		return rule.PathBelow{Path: randomPath(r)}
	case n < 5:
		return rule.PathEq{Path: randomPath(r)}
	case n < 6:
		return rule.IsDir{}
	case n < 7:
		return rule.Neg(randomCond(r, depth-1))
	case n < 8:
		return rule.Conj(randomCond(r, depth-1), randomCond(r, depth-1))
	default:
		return rule.Disj(randomCond(r, depth-1), randomCond(r, depth-1))
	}
}

func randomSet(r *rand.Rand, handled abi.ActionMask) *rule.Set {
	s := &rule.Set{}
	for i := range 1 + r.IntN(8) {
		s.Rules = append(s.Rules, rule.Rule{Policy: i, Effect: rule.Effect(r.IntN(4) / 3),
			Actions: r.Uint32() & uint32(handled), Cond: randomCond(r, 3)})
	}
	return s
}

// decide is the meaning of a rule set: forbid over permit, default deny.
func decide(s *rule.Set, a abi.Action, k abi.Kind, path string) abi.Verdict {
	v := abi.Deny
	for _, r := range s.Rules {
		if r.Actions>>a&1 == 1 && rule.Eval(r.Cond, &rule.Request{Dir: k == abi.Dir, Path: path}) == rule.True {
			if r.Effect == rule.Forbid {
				return abi.Deny
			}
			v = abi.Allow
		}
	}
	return v
}

func TestTableDecidesAsTheRulesDo(t *testing.T) {
	handled := abi.MaskOf(abi.Open, abi.Read, abi.Write)
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		s := randomSet(r, handled)
		tab, err := Build(s, handled)
		if err != nil {
			t.Fatal(err)
		}
		for range 40 {
			a, k, path := abi.Action(r.IntN(3)), abi.Kind(r.IntN(2)), randomPath(r)
			if got, want := tab.Decide(abi.Request{Action: a, Kind: k, Path: path}), decide(s, a, k, path); got != want {
				t.Fatalf("%v %v %q: table %v, rules %v\n%v", a, k, path, got, want, s.Rules)
			}
		}
	}
}

func TestEverywhereAndSubtreesHoldForEveryPathBeneath(t *testing.T) {
	handled := abi.MaskOf(abi.Open, abi.Read, abi.Write)
	r := rand.New(rand.NewPCG(3, 4))
	var gains, none int
	for range 2000 {
		s := randomSet(r, handled)
		tab, err := Build(s, handled)
		if err != nil {
			t.Fatal(err)
		}
		from, to := randomPath(r), randomPath(r)
		if tab.Gains(abi.Dir, from, to) {
			gains++
		} else {
			none++
		}
		for range 20 {
			a, k, rest := abi.Action(r.IntN(3)), abi.Kind(r.IntN(2)), strings.TrimSuffix(randomPath(r), "/")
			if tab.Everywhere(k).Has(a) && decide(s, a, k, rest+"/q") != abi.Allow {
				t.Fatalf("everywhere says %v, but not on %q", a, rest+"/q")
			}
			if rest == "" {
				k = abi.Dir
			}
			old, now := strings.TrimSuffix(from, "/")+rest, strings.TrimSuffix(to, "/")+rest
			if old == "" || now == "" {
				continue
			}
			if !tab.Gains(abi.Dir, from, to) && decide(s, a, k, old) != abi.Allow && decide(s, a, k, now) == abi.Allow {
				t.Fatalf("moving %q to %q gains %v on %q", from, to, a, rest)
			}
		}
	}
	if gains == 0 || none == 0 {
		t.Fatalf("one-sided test: %d gains, %d none", gains, none)
	}
}

// Equal meaning, equal bytes: order of rules, splitting a disjunction, and
// double negation must not show.
func TestEqualMeaningGivesEqualBytes(t *testing.T) {
	handled := abi.MaskOf(abi.Open, abi.Read, abi.Write)
	r := rand.New(rand.NewPCG(5, 6))
	for range 500 {
		s := randomSet(r, handled)
		twin := &rule.Set{Rules: slices.Clone(s.Rules)}
		r.Shuffle(len(twin.Rules), func(i, j int) { twin.Rules[i], twin.Rules[j] = twin.Rules[j], twin.Rules[i] })
		for i, x := range twin.Rules {
			if list, ok := x.Cond.(rule.Or); ok {
				x.Cond = list[0]
				y := x
				y.Cond = rule.Disj(list[1:]...)
				twin.Rules[i] = x
				twin.Rules = append(twin.Rules, y)
			} else {
				// De Morgan: c = !(!c | false-by-contradiction)
				contradiction := rule.And{rule.IsDir{}, rule.Not{X: rule.IsDir{}}}
				twin.Rules[i].Cond = rule.Not{X: rule.Or{rule.Not{X: x.Cond}, contradiction}}
			}
		}
		a, err := Build(s, handled)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Build(twin, handled)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Fatalf("%v\n%v", s.Rules, twin.Rules)
		}
	}
}

// Every single-byte corruption is refused, or leaves a table that is walked
// within its bounds.
func TestCorruptTablesAreRefusedOrBounded(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	handled := abi.MaskOf(abi.Open, abi.Read, abi.Write)
	var refused, walked int
	for range 20 {
		tab, err := Build(randomSet(r, handled), handled)
		if err != nil {
			t.Fatal(err)
		}
		for i := range len(tab.words) * 8 {
			w := slices.Clone(tab.words)
			w[i/8] ^= uint64(1+r.IntN(255)) << (8 * (i % 8))
			if Verify(w) != nil {
				refused++
				continue
			}
			walked++
			bent := &Table{words: w}
			for range 5 {
				path := randomPath(r)
				bent.Decide(abi.Request{Action: abi.Read, Path: path})
				bent.Gains(abi.Dir, path, randomPath(r))
			}
		}
	}
	if refused == 0 || walked == 0 {
		t.Fatalf("refused %d, walked %d: the test sees one side only", refused, walked)
	}
}

func manyRules(n int) *rule.Set {
	s := &rule.Set{}
	for i := range n {
		s.Rules = append(s.Rules, rule.Rule{Policy: i, Actions: 3,
			Cond: rule.PathBelow{Path: fmt.Sprintf("/srv/team%d/project%d/src%d", i%100, i%1000, i)}})
	}
	return s
}

func TestTenThousandRulesStayUnderTwoMiB(t *testing.T) {
	tab, err := Build(manyRules(10000), abi.EnforcedActions)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(tab.Bytes()); n > 2<<20 {
		t.Fatalf("10,000 rules take %d bytes", n)
	} else {
		t.Logf("10,000 rules take %d KiB", n>>10)
	}
}

// Names that differ in their last bytes only, 200,000 in one folder: a weak
// hash gives them all the same pairs of buckets.
func TestManySimilarNamesFindAPlace(t *testing.T) {
	s := &rule.Set{}
	for i := range 200000 {
		s.Rules = append(s.Rules, rule.Rule{Policy: i, Actions: 1, Cond: rule.PathEq{Path: fmt.Sprintf("/data/item-%011d", i)}})
	}
	tab, err := Build(s, 1)
	if err != nil {
		t.Fatal(err)
	}
	if load := float64(tab.Nodes) / float64(tab.Buckets*bucketSlots); load < 0.7 {
		t.Errorf("table is %.0f %% full: it grew", load*100)
	}
}

func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{10, 1000, 100000} {
		s := manyRules(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if _, err := Build(s, abi.EnforcedActions); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
