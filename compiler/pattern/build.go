package pattern

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Options bound a build. Zero means the default.
type Options struct {
	Automata int // greatest number of automata: 4
	States   int // greatest number of states of each, after minimisation: 4096, at most MaxStates
	Work     int // steps of the construction, about 5 to 10 ns each: 1 << 28
}

func (o Options) filled() Options {
	o.Automata = cmp.Or(o.Automata, 4)
	o.States = min(cmp.Or(o.States, 4096), MaxStates)
	o.Work = cmp.Or(o.Work, 1<<28)
	return o
}

// rawStates is how many states, for each one allowed, there may be before
// minimisation.
const rawStates = 8

// Set is some languages compiled: a few automata, which together tell the
// languages of every string. There are none if all languages are empty.
type Set struct {
	Automata []*Automaton
	// Holds[a][o] is the set of languages, by their place in the list given to
	// Build, that output o of automaton a accepts. A string is in a language if
	// any automaton says so.
	Holds [][]Bits
}

// Of returns the languages that s is in.
func (s *Set) Of(text string) Bits {
	var set Bits
	for i, a := range s.Automata {
		set.Add(s.Holds[i][a.Class(text)])
	}
	return set
}

// TooLargeError says that languages need more states or work than allowed.
type TooLargeError struct {
	States    int      // how many states an automaton may have
	Languages []int    // places in the list given to Build, the costliest first
	Texts     []string // of the first few, shortened
}

// Error names the costliest languages.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("patterns %s: too many for automata of %d states each: nothing is compiled; "+
		"write fewer patterns with two stars or more, or begin them with a directory", strings.Join(e.Texts, ", "), e.States)
}

// Build compiles languages into as few automata as it can within the limits.
// Languages that are unions of patterns may be spread over several automata;
// any other stays in one. One automaton is the same however the languages are
// written; several are the same for every order of languages and patterns.
//
// The size grows with 2 to the number of languages that can hold at once, so
// give all patterns of one effect as one union. Typical globs (typical_test.go;
// every effect has all shapes, words differ), default limits, bytes of tables:
//
//	globs  effects   before minimising   automata   states     bytes     time
//	   10        1                 292          1      272    19,584     1 ms
//	   10     2, 8                              1      514    37,008     1 ms
//	  100        1               2,446          1    1,505   114,380    10 ms
//	  100        2               5,602          1    4,062   308,712    25 ms
//	  100        8                              3    9,547   708,264   190 ms
//	1,000        1                              2    1,813   121,898   520 ms
//	1,000        2                              2    4,846   364,332   610 ms
//	1,000        8                         refused                     900 ms
//
// The last one is built in 6 s with 16,384 states allowed: 40,232 in all, 3 MB.
//
// Patterns that begin with a star multiply with the directories that others
// begin with, and with the sets of effects that are settled already.
func Build(langs []Language, o Options) (*Set, error) {
	b, err := newBuilder(langs, o.filled())
	if err != nil {
		return nil, err
	}
	if len(b.items) == 0 {
		return &Set{}, nil
	}
	var failed error
	left := b.work.left
	for k := 1; k <= b.options.Automata; k++ {
		// An attempt that fails must not use up what the next ones need.
		share := left / (b.options.Automata - k + 1)
		b.work.left = share
		parts := b.split(k)
		if len(parts) < k {
			break // a finer split does not exist
		}
		set, err := b.build(parts)
		if err == nil {
			return set, nil
		}
		failed = err
		left -= share - b.work.left
	}
	return nil, failed
}

// builder holds the different languages of a build.
type builder struct {
	options Options
	langs   []*node // different ones, sorted by key
	places  [][]int // of each, in the list given to Build
	items   []item
	work    budget
}

// item is what a split cannot divide: a pattern of a union, or a language that
// is no union.
type item struct {
	lang  int
	key   string
	globs []glob // all patterns, for the estimate
	union bool
}

func newBuilder(langs []Language, o Options) (*builder, error) {
	b := &builder{options: o, work: budget{o.Work}}
	places := make(map[string][]int)
	for i, l := range langs {
		n := l.node()
		if !b.affordable(n) {
			return nil, b.error([]*node{n}, [][]int{{i}})
		}
		n = n.prune()
		if _, ok := places[n.key]; !ok {
			b.langs = append(b.langs, n)
		}
		places[n.key] = append(places[n.key], i)
	}
	slices.SortFunc(b.langs, func(x, y *node) int { return strings.Compare(x.key, y.key) })
	for i, n := range b.langs {
		b.places = append(b.places, places[n.key])
		globs, union := n.union()
		if !union {
			b.items = append(b.items, item{lang: i, key: n.key, globs: n.globs(nil)})
			continue
		}
		for _, g := range globs {
			b.items = append(b.items, item{lang: i, key: g.String(), globs: []glob{g}, union: true})
		}
	}
	slices.SortFunc(b.items, compareItems)
	return b, nil
}

// affordable charges what it takes to compare all patterns of a language with
// each other. A pattern alone has more states than bytes.
func (b *builder) affordable(n *node) bool {
	globs := n.globs(nil)
	literals := 0
	for _, g := range globs {
		size := 0
		for _, segment := range g {
			size += len(segment)
		}
		if size >= b.options.States {
			return false
		}
		literals += size
	}
	b.work.left -= 4 * len(globs) * len(globs)
	return b.work.left >= 0 && literals <= maxLiterals*b.options.States
}

// maxLiterals is how many bytes all patterns of a language may have for each
// state allowed.
const maxLiterals = 64

// prune drops patterns of unions that another one of the union contains.
func (n *node) prune() *node {
	switch n.kind {
	case isNot:
		return negate(n.of[0].prune())
	case isAnd, isOr:
		var of []*node
		var globs []glob
		for _, x := range n.of {
			if n.kind == isOr && x.kind == isLike {
				globs = append(globs, x.glob)
				continue
			}
			of = append(of, x.prune())
		}
		for _, g := range maximal(globs) {
			of = append(of, like(g))
		}
		return combine(of, n.kind)
	}
	return n
}

// globs appends all patterns of a formula.
func (n *node) globs(list []glob) []glob {
	if n.kind == isLike {
		return append(list, n.glob)
	}
	for _, x := range n.of {
		list = x.globs(list)
	}
	return list
}

// build compiles each part into an automaton.
func (b *builder) build(parts [][]item) (*Set, error) {
	set := &Set{}
	for _, part := range parts {
		a, holds, err := b.compile(part)
		if err != nil {
			return nil, err
		}
		set.Automata = append(set.Automata, a)
		set.Holds = append(set.Holds, holds)
	}
	return set, nil
}

// compile makes the automaton of some items.
func (b *builder) compile(part []item) (*Automaton, []Bits, error) {
	var langs []int
	var nodes []*node
	for rest := part; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].lang == rest[0].lang {
			n++
		}
		lang := b.langs[rest[0].lang]
		if rest[0].union {
			patterns := make([]*node, n)
			for i, it := range rest[:n] {
				patterns[i] = like(it.globs[0])
			}
			lang = operator(patterns, isOr, falseNode)
		}
		langs = append(langs, rest[0].lang)
		nodes = append(nodes, lang)
		rest = rest[n:]
	}
	list, units := formulas(nodes)
	x, ok := explore(list, units, b.options.States*rawStates, &b.work)
	if !ok {
		return nil, nil, b.tooLarge(x, langs)
	}
	a, old := x.raw.minimal()
	if a == nil || a.States() > b.options.States {
		return nil, nil, b.tooLarge(x, langs)
	}
	holds := make([]Bits, len(old))
	for i, o := range old {
		for _, l := range x.raw.outputs[o].Members() {
			for _, place := range b.places[langs[l]] {
				holds[i].Set(place)
			}
		}
	}
	return a, holds, nil
}

// tooLarge names the languages that take most different states each.
func (b *builder) tooLarge(x *explorer, langs []int) error {
	cost := x.costs()
	order := make([]int, len(langs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(cost[j], cost[i]) })
	var nodes []*node
	var places [][]int
	for _, i := range order[:min(8, len(order))] {
		nodes = append(nodes, b.langs[langs[i]])
		places = append(places, b.places[langs[i]])
	}
	return b.error(nodes, places)
}

func (b *builder) error(langs []*node, places [][]int) error {
	e := &TooLargeError{States: b.options.States, Languages: slices.Concat(places...)}
	for _, n := range langs[:min(3, len(langs))] {
		text := n.key
		if len(text) > 60 {
			text = text[:57] + "..."
		}
		e.Texts = append(e.Texts, text)
	}
	return e
}

// costs counts, for each language, the different states of its units.
func (x *explorer) costs() []int {
	const enough = 1 << 14
	costs := make([]int, len(x.formulas))
	for i, f := range x.formulas {
		marks := make([]bool, len(x.machine.units))
		f.known(slices.Repeat([]truth{holds}, len(marks)), marks)
		var seen interner
		seen.init()
		var part []int32
		for s := range min(x.intern.len(), enough) {
			part = part[:0]
			for _, p := range x.intern.get(s)[x.head:] {
				if marks[x.unitOf(p)] {
					part = append(part, p)
				}
			}
			seen.add(part)
		}
		costs[i] = seen.len()
	}
	return costs
}
