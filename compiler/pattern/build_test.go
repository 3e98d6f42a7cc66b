package pattern

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestRandomLanguagesMatchTheirFormula(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for round := range 3000 {
		alphabet := []string{"ab", "ab/", `a*\/`, "a"}[round%4]
		langs := make([]Language, 1+r.IntN(4))
		for i := range langs {
			langs[i] = randomLanguage(r, alphabet, r.IntN(4))
		}
		set, err := Build(langs, Options{States: MaxStates})
		if err != nil {
			t.Fatal(err)
		}
		for range 60 {
			s := randomString(r, alphabet+"z", 9)
			got := set.Of(s)
			for i, l := range langs {
				if got.Has(i) != l.Match(s) {
					t.Fatalf("%v: %q: automaton says %v", l, s, got.Has(i))
				}
			}
		}
	}
}

func TestMeasure(t *testing.T) {
	for _, n := range []int{10, 100, 1000} {
		for _, e := range []int{1, 2, 8} {
			langs := typical(n, e)
			start := time.Now()
			b := newBuilder(langs, Options{}.filled())
			for k := 1; k <= 4; k++ {
				b.work.left = 1 << 28
				begin := time.Now()
				parts := b.split(k)
				mid := time.Now()
				var sizes []int
				for _, p := range parts {
					a, _, err := b.compile(p)
					if err != nil {
						sizes = append(sizes, -len(p))
						continue
					}
					sizes = append(sizes, a.States())
				}
				t.Logf("  %d %d k=%d: split %v build %v: %v work %d", n, e, k, mid.Sub(begin), time.Since(mid), sizes, 1<<28-b.work.left)
			}
			begin := time.Now()
			_, err := Build(langs, Options{})
			t.Logf("%d globs %d effects: %v %v %v", n, e, time.Since(begin), time.Since(start), err)
		}
	}
}
