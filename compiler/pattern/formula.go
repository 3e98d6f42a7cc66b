package pattern

import (
	"slices"
	"strings"
)

// truth is what is known of a unit or a language in a state.
type truth uint8

const (
	open     truth = iota // it depends on the bytes to come
	holds                 // whatever comes
	fails                 // whatever comes
	unneeded              // of a unit: no open language depends on it
)

// formula is a language as a function of units.
type formula struct {
	kind kind // isLike stands for a unit
	unit int
	of   []*formula
}

// formulas turns languages into formulas over as few units as possible.
func formulas(langs []*node) ([]*formula, []unit) {
	c := collector{index: make(map[string]int)}
	list := make([]*formula, len(langs))
	for i, n := range langs {
		list[i] = c.formula(n)
	}
	return list, c.units
}

type collector struct {
	index map[string]int
	units []unit
}

func (c *collector) formula(n *node) *formula {
	switch n.kind {
	case isFalse, isTrue:
		return &formula{kind: n.kind}
	case isLike:
		return c.unit([]*node{n})
	}
	f := &formula{kind: n.kind}
	var patterns []*node
	for _, x := range n.of {
		if n.kind == isOr && x.kind == isLike {
			patterns = append(patterns, x)
			continue
		}
		f.of = append(f.of, c.formula(x))
	}
	if len(patterns) > 0 {
		u := c.unit(patterns)
		if len(f.of) == 0 {
			return u
		}
		f.of = append(f.of, u)
	}
	return f
}

func (c *collector) unit(patterns []*node) *formula {
	keys := make([]string, len(patterns))
	globs := make([]glob, len(patterns))
	for i, n := range patterns {
		keys[i], globs[i] = n.key, n.glob
	}
	key := strings.Join(keys, "|")
	i, ok := c.index[key]
	if !ok {
		i = len(c.units)
		c.index[key] = i
		c.units = append(c.units, unit{globs: globs})
	}
	return &formula{kind: isLike, unit: i}
}

// eval is the value of f as far as the values of the units settle it.
func (f *formula) eval(units []truth) truth {
	switch f.kind {
	case isTrue:
		return holds
	case isLike:
		if v := units[f.unit]; v != unneeded {
			return v
		}
		return open
	case isNot:
		return [...]truth{open: open, holds: fails, fails: holds}[f.of[0].eval(units)]
	case isAnd:
		return settle(f.of, units, fails, holds)
	case isOr:
		return settle(f.of, units, holds, fails)
	}
	return fails
}

func settle(list []*formula, units []truth, absorbing, neutral truth) truth {
	value := neutral
	for _, f := range list {
		switch f.eval(units) {
		case absorbing:
			return absorbing
		case open:
			value = open
		}
	}
	return value
}

// need marks the units that an open formula depends on. A unit that is not
// marked stays so: parts that the known units settle remain settled.
func (f *formula) need(units []truth, marks []bool) {
	if f.eval(units) != open {
		return
	}
	if f.kind == isLike {
		marks[f.unit] = true
	}
	for _, x := range f.of {
		x.need(units, marks)
	}
}

// reduce brings the values of languages and units up to date, and drops units
// that no open language needs.
func reduce(list []*formula, langs, units []truth) {
	marks := make([]bool, len(units))
	for i, f := range list {
		if langs[i] == open {
			langs[i] = f.eval(units)
		}
		if langs[i] == open {
			f.need(units, marks)
			f.known(units, marks)
		}
	}
	for u := range units {
		if !marks[u] {
			units[u] = unneeded
		}
	}
}

// known marks the settled units of an open formula: they settle parts of it.
func (f *formula) known(units []truth, marks []bool) {
	if f.kind == isLike && (units[f.unit] == holds || units[f.unit] == fails) {
		marks[f.unit] = true
	}
	for _, x := range f.of {
		x.known(units, marks)
	}
}

// pack appends the values, sixteen a number.
func pack(out []int32, langs, units []truth) []int32 {
	for _, list := range [][]truth{langs, units} {
		for part := range slices.Chunk(list, 16) {
			var w uint32
			for i, v := range part {
				w |= uint32(v) << (2 * i)
			}
			out = append(out, int32(w))
		}
	}
	return out
}

// unpack fills the values and returns what follows them.
func unpack(in []int32, langs, units []truth) []int32 {
	for _, list := range [][]truth{langs, units} {
		for part := range slices.Chunk(list, 16) {
			for i := range part {
				part[i] = truth(uint32(in[0]) >> (2 * i) & 3)
			}
			in = in[1:]
		}
	}
	return in
}
