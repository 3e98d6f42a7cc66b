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

func TestTableDecidesAsTheRulesDo(t *testing.T) {
	handled := abi.MaskOf(abi.Open, abi.Read, abi.Write)
	r := rand.New(rand.NewPCG(1, 2))
	reported, tripped := 0, 0
	for range 3000 {
		s := randomSet(r, handled)
		tab, err := Build(s, handled)
		if err != nil {
			t.Fatal(err)
		}
		for range 40 {
			q := randomRequest(r)
			want := answer(s, q)
			if got := tab.Answer(q); got != want || tab.Decide(q) != want.Verdict || tab.Reports(q) != want.Reported || tab.Trips(q) != want.Tripped {
				t.Fatalf("%+v: table %v, rules %v\n%v", q, got, want, s.Rules)
			}
			if want.Reported {
				reported++
			}
			if want.Tripped {
				tripped++
			}
		}
	}
	if reported < 1000 || tripped < 1000 {
		t.Errorf("%d requests are reported, %d trip a wire: the test proves little", reported, tripped)
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
			q, rest := randomRequest(r), strings.TrimSuffix(randomPath(r), "/")
			at := func(path string) abi.Request { q.Path = path; return q }
			if tab.Everywhere(q.Kind).Has(q.Action) && decide(s, at(rest+"/q")) != abi.Allow {
				t.Fatalf("everywhere says %v, but not on %q", q.Action, rest+"/q")
			}
			if rest == "" {
				q.Kind = abi.Dir
			}
			old, now := strings.TrimSuffix(from, "/")+rest, strings.TrimSuffix(to, "/")+rest
			if old == "" || now == "" {
				continue
			}
			if !tab.Gains(abi.Dir, from, to) && gained(decide(s, at(old)), decide(s, at(now))) {
				t.Fatalf("moving %q to %q gains %+v on %q\n%v", from, to, q, rest, s.Rules)
			}
			if !tab.Gains(abi.File, old, now) && q.Kind == abi.File && gained(decide(s, at(old)), decide(s, at(now))) {
				t.Fatalf("moving file %q to %q gains %+v\n%v", old, now, q, s.Rules)
			}
		}
	}
	if gains == 0 || none == 0 {
		t.Fatalf("one-sided test: %d gains, %d none", gains, none)
	}
}

// gained reports that a verdict got better.
func gained(old, now abi.Verdict) bool {
	return now == abi.Allow && old != abi.Allow || now == abi.Ask && old == abi.Deny
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
				contradiction := rule.And{rule.Is{Kind: abi.Dir}, rule.Not{X: rule.Is{Kind: abi.Dir}}}
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
				bent.Decide(randomRequest(r))
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
