package pattern

import "slices"

// raw is an automaton before it is minimised. State 0 is the start.
type raw struct {
	class   [256]uint8
	classes int
	next    []int32 // next[state*classes+class]
	out     []int32
	outputs []Bits
}

// explorer finds the states that can be reached. A state is the values of
// languages and units, packed, and then, ascending, the live positions of the
// units that are open. Initial tracks at their first position are not listed.
type explorer struct {
	*machine
	formulas []*formula
	raw      raw
	intern   interner
	outputs  map[string]int32
	head     int // numbers that the values take
	budget   *budget

	langs, units []truth // values of the state at hand
	stamp        []int   // by track: the step that last saw it live
	step         int
	kept, moved  []int32 // positions after a step: on their old tracks; on others
	begun        []int32 // tracks' first positions that a step led to
	state        []int32
	count        []int32 // by unit
}

// budget bounds the work of all constructions of a build.
type budget struct{ left int }

// explore builds the raw automaton of formulas over units. It reports false,
// with what it has, if that takes more states or work than allowed.
func explore(list []*formula, units []unit, maxStates int, b *budget) (*explorer, bool) {
	m := newMachine(units)
	x := &explorer{
		machine: m, formulas: list, outputs: make(map[string]int32), budget: b,
		langs: make([]truth, len(list)), units: make([]truth, len(units)),
		stamp: make([]int, len(m.tracks)), count: make([]int32, len(units)),
	}
	x.raw.class, x.raw.classes = m.class, m.classes
	reduce(list, x.langs, x.units)
	x.state = pack(nil, x.langs, x.units)
	x.head = len(x.state)
	for _, p := range m.anchored {
		if x.units[m.unitOf(p)] == open {
			x.state = append(x.state, p)
		}
	}
	x.intern.init()
	x.add(x.state)
	for s := 0; s < x.intern.len(); s++ {
		if x.intern.len() > maxStates || b.left < 0 {
			return x, false
		}
		x.expand(s)
	}
	return x, true
}

func (m *machine) unitOf(p int32) int32 { return m.tracks[m.track[p]].unit }

// add returns the number of a state, and finds the output of a new one.
func (x *explorer) add(state []int32) int32 {
	s, isNew := x.intern.add(state)
	if isNew {
		x.raw.out = append(x.raw.out, x.output(state))
	}
	return s
}

// output is the number of the set of languages that hold if the string ends.
func (x *explorer) output(state []int32) int32 {
	langs, units := make([]truth, len(x.langs)), make([]truth, len(x.units))
	for _, p := range unpack(state, langs, units) {
		if x.accepts[p] {
			units[x.unitOf(p)] = holds
		}
	}
	for u, v := range units {
		if v != holds {
			units[u] = fails // no formula that is open depends on an unneeded one
		}
	}
	var set Bits
	for i, v := range langs {
		if v == holds || v == open && x.formulas[i].eval(units) == holds {
			set.Set(i)
		}
	}
	key := set.Key()
	o, ok := x.outputs[key]
	if !ok {
		o = int32(len(x.raw.outputs))
		x.outputs[key] = o
		x.raw.outputs = append(x.raw.outputs, set)
	}
	return o
}

// expand finds the successors of a state. All classes that move no position
// forward have one successor in common.
func (x *explorer) expand(s int) {
	state := x.intern.get(s)
	positions := unpack(state, x.langs, x.units)
	var live classSet
	for _, p := range positions {
		live.add(&x.relevant[p])
	}
	for c, tracks := range x.leave {
		if slices.ContainsFunc(tracks, func(t int32) bool { return x.units[x.tracks[t].unit] == open }) {
			live.set(c)
		}
	}
	other := int32(-1)
	for c := range x.classes {
		if !live.has(c) && other >= 0 {
			x.raw.next = append(x.raw.next, other)
			continue
		}
		x.budget.left -= len(positions) + len(x.leave[c]) + 8
		n := x.add(x.successor(state[:x.head], positions, c))
		x.raw.next = append(x.raw.next, n)
		if !live.has(c) {
			other = n
		}
	}
}

// successor is the state after a byte of class c, valid until the next call.
func (x *explorer) successor(head, positions []int32, c int) []int32 {
	x.step++
	x.kept, x.moved, x.begun = x.kept[:0], x.moved[:0], x.begun[:0]
	changed := false
	for _, p := range positions {
		x.stamp[x.track[p]] = x.step
		if x.advance(p, x.next[int(p)*x.classes+c], true) {
			changed = true
		}
	}
	for _, t := range x.leave[c] {
		if x.stamp[t] != x.step && x.units[x.tracks[t].unit] == open {
			x.stamp[t] = x.step
			first := x.tracks[t].first
			if x.advance(first, x.next[int(first)*x.classes+c], false) {
				changed = true
			}
		}
	}
	x.begin()
	x.state = x.state[:0]
	if !changed {
		x.state = append(x.state, head...)
		return x.merge(x.units)
	}
	langs, units := slices.Clone(x.langs), slices.Clone(x.units)
	x.settle(units)
	reduce(x.formulas, langs, units)
	x.state = pack(x.state, langs, units)
	return x.merge(units)
}

// advance takes a position to the next, and reports whether that may settle
// its unit. In x.moved, -1-u says that unit u holds.
func (x *explorer) advance(p, n int32, listed bool) bool {
	t := &x.tracks[x.track[p]]
	switch {
	case n == dead:
		return true
	case n == certain:
		x.moved = append(x.moved, -1-t.unit)
		return true
	case x.track[n] != x.track[p]:
		// A later star is reached: this track is superseded.
		x.begun = append(x.begun, n)
		if t.initial {
			x.moved = append(x.moved, t.gone)
		}
	case t.initial && n == t.first:
		x.stamp[x.track[p]] = 0 // it is not listed any more
	case listed:
		x.kept = append(x.kept, n)
	default:
		x.moved = append(x.moved, n)
	}
	return false
}

// begin starts the tracks that were reached. One that is live already, or whose
// strings another live one matches too, changes nothing; else it supersedes
// the positions that match no more than it does.
func (x *explorer) begin() {
	slices.Sort(x.begun)
	for _, n := range x.begun {
		y := x.track[n]
		if x.stamp[y] == x.step || x.tracks[y].initial || x.redundant(y) {
			continue
		}
		if x.prepare(y) {
			x.budget.left -= len(x.tracks)
		}
		x.stamp[y] = x.step
		x.kept = x.supersede(x.kept, y)
		x.moved = x.supersede(x.moved, y)
		for _, t := range x.tracks[y].drops {
			// Listed ones have been dealt with: their stamp says so.
			if x.stamp[t] != x.step {
				x.stamp[t] = x.step
				x.moved = append(x.moved, x.tracks[t].gone)
			}
		}
		x.moved = append(x.moved, n)
	}
}

// redundant reports whether a live track matches all that track y would. An
// initial one never does: the pattern would contain that of y.
func (x *explorer) redundant(y int32) bool {
	for _, list := range [2][]int32{x.kept, x.moved} {
		for _, p := range list {
			if p < 0 {
				continue
			}
			t := &x.tracks[x.track[p]]
			if t.covers != nil && t.covers[y] > 0 {
				return true
			}
		}
	}
	return false
}

// supersede drops from list what track y covers.
func (x *explorer) supersede(list []int32, y int32) []int32 {
	covers := x.tracks[y].covers
	keep := list[:0]
	for _, p := range list {
		if p >= 0 && covers[x.track[p]] > p {
			t := &x.tracks[x.track[p]]
			if !t.initial {
				continue
			}
			p = t.gone
		}
		keep = append(keep, p)
	}
	return keep
}

// settle finds the units that hold or fail after a step.
func (x *explorer) settle(units []truth) {
	clear(x.count)
	for _, p := range x.kept {
		x.count[x.unitOf(p)]++
	}
	for _, p := range x.moved {
		if p >= 0 {
			x.count[x.unitOf(p)]++
		} else {
			units[-1-p] = holds
		}
	}
	for u, v := range units {
		if v == open && x.count[u] == 0 && !x.machine.units[u].floats {
			units[u] = fails
		}
	}
}

// merge appends the positions of open units to the state, ascending.
func (x *explorer) merge(units []truth) []int32 {
	slices.Sort(x.moved) // few
	if !slices.IsSorted(x.kept) {
		slices.Sort(x.kept) // a superseded track has changed its number
	}
	moved := x.moved
	for _, p := range x.kept {
		for ; len(moved) > 0 && moved[0] < p; moved = moved[1:] {
			x.keep(moved[0], units)
		}
		x.keep(p, units)
	}
	for _, p := range moved {
		x.keep(p, units)
	}
	return x.state
}

func (x *explorer) keep(p int32, units []truth) {
	if p >= 0 && units[x.unitOf(p)] == open {
		x.state = append(x.state, p)
	}
}
