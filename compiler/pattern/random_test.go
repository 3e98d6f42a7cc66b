package pattern

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// randomPattern is short and over a small alphabet, so that patterns collide.
func randomPattern(r *rand.Rand, alphabet string, size int) string {
	var b strings.Builder
	for range r.IntN(size + 1) {
		switch c := alphabet[r.IntN(len(alphabet))]; {
		case r.IntN(3) == 0:
			b.WriteByte('*')
		case c == '*' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func randomString(r *rand.Rand, alphabet string, size int) string {
	b := make([]byte, r.IntN(size+1))
	for i := range b {
		b[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(b)
}

// randomLanguage is a formula of some depth; a union where depth is 0.
func randomLanguage(r *rand.Rand, alphabet string, depth int) Language {
	if depth == 0 {
		var list []Language
		for range 1 + r.IntN(4) {
			list = append(list, Like(randomPattern(r, alphabet, 5)))
		}
		return Or(list...)
	}
	x, y := randomLanguage(r, alphabet, depth-1), randomLanguage(r, alphabet, r.IntN(depth))
	switch r.IntN(4) {
	case 0:
		return Not(x)
	case 1:
		return And(x, y)
	case 2:
		return Or(x, Not(y))
	}
	return Or(x, y)
}

// typical makes n globs as policies have them, spread over some effects.
func typical(n, effects int) []Language {
	r := rand.New(rand.NewPCG(1, 2))
	word := func(prefix string, of int) string { return fmt.Sprintf("%s%d", prefix, r.IntN(of)) }
	seen := make(map[string]bool)
	lists := make([][]Language, effects)
	for len(seen) < n {
		i := len(seen)
		var p string
		switch i % 8 {
		case 0:
			p = "*." + word("ext", 4*n)
		case 1:
			p = "*/." + word("name", 4*n) + "/*"
		case 2:
			p = "/home/*/." + word("ssh", 4*n) + "/*"
		case 3:
			p = "*" + word("secret", 4*n) + "*"
		case 4:
			p = "/srv/*/" + word("config", 4) + "/*." + word("y", 20+n/8)
		case 5:
			p = "/work/*/node_modules/*/" + word("bin", 4*n) + "/*"
		case 6:
			p = "*" + word("id_", 4*n) + "*"
		case 7:
			p = "/opt/" + word("app", 4*n) + "/*/*.so"
		}
		if !seen[p] {
			seen[p] = true
			e := (i / 8) % effects
			lists[e] = append(lists[e], Like(p))
		}
	}
	langs := make([]Language, effects)
	for i, list := range lists {
		langs[i] = Or(list...)
	}
	return langs
}
