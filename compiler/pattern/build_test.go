package pattern

import (
	"math/rand/v2"
	"testing"
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
