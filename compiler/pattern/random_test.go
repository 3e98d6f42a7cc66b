package pattern

import (
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
