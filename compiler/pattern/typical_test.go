package pattern

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// typical makes n globs as policies have them, spread over some effects: each
// effect has patterns of all shapes.
func typical(n, effects int) []Language {
	r := rand.New(rand.NewPCG(1, 2))
	word := func(prefix string, of int) string { return fmt.Sprintf("%s%d", prefix, r.IntN(of)) }
	seen := make(map[string]bool)
	lists := make([][]Language, effects)
	for len(seen) < n {
		i := len(seen)
		p := [...]string{
			"*." + word("ext", 4*n),
			"*/." + word("name", 4*n) + "/*",
			"/home/*/." + word("ssh", 4*n) + "/*",
			"*" + word("secret", 4*n) + "*",
			"/srv/*/" + word("config", 4) + "/*." + word("y", 20+n/8),
			"/work/*/node_modules/*/" + word("bin", 4*n) + "/*",
			"*" + word("id_", 4*n) + "*",
			"/opt/" + word("app", 4*n) + "/*/*.so",
		}[i%8]
		if !seen[p] {
			seen[p] = true
			lists[i/8%effects] = append(lists[i/8%effects], Like(p))
		}
	}
	langs := make([]Language, effects)
	for i, list := range lists {
		langs[i] = Or(list...)
	}
	return langs
}

func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		for _, effects := range []int{1, 2, 8} {
			langs := typical(n, effects)
			b.Run(fmt.Sprintf("globs=%d/effects=%d", n, effects), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					set, err := Build(langs, Options{})
					if err != nil {
						if n < 1000 || effects < 8 {
							b.Fatal(err)
						}
						continue // the refusal is what is measured
					}
					states, words := 0, 0
					for _, a := range set.Automata {
						states += a.States()
						words += 2 * (len(a.Next) + len(a.Out))
					}
					b.ReportMetric(float64(len(set.Automata)), "automata")
					b.ReportMetric(float64(states), "states")
					b.ReportMetric(float64(words), "bytes")
				}
			})
		}
	}
}

func BenchmarkRun(b *testing.B) {
	set, err := Build(typical(100, 2), Options{})
	if err != nil {
		b.Fatal(err)
	}
	const path = "/home/alice/projects/stockade/node_modules/left-pad/index.js"
	b.SetBytes(int64(len(path)))
	for b.Loop() {
		set.Automata[0].Run(0, path)
	}
}
