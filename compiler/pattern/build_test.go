package pattern

import (
	"math/rand/v2"
	"strings"
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

func TestSplitLanguagesMatchTheirFormula(t *testing.T) {
	r := rand.New(rand.NewPCG(25, 26))
	split := 0
	for range 1500 {
		langs := make([]Language, 1+r.IntN(4))
		for i := range langs {
			langs[i] = Or(randomLanguage(r, "ab/", r.IntN(2)), randomLanguage(r, "ab/", 0))
		}
		set, err := Build(langs, Options{States: 24})
		if err != nil {
			continue // tested elsewhere
		}
		if len(set.Automata) > 1 {
			split++
		}
		for _, s := range short("ab/", 5) {
			for i, l := range langs {
				if set.Of(s).Has(i) != l.Match(s) {
					t.Fatalf("%v: %q: automata say %v", l, s, !l.Match(s))
				}
			}
		}
	}
	if split < 200 {
		t.Fatalf("%d builds with several automata only: the test is too weak", split)
	}
}

// TestEveryByteCanBeLiteral takes away the fresh byte on which comparisons of
// patterns rest.
func TestEveryByteCanBeLiteral(t *testing.T) {
	all := ""
	for b := range 256 {
		all += escaper.Replace(string([]byte{byte(b)}))
	}
	r := rand.New(rand.NewPCG(27, 28))
	for range 200 {
		list := []Language{Like(all)}
		for range 4 {
			list = append(list, Like(randomPattern(r, "ab", 6)))
		}
		l := Or(list...)
		set, err := Build([]Language{l}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range append(short("abc", 6), string(parse(all)[0])) {
			if set.Of(s).Has(0) != l.Match(s) {
				t.Fatalf("%v: %q: automaton says %v", l, s, !l.Match(s))
			}
		}
	}
}

func FuzzBuild(f *testing.F) {
	f.Add("*a*b", "a*", `\*`, "aab")
	f.Add("/home/*/.ssh/*", "*id_rsa*", "*/.git/*", "/home/x/.ssh/id_rsa")
	f.Fuzz(func(t *testing.T, p, q, r, s string) {
		langs := []Language{Or(Like(p), Like(q)), And(Like(q), Not(Like(r))), Or(Like(r), Not(Like(p)), Like(q))}
		set, err := Build(langs, Options{Work: 1 << 20})
		if err != nil {
			return
		}
		for _, text := range []string{s, p, q + s, strings.ReplaceAll(p, "*", s), ""} {
			for i, l := range langs {
				if set.Of(text).Has(i) != l.Match(text) {
					t.Fatalf("%v: %q: automaton says %v", l, text, !l.Match(text))
				}
			}
		}
	})
}
