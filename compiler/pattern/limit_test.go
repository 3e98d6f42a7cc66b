package pattern

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// explosive is a union of patterns with two literals between stars each, whose
// automaton must remember every first literal that it has seen.
func explosive(n int) Language {
	var list []Language
	for i := range n {
		list = append(list, Like(fmt.Sprintf("*<%d>*{%d}*", i, i)))
	}
	return Or(list...)
}

func TestExplosionIsRefusedSoonAndNamed(t *testing.T) {
	start := time.Now()
	_, err := Build([]Language{Like("*.go"), explosive(100), Or(Like("/a/*"), Like("*b"))}, Options{})
	var large *TooLargeError
	if !errors.As(err, &large) {
		t.Fatalf("error is %v", err)
	}
	if len(large.Languages) == 0 || large.Languages[0] != 1 {
		t.Errorf("costliest languages are %v, must begin with 1", large.Languages)
	}
	if !strings.Contains(err.Error(), `"*<0>*{0}*"`) || !strings.Contains(err.Error(), "4096") {
		t.Errorf("error does not say what to mend: %v", err)
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("refused after %v", d)
	}
}

func TestSplitMakesRoom(t *testing.T) {
	langs := []Language{explosive(16), Like("/x/*")}
	if _, err := Build(langs, Options{Automata: 1}); err == nil {
		t.Fatal("one automaton is enough: the test shows nothing")
	}
	set, err := Build(langs, Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(21, 22))
	for range 5000 {
		s := ""
		for range r.IntN(4) {
			s += []string{"<0>", "{0}", "<1>", "{1}", "/x/"}[r.IntN(5)]
		}
		for i, l := range langs {
			if set.Of(s).Has(i) != l.Match(s) {
				t.Fatalf("%q: language %d is %v", s, i, !l.Match(s))
			}
		}
	}
}

func TestWorkAndSizesAreBounded(t *testing.T) {
	long := strings.Repeat("a", 5000)
	for name, c := range map[string]struct {
		langs []Language
		o     Options
	}{
		"work":           {typical(100, 2), Options{Work: 30000}},
		"states":         {typical(100, 2), Options{States: 20}},
		"a long pattern": {[]Language{Like(long)}, Options{}},
		"many patterns":  {[]Language{explosive(20000)}, Options{}},
		"a formula":      {[]Language{And(explosive(16), Not(Like("/x/*")))}, Options{}},
	} {
		_, err := Build(c.langs, c.o)
		var large *TooLargeError
		if !errors.As(err, &large) || len(large.Languages) == 0 {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}

func TestOrderOfWritingChangesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(23, 24))
	langs := append(typical(100, 8), And(Like("*x*"), Not(Like("*y"))), Language{}, And(), Like("*.ext1"))
	want, err := Build(langs, Options{States: 3000})
	if err != nil {
		t.Fatal(err)
	}
	if len(want.Automata) < 2 {
		t.Fatal("one automaton is enough: the test shows nothing")
	}
	for range 3 {
		place := r.Perm(len(langs))
		mixed := make([]Language, len(langs))
		for i, l := range langs {
			parts := []Language{l}
			if n := l.node(); n.kind == isOr {
				parts = nil
				for _, x := range n.of {
					parts = append(parts, Language{x})
				}
				r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
			}
			mixed[place[i]] = Or(parts...)
		}
		got, err := Build(mixed, Options{States: 3000})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(got.Automata, want.Automata, (*Automaton).Equal) {
			t.Fatal("automata depend on the order")
		}
		for a := range want.Holds {
			for o, set := range want.Holds[a] {
				for i := range langs {
					if set.Has(i) != got.Holds[a][o].Has(place[i]) {
						t.Fatal("languages of an output depend on the order")
					}
				}
			}
		}
	}
}

// TestFewStatesBeforeMinimising holds what prunes positions: each kind of it
// that is lost makes some of these larger.
func TestFewStatesBeforeMinimising(t *testing.T) {
	for name, c := range map[string]struct {
		langs []Language
		most  int
	}{
		"typical, one effect":  {typical(100, 1), 2446},
		"typical, two effects": {typical(100, 2), 5602},
		"initial stars":        {[]Language{Or(Like("*/a/*.x"), Like("*/b/*.x"), Like("*/c/*.y"), Like("*/a/*/b/*.y"), Like("*z"))}, 33},
		"borders":              {[]Language{Or(Like("*ab*ab*c"), Like("*ba*c"), Like("/a*c/*c*"), Like("*aab*/c"))}, 35},
		"a formula":            {[]Language{And(Like("*ab*ab*c"), Not(Like("*ba*c")))}, 17},
		"two stars at once":    {[]Language{Or(Like("/*q*c"), Like("*rq*bc")), Or(Like("/*q*bc"), Like("*rq*c"))}, 16},
		"a settled union":      {[]Language{Or(Like("*aa*"), Like("*bb*"), Like("*cc*"), Like("*dd*"), Like("*ee*"))}, 7},
	} {
		var nodes []*node
		for _, l := range c.langs {
			nodes = append(nodes, l.node().prune())
		}
		list, units := formulas(nodes)
		x, ok := explore(list, units, 1<<20, &budget{1 << 30})
		if !ok || x.intern.len() > c.most {
			t.Errorf("%s: %d states before minimising, were %d", name, x.intern.len(), c.most)
		}
	}
}

func TestThousandTypicalGlobsAreBuilt(t *testing.T) {
	for effects := 1; effects <= 2; effects++ {
		set, err := Build(typical(1000, effects), Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d effects: %d automata", effects, len(set.Automata))
	}
	var large *TooLargeError
	if _, err := Build(typical(1000, 8), Options{}); !errors.As(err, &large) {
		t.Errorf("eight effects: error is %v: the figures in the comment of Build are out of date", err)
	}
}
