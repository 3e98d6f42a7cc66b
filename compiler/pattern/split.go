package pattern

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
)

// split distributes the items over at most k parts, so that the estimated
// sizes are small. The result depends on nothing but the items. The estimate
// only steers: what counts is the size of the automata that are then made.
func (b *builder) split(k int) [][]item {
	if k == 1 {
		return [][]item{b.items}
	}
	bins := make([]bin, k)
	for _, f := range b.families() {
		best, least := 0, []float64{math.Inf(1), math.Inf(1)}
		for i := range bins {
			size := bins[i].with(f)
			if score := []float64{size - bins[i].size, size}; slices.Compare(score, least) < 0 {
				best, least = i, score
			}
		}
		bins[best].add(f)
	}
	var parts [][]item
	for _, bin := range bins {
		if len(bin.items) > 0 {
			slices.SortFunc(bin.items, compareItems)
			parts = append(parts, bin.items)
		}
	}
	return parts
}

func compareItems(x, y item) int {
	return cmp.Or(cmp.Compare(x.lang, y.lang), strings.Compare(x.key, y.key))
}

// family is items that are better not divided: patterns of one language that
// differ only after their last star, or one language that is no union.
type family struct {
	items    []item
	shapes   []shape
	literals float64
}

// families groups the items; the heaviest comes first. A family of patterns
// that is heavy is divided after all.
func (b *builder) families() []*family {
	limit := float64(b.options.States) / 8
	var list []*family
	index := make(map[string]*family)
	for _, it := range b.items { // sorted: newBuilder made them in order
		key := strconv.Itoa(it.lang)
		if it.union {
			g := it.globs[0]
			key += " " + g[:len(g)-1].String()
		}
		f := index[key]
		if f == nil || f.literals > limit {
			f = &family{}
			index[key] = f
			list = append(list, f)
		}
		f.items = append(f.items, it)
		for _, g := range it.globs {
			s := shapeOf(it.lang, g)
			f.shapes = append(f.shapes, s)
			f.literals += s.literals
		}
	}
	slices.SortStableFunc(list, func(x, y *family) int {
		return cmp.Or(cmp.Compare(y.literals, x.literals), compareItems(x.items[0], y.items[0]))
	})
	return list
}

// shape is what the estimate knows of a pattern.
type shape struct {
	anchor   string  // the literal that it begins with
	literals float64 // bytes of literals after that
	lang     int
	ends     bool   // a star is its end: once there, the language is settled
	trigger  string // what leads to the star before the last literal, if that is not the first star
	rest     string // what follows that star
}

func shapeOf(lang int, g glob) shape {
	s := shape{anchor: g[0], lang: lang, literals: 1}
	for _, segment := range g[1:] {
		s.literals += float64(len(segment))
	}
	name := strconv.Itoa(lang) + " "
	s.rest = name
	if len(g) > 1 && g[len(g)-1] == "" {
		s.ends = true
		s.rest += "*"
		g = g[:len(g)-1]
	}
	if len(g) > 2 {
		s.trigger = name + g[:len(g)-1].String()
		s.rest += g[len(g)-1]
	}
	return s
}

// bin is a part in the making.
type bin struct {
	items    []item
	shapes   []shape
	size     float64
	contexts []*context // by anchor, in the order of arrival
}

// context estimates the states after an anchor. Patterns that begin with it, or
// with a prefix of it, are live there at once, and what each has seen so far
// multiplies.
type context struct {
	anchor   string
	literals float64
	settled  map[int]bool // languages that can be settled there
	triggers map[string]bool
	rests    map[string]bool
}

func newContext(anchor string) *context {
	return &context{anchor: anchor, settled: make(map[int]bool), triggers: make(map[string]bool), rests: make(map[string]bool)}
}

func (c *context) size() float64 {
	bits := max(0, len(c.settled)-1) + min(len(c.triggers), len(c.rests))
	return c.literals * math.Exp2(float64(min(bits, 500)))
}

func (c *context) add(shapes []shape) {
	for _, s := range shapes {
		if !strings.HasPrefix(c.anchor, s.anchor) {
			continue
		}
		c.literals += s.literals
		if s.ends {
			c.settled[s.lang] = true
		}
		if s.trigger != "" {
			c.triggers[s.trigger] = true
			c.rests[s.rest] = true
		}
	}
}

// sizeWith is the size that the context would have with more shapes.
func (c *context) sizeWith(shapes []shape) float64 {
	more := newContext(c.anchor)
	more.add(shapes)
	if more.literals == 0 {
		return c.size()
	}
	literals, settled, triggers, rests := c.literals+more.literals, len(c.settled), len(c.triggers), len(c.rests)
	for l := range more.settled {
		if !c.settled[l] {
			settled++
		}
	}
	for t := range more.triggers {
		if !c.triggers[t] {
			triggers++
		}
	}
	for r := range more.rests {
		if !c.rests[r] {
			rests++
		}
	}
	bits := max(0, settled-1) + min(triggers, rests)
	return literals * math.Exp2(float64(min(bits, 500)))
}

// fresh makes contexts for the anchors that the bin does not have yet.
func (b *bin) fresh(f *family) []*context {
	var list []*context
	for _, s := range f.shapes {
		same := func(c *context) bool { return c.anchor == s.anchor }
		if slices.ContainsFunc(b.contexts, same) || slices.ContainsFunc(list, same) {
			continue
		}
		c := newContext(s.anchor)
		c.add(b.shapes)
		c.add(f.shapes)
		list = append(list, c)
	}
	return list
}

// with is the size that the bin would have with f.
func (b *bin) with(f *family) float64 {
	size := 0.0
	for _, c := range b.contexts {
		size += c.sizeWith(f.shapes)
	}
	for _, c := range b.fresh(f) {
		size += c.size()
	}
	return size
}

func (b *bin) add(f *family) {
	b.size = b.with(f)
	fresh := b.fresh(f)
	for _, c := range b.contexts {
		c.add(f.shapes)
	}
	b.contexts = append(b.contexts, fresh...)
	b.items = append(b.items, f.items...)
	b.shapes = append(b.shapes, f.shapes...)
}
