package pattern

import (
	"math/rand/v2"
	"testing"

	"github.com/stockade-dev/stockade/compiler/rule"
)

func TestLikeMatchesAsTheRulesDo(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	matched := 0
	for range 200000 {
		p := make([]byte, r.IntN(8))
		for i := range p {
			p[i] = `ab***\`[r.IntN(6)]
		}
		s := randomString(r, `abb*\`, 7)
		want := rule.MatchLike(string(p), s)
		if got := Like(string(p)).Match(s); got != want {
			t.Fatalf("pattern %q, string %q: match is %v, must be %v", p, s, got, want)
		}
		if want {
			matched++
		}
		if again := parse(parse(string(p)).String()).String(); again != parse(string(p)).String() {
			t.Fatalf("pattern %q: written as %q", p, again)
		}
	}
	if matched < 10000 {
		t.Fatalf("%d matches only: the test is too weak", matched)
	}
}

func TestKeysAreEqualForTheSameFormula(t *testing.T) {
	a, b, c := Like("a*"), Like("*b"), Like("c")
	for _, pair := range [][2]Language{
		{Or(a, b, c), Or(c, Or(b, a), a)},
		{And(a, And(b, c)), And(c, b, a, b)},
		{Not(Not(a)), a},
		{Not(Or(a, b)), And(Not(b), Not(a))},
		{Not(And(a, b)), Or(Not(b), Not(a))},
		{Or(), Language{}},
		{And(), Like("**")},
		{Not(And()), Or()},
		{Or(a, Not(a)), And()},
		{And(Or(a, b), Not(Or(b, a))), Or()},
		{Like("a**b"), Like("a*b")},
		{Like(`\a`), Like("a")},
		{And(c, Not(a), Not(b)), And(And(c, Not(b)), Not(a))},
	} {
		if pair[0].Key() != pair[1].Key() {
			t.Errorf("%v and %v have different keys", pair[0], pair[1])
		}
	}
	if And(a, b).Key() == Or(a, b).Key() || Like("*").Key() == Like(`\*`).Key() || Like("true").Key() == And().Key() {
		t.Error("different formulas have equal keys")
	}
}

func TestFormulasMatchAsTheirPartsDo(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 20000 {
		x, y := randomLanguage(r, "ab", r.IntN(4)), randomLanguage(r, "ab", r.IntN(4))
		s := randomString(r, "abc", 6)
		if Not(x).Match(s) == x.Match(s) || And(x, y).Match(s) != (x.Match(s) && y.Match(s)) ||
			Or(x, y).Match(s) != (x.Match(s) || y.Match(s)) || x.n != nil && x.n.prune().match(s) != x.Match(s) {
			t.Fatalf("%q: wrong for %v and %v", s, x, y)
		}
	}
}
