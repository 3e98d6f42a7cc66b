package pattern

import "slices"

// preferred lists all bytes, the ones that read best first.
var preferred = func() []byte {
	var list []byte
	var seen [256]bool
	add := func(from, to byte) {
		for b := int(from); b <= int(to); b++ {
			if !seen[b] {
				seen[b] = true
				list = append(list, byte(b))
			}
		}
	}
	add('a', 'z')
	add('0', '9')
	add('A', 'Z')
	for _, b := range []byte("/._-") {
		add(b, b)
	}
	add(' ', '~')
	add(0, 255)
	return list
}()

// Witness returns a shortest string with an output, made of printable bytes
// where there is a choice. It reports false if no string has it.
func (a *Automaton) Witness(output int) (string, bool) {
	everything := &Automaton{Classes: 1, Next: []uint16{0}, Out: []uint16{0}, Outputs: 1}
	return a.WitnessIn(output, everything, Bits{1})
}

// WitnessIn returns a shortest string with an output, among those to which
// filter gives an output in keep.
func (a *Automaton) WitnessIn(output int, filter *Automaton, keep Bits) (text string, found bool) {
	a.shortest(filter, func(out, filtered int, read func() string) bool {
		if out == output && keep.Has(filtered) {
			text, found = read(), true
		}
		return !found
	})
	return text, found
}

// PathWitnesses returns a shortest absolute path with each output; the empty string
// with the one that it has itself; and a shortest string where no path has an output.
func (a *Automaton) PathWitnesses() []string {
	const other, best = 1, 2
	texts, ranks := make([]string, a.Outputs), make([]int, a.Outputs)
	texts[a.Out[0]], ranks[a.Out[0]] = "", best
	a.shortest(Paths(), func(out, isPath int, read func() string) bool {
		if rank := other + isPath; rank > ranks[out] {
			texts[out], ranks[out] = read(), rank
		}
		return true
	})
	return texts
}

// shortest visits the pairs of states to which strings lead a and filter, by their
// outputs, those of shorter strings first, until visit returns false. read returns a
// shortest string that leads there.
func (a *Automaton) shortest(filter *Automaton, visit func(out, filtered int, read func() string) bool) {
	type state [2]uint16
	type step struct {
		from int32
		by   byte
	}
	bytes := a.distinct(filter)
	queue := []state{{0, 0}}
	steps := []step{{from: -1}}
	seen := map[state]bool{{0, 0}: true}
	for i := 0; i < len(queue); i++ {
		at := queue[i]
		read := func() string {
			var back []byte
			for j := int32(i); steps[j].from >= 0; j = steps[j].from {
				back = append(back, steps[j].by)
			}
			slices.Reverse(back)
			return string(back)
		}
		if !visit(int(a.Out[at[0]]), int(filter.Out[at[1]]), read) {
			return
		}
		for _, b := range bytes {
			to := state{a.Step(at[0], b), filter.Step(at[1], b)}
			if !seen[to] {
				seen[to] = true
				queue = append(queue, to)
				steps = append(steps, step{int32(i), b})
			}
		}
	}
}

// distinct lists one byte for each pair of classes, for the rest lead to the same
// states, the ones that read best first.
func (a *Automaton) distinct(b *Automaton) []byte {
	var tried [256][256]bool
	var bytes []byte
	for _, c := range preferred {
		if seen := &tried[a.Bytes[c]][b.Bytes[c]]; !*seen {
			*seen = true
			bytes = append(bytes, c)
		}
	}
	return bytes
}

// Paths tells absolute, normalised paths from other strings: "/" alone, or
// components after a slash each, none of them empty, "." or "..", and no NUL.
// Its output 1 stands for them. It knows no limit of length.
func Paths() *Automaton {
	const (
		start  = iota
		root   // "/"
		slash  // a slash after a component
		dot    // "." after a slash
		dots   // ".." after a slash
		name   // any other component
		wrong  // no continuation mends it
		states // how many there are
	)
	r := &raw{classes: 4, out: make([]int32, states)}
	for b := range r.class {
		r.class[b] = 3
	}
	r.class[0], r.class['/'], r.class['.'] = 0, 1, 2
	r.out[root], r.out[name] = 1, 1
	for _, row := range [states][4]int32{ //  NUL, slash, dot, other
		start: {wrong, root, wrong, wrong},
		root:  {wrong, wrong, dot, name},
		slash: {wrong, wrong, dot, name},
		dot:   {wrong, wrong, dots, name},
		dots:  {wrong, wrong, name, name},
		name:  {wrong, slash, name, name},
		wrong: {wrong, wrong, wrong, wrong},
	} {
		r.next = append(r.next, row[:]...)
	}
	a, _ := r.minimal()
	return a
}
