package gen

import (
	"math"
	"path"
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// request draws a request near what the policies name.
func (g *generator) request() abi.Request {
	r := abi.Request{
		Action: pick(g, abi.EnforcedActions.Actions()...),
		Kind:   abi.Kind(g.IntN(int(abi.NumKinds))),
		Path:   g.nearPath("path"),
	}
	for _, f := range abi.EachFact() {
		g.fact(f, &r)
	}
	if !g.oneIn(3) {
		r.Action = pick(g, g.favoured...)
	}
	// A fact that the action does not have must not matter.
	switch stray := g.oneIn(30); {
	case r.Action == abi.Move || stray:
		r.Dest = g.target(r.Path)
	case r.Action == abi.SetXattr || stray:
		r.Xattr = g.oneOf("xattr", attributes)
		if g.oneIn(3) {
			r.Xattr = g.near(r.Xattr)
		}
		r.Xattr = r.Xattr[:min(len(r.Xattr), abi.MaxName)] // XATTR_NAME_MAX is the same
	}
	return r
}

// fact draws a fact that every action has.
func (g *generator) fact(f *abi.Fact, r *abi.Request) {
	switch {
	case !f.Whole() || f.Dim == abi.DimGlob0 || f.Only != ^abi.ActionMask(0):
	case f.Clock:
		f.SetValue(r, g.now())
	case f.Number:
		f.SetValue(r, min(g.id(f.Name), f.Most))
	case f.Path:
		f.SetText(r, g.executable())
	default:
		f.SetText(r, g.oneOf(f.Name, attributes))
	}
}

// oneOf draws a string that policies name for a field, else one of others.
func (g *generator) oneOf(field string, others []string) string {
	if list := g.used[field]; len(list) > 0 && !g.oneIn(4) {
		return list[g.IntN(len(list))]
	}
	return others[g.IntN(len(others))]
}

// nearPath draws a path near one that policies name.
func (g *generator) nearPath(field string) string {
	p := clean(g.oneOf(field, g.paths))
	switch g.IntN(10) {
	case 0: // the parent
		p = path.Dir(p)
	case 1, 2: // below
		for range 1 + g.IntN(2) {
			p = join(p, g.name())
		}
	case 3: // a sibling that shares a prefix
		if p != "/" {
			p += pick(g, "b", "x", " ", "*")
		}
	case 4: // a sibling
		p = join(path.Dir(p), g.name())
	case 5: // bytes that no policy can write
		if g.oneIn(4) {
			p = join(p, "\xff\xfe")
		}
	case 6:
		p = g.near(p)
	}
	return clean(p)
}

// clean makes any string a path that a request can have.
func clean(s string) string {
	s = path.Clean("/" + strings.ReplaceAll(s, "\x00", ""))
	if len(s) > abi.MaxPath {
		return "/"
	}
	parts := strings.Split(s[1:], "/")
	for i, name := range parts {
		parts[i] = name[:min(len(name), abi.MaxName)]
	}
	return "/" + strings.Join(parts[:min(len(parts), abi.MaxComponents)], "/")
}

func (g *generator) executable() string {
	if g.oneIn(8) {
		return ""
	}
	p := g.oneOf("exe", programs)
	if g.oneIn(3) {
		p = g.near(p)
	}
	return clean(p)
}

// target draws the destination of a move; / is none.
func (g *generator) target(from string) string {
	p := from
	switch g.IntN(5) {
	case 0:
		p = g.nearPath("dest")
	case 1:
		p = join(clean(g.oneOf("dest.dir", g.paths)), clean(g.oneOf("dest.name", names))[1:])
	case 2:
		p = join(clean(g.oneOf("dest.dir", g.paths)), g.name())
	case 3:
		p = join(pick(g, g.paths...), clean(g.oneOf("dest.name", names))[1:])
	}
	if p = clean(p); p == "/" {
		return "/a"
	}
	return p
}

// id draws a number of 32 bits at a bound that policies name, or next to it.
func (g *generator) id(field string) int64 {
	n := pick(g, 0, 1, 1000, 65534, int64(math.MaxUint32))
	if list := g.bounds[field]; len(list) > 0 && !g.oneIn(6) {
		n = list[g.IntN(len(list))] + int64(g.IntN(3)) - 1
	}
	return min(max(n, 0), math.MaxUint32)
}

// maxNow is the last time of a request, in milliseconds.
const maxNow = 1 << 53

// now draws a time at a bound that policies name, or next to it.
func (g *generator) now() int64 {
	if g.oneIn(60) {
		return pick[int64](g, 0, 1, maxNow)
	}
	t := millis(pick(g, moments...)) + int64(g.IntN(day))
	if list := g.bounds["now"]; len(list) > 0 && !g.oneIn(3) {
		t = list[g.IntN(len(list))] + int64(g.IntN(3)) - 1
	}
	if list := g.bounds["daytime"]; len(list) > 0 && !g.oneIn(3) {
		floor := t - (t%day+day)%day
		t = floor + list[g.IntN(len(list))] + int64(g.IntN(3)) - 1
	}
	return min(max(t, 0), maxNow)
}
