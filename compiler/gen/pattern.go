package gen

import (
	"strings"
	"unicode/utf8"

	"github.com/cedar-policy/cedar-go/types"
)

// globBudget bounds the stars between other stars of a case: the automaton of
// many such patterns explodes, and the compiler refuses it.
const globBudget = 4

// like writes a pattern near one of the strings that base draws, and notes
// strings that match it, or nearly.
func (g *generator) like(field string, base func() string) string {
	g.pattern.base = base()
	g.draw(patterns)
	parts := g.pattern.parts
	if stars(parts) > 2 {
		if g.pattern.spent++; g.pattern.spent > globBudget {
			parts = []any{types.Wildcard{}, types.String(g.pattern.base)}
		}
	}
	for range 3 {
		match := g.instance(parts)
		g.used[field] = append(g.used[field], match, g.near(match))
	}
	return string(types.NewPattern(parts...).MarshalCedar())
}

func stars(parts []any) int {
	n := 0
	for _, p := range parts {
		if _, ok := p.(types.Wildcard); ok {
			n++
		}
	}
	return n
}

// patterns are the shapes of a pattern; they leave it in g.pattern.parts.
var patterns = []production{
	{"pattern exact", func(g *generator) string { return g.shape(g.cut(0, 1)) }},
	{"pattern prefix*", func(g *generator) string { return g.shape(g.cut(0, 0.6), types.Wildcard{}) }},
	{"pattern prefix*", func(g *generator) string { return g.shape(g.cut(0, 0.9), types.Wildcard{}) }},
	{"pattern *suffix", func(g *generator) string { return g.shape(types.Wildcard{}, g.cut(0.5, 1)) }},
	{"pattern *suffix", func(g *generator) string { return g.shape(types.Wildcard{}, g.cut(0.8, 1)) }},
	{"pattern a*b", func(g *generator) string { return g.shape(g.cut(0, 0.3), types.Wildcard{}, g.cut(0.7, 1)) }},
	{"pattern *x*", func(g *generator) string {
		return g.shape(types.Wildcard{}, g.cut(0.3, 0.7), types.Wildcard{})
	}},
	{"pattern *a*b*", func(g *generator) string {
		return g.shape(types.Wildcard{}, g.cut(0.2, 0.4), types.Wildcard{}, g.cut(0.6, 0.8), types.Wildcard{})
	}},
	{"pattern dir/*/file", func(g *generator) string {
		at := strings.LastIndexByte(g.pattern.base, '/') + 1
		return g.shape(types.String(g.pattern.base[:at]), types.Wildcard{}, types.String("/"), types.String(g.pattern.base[at:]))
	}},
	{"pattern *.ext", func(g *generator) string { return g.shape(types.Wildcard{}, types.String(pick(g, ".env", ".x", "b"))) }},
	{"pattern literal star", func(g *generator) string { return g.shape(g.cut(0, 0.5), types.String("*"), types.Wildcard{}) }},
	{"pattern backslash", func(g *generator) string { return g.shape(types.Wildcard{}, types.String(`\`), types.Wildcard{}) }},
	{"pattern **", func(g *generator) string {
		return g.shape(g.cut(0, 0.4), types.Wildcard{}, types.Wildcard{}, g.cut(0.4, 1))
	}},
	{"pattern *", func(g *generator) string { return g.shape(types.Wildcard{}) }},
	{"pattern empty", func(g *generator) string { return g.shape(types.String("")) }},
}

// shaping is the pattern at hand.
type shaping struct {
	base  string
	parts []any
	// spent counts the costly patterns of the case.
	spent int
}

func (g *generator) shape(parts ...any) string {
	g.pattern.parts = parts
	return ""
}

// cut returns a part of the base, whole characters only, with ends moved a
// little.
func (g *generator) cut(from, to float64) types.String {
	n := float64(len(g.pattern.base))
	i, j := int(from*n), int(to*n)
	if from > 0 {
		i = min(max(i+g.IntN(3)-1, 0), len(g.pattern.base))
	}
	if to < 1 {
		j = min(max(j+g.IntN(3)-1, 0), len(g.pattern.base))
	}
	return types.String(strings.ToValidUTF8(g.pattern.base[min(i, j):max(i, j)], ""))
}

// instance returns a string that matches.
func (g *generator) instance(parts []any) string {
	var b strings.Builder
	for _, p := range parts {
		if s, ok := p.(types.String); ok {
			b.WriteString(string(s))
			continue
		}
		b.WriteString(pick(g, "", "", "a", "/", "/a/b", "x", g.name(), g.pattern.base))
	}
	return b.String()
}

// near changes a string a little.
func (g *generator) near(s string) string {
	if s == "" {
		return pick(g, "", "a", "/")
	}
	i := g.IntN(len(s))
	switch g.IntN(5) {
	case 0:
		return s[:i] + s[i+1:]
	case 1:
		return s[:i] + pick(g, "a", "x", "/", "*", ".", "\xff") + s[i:]
	case 2:
		return s[:i]
	case 3:
		return s + pick(g, "a", "/", "/a", " ")
	}
	_, width := utf8.DecodeRuneInString(s[i:])
	return s[:i] + pick(g, "a", "b", "é") + s[i+width:]
}
