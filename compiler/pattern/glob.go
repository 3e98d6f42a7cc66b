package pattern

import (
	"slices"
	"strings"
)

// glob is a parsed like pattern: literal segments with one star between each
// two. Inner segments are not empty, so equal globs are written alike.
type glob []string

// parse reads a pattern: * stands for any bytes, \ for the byte after it (for
// itself at the end), every other byte for itself.
func parse(pattern string) glob {
	var g glob
	var literal []byte
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		if c == '*' {
			if len(g) == 0 || len(literal) > 0 {
				g = append(g, string(literal))
				literal = nil
			}
			continue
		}
		if c == '\\' && i+1 < len(pattern) {
			i++
			c = pattern[i]
		}
		literal = append(literal, c)
	}
	return append(g, string(literal))
}

var escaper = strings.NewReplacer(`\`, `\\`, `*`, `\*`)

// String returns the shortest pattern that parses to g.
func (g glob) String() string {
	parts := make([]string, len(g))
	for i, segment := range g {
		parts[i] = escaper.Replace(segment)
	}
	return strings.Join(parts, "*")
}

// match reports whether s is in the language. The leftmost place of a segment
// leaves the most to the ones after it, so the first try is the best one.
func (g glob) match(s string) bool {
	first, last := g[0], g[len(g)-1]
	if len(g) == 1 {
		return s == first
	}
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, segment := range g[1 : len(g)-1] {
		i := strings.Index(s, segment)
		if i < 0 {
			return false
		}
		s = s[i+len(segment):]
	}
	return true
}

// all reports whether g is "*", which every string matches.
func (g glob) all() bool { return len(g) == 2 && g[0] == "" && g[1] == "" }

// sample is a string of the language of g with a byte for every star. Where
// that byte occurs in no literal of another glob h, h matches the sample
// exactly if it contains g: the byte can only fall to a star of h, and that
// star takes any other bytes as well.
func (g glob) sample(fresh byte) string { return strings.Join(g, string([]byte{fresh})) }

// freshByte finds a byte that no literal uses.
func freshByte(globs []glob) (byte, bool) {
	var used [256]bool
	for _, g := range globs {
		for _, segment := range g {
			for i := range len(segment) {
				used[segment[i]] = true
			}
		}
	}
	for b := 255; b >= 0; b-- {
		if !used[b] {
			return byte(b), true
		}
	}
	return 0, false
}

// maximal drops the globs that another one of the list contains. Without a
// byte that is fresh to all, it drops none.
func maximal(globs []glob) []glob {
	fresh, ok := freshByte(globs)
	if !ok {
		return globs
	}
	var keep []glob
	for i, g := range globs {
		s := g.sample(fresh)
		contains := func(h glob) bool { return h.match(s) }
		if !slices.ContainsFunc(globs[:i], contains) && !slices.ContainsFunc(globs[i+1:], contains) {
			keep = append(keep, g)
		}
	}
	return keep
}
