package pattern

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
func (a *Automaton) WitnessIn(output int, filter *Automaton, keep Bits) (string, bool) {
	type state [2]uint16
	type step struct {
		from int32
		by   byte
	}
	// One byte for each pair of classes: the rest lead to the same states.
	var tried [256][256]bool
	var bytes []byte
	for _, b := range preferred {
		if seen := &tried[a.Bytes[b]][filter.Bytes[b]]; !*seen {
			*seen = true
			bytes = append(bytes, b)
		}
	}
	queue := []state{{0, 0}}
	steps := []step{{from: -1}}
	seen := map[state]bool{{0, 0}: true}
	for i := 0; i < len(queue); i++ {
		at := queue[i]
		if int(a.Out[at[0]]) == output && keep.Has(int(filter.Out[at[1]])) {
			var back []byte
			for j := int32(i); steps[j].from >= 0; j = steps[j].from {
				back = append(back, steps[j].by)
			}
			for l, r := 0, len(back)-1; l < r; l, r = l+1, r-1 {
				back[l], back[r] = back[r], back[l]
			}
			return string(back), true
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
	return "", false
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
