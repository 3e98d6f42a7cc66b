package pattern

import (
	"fmt"
	"slices"
)

// MaxStates is the greatest number of states of an automaton.
const MaxStates = 65535

// Automaton is a complete deterministic automaton over bytes that gives every
// string an output. It is minimal and canonically numbered: automata that give
// equal strings equal outputs, up to the outputs' numbers, are equal. The start
// is state 0. States are numbered breadth first, by byte class.
type Automaton struct {
	Bytes   [256]uint8 // class of each byte; classes are numbered by their first byte
	Classes int
	Next    []uint16 // Next[state*Classes+class]
	Out     []uint16 // output of each state; outputs are numbered by their first state
	Outputs int
}

// States is the number of states.
func (a *Automaton) States() int { return len(a.Out) }

// Step is the state after a byte.
func (a *Automaton) Step(state uint16, b byte) uint16 {
	return a.Next[int(state)*a.Classes+int(a.Bytes[b])]
}

// Run is the state after the bytes of s.
func (a *Automaton) Run(state uint16, s string) uint16 {
	for i := range len(s) {
		state = a.Next[int(state)*a.Classes+int(a.Bytes[s[i]])]
	}
	return state
}

// Class is the output of s.
func (a *Automaton) Class(s string) int { return int(a.Out[a.Run(0, s)]) }

// Equal reports whether a and b are the same automaton.
func (a *Automaton) Equal(b *Automaton) bool {
	return a.Bytes == b.Bytes && a.Outputs == b.Outputs && slices.Equal(a.Out, b.Out) && slices.Equal(a.Next, b.Next)
}

// raw is the automaton as an explorer leaves it.
func (a *Automaton) raw() *raw {
	r := &raw{class: a.Bytes, classes: a.Classes, next: make([]int32, len(a.Next)), out: make([]int32, len(a.Out))}
	for i, n := range a.Next {
		r.next[i] = int32(n)
	}
	for s, o := range a.Out {
		r.out[s] = int32(o)
	}
	return r
}

// Merge makes outputs o with equal to[o] one, and minimises again. Output
// output[o] of the result is the one of the old output o. to has a number, of
// any value, for every output.
func (a *Automaton) Merge(to []int) (merged *Automaton, output []int) {
	if len(to) != a.Outputs {
		panic(fmt.Sprintf("pattern: Merge of an automaton with %d outputs got %d numbers", a.Outputs, len(to)))
	}
	index := make(map[int]int32)
	r := a.raw()
	for s, o := range r.out {
		n, ok := index[to[o]]
		if !ok {
			n = int32(len(index))
			index[to[o]] = n
		}
		r.out[s] = n
	}
	merged, old := r.minimal()
	now := make([]int, len(index))
	for n, o := range old {
		now[o] = n
	}
	output = make([]int, len(to))
	for o := range output {
		output[o] = now[index[to[o]]]
	}
	return merged, output
}

// Product runs a and b at once. Output i of the result stands for the outputs
// pairs[i] of a and b. It fails if the result would have too many states.
func Product(a, b *Automaton) (product *Automaton, pairs [][2]int, err error) {
	r := &raw{}
	classes := r.pairClasses(a, b)
	index := map[[2]uint16]int32{{0, 0}: 0}
	states := [][2]uint16{{0, 0}}
	outputs := make(map[[2]int]int32)
	var outs [][2]int
	for s := 0; s < len(states); s++ {
		if len(states) > maxProduct {
			return nil, nil, productError(a, b)
		}
		at := states[s]
		out := [2]int{int(a.Out[at[0]]), int(b.Out[at[1]])}
		o, ok := outputs[out]
		if !ok {
			o = int32(len(outs))
			outputs[out] = o
			outs = append(outs, out)
		}
		r.out = append(r.out, o)
		for _, c := range classes {
			to := [2]uint16{a.Next[int(at[0])*a.Classes+c[0]], b.Next[int(at[1])*b.Classes+c[1]]}
			n, ok := index[to]
			if !ok {
				n = int32(len(states))
				index[to] = n
				states = append(states, to)
			}
			r.next = append(r.next, n)
		}
	}
	product, old := r.minimal()
	if product == nil {
		return nil, nil, productError(a, b)
	}
	for _, o := range old {
		pairs = append(pairs, outs[o])
	}
	return product, pairs, nil
}

// maxProduct bounds the states of a product before it is minimised.
const maxProduct = 1 << 20

func productError(a, b *Automaton) error {
	return fmt.Errorf("automata of %d and %d states: running both at once takes more than %d states: "+
		"they cannot be compared; use fewer patterns with several stars", a.States(), b.States(), MaxStates)
}

// pairClasses fills the byte classes of r, one for each pair of classes of a
// and b, and returns the pairs.
func (r *raw) pairClasses(a, b *Automaton) [][2]int {
	index := make(map[[2]int]uint8)
	var pairs [][2]int
	for c := range 256 {
		pair := [2]int{int(a.Bytes[c]), int(b.Bytes[c])}
		n, ok := index[pair]
		if !ok {
			n = uint8(len(pairs))
			index[pair] = n
			pairs = append(pairs, pair)
		}
		r.class[c] = n
	}
	r.classes = len(pairs)
	return pairs
}
