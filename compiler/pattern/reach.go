package pattern

import "slices"

// Reachable gives, for every state, the outputs of the states that it leads
// to, itself included. sets[of[state]] is the set of a state; sets are
// different, and numbered by their first state.
func (a *Automaton) Reachable() (sets []Bits, of []int) {
	component, order := a.components()
	byComponent := make([]Bits, len(order))
	// Components come in an order in which successors stand first.
	for i, states := range order {
		var set Bits
		for _, s := range states {
			set.Set(int(a.Out[s]))
			for _, n := range a.Next[int(s)*a.Classes : (int(s)+1)*a.Classes] {
				if j := component[n]; j != i {
					set.Add(byComponent[j])
				}
			}
		}
		byComponent[i] = set
	}
	index := make(map[string]int)
	known := make([]int, len(order)) // 1 + the set's number
	for s := range a.Out {
		c := component[s]
		if known[c] == 0 {
			key := byComponent[c].Key()
			if _, ok := index[key]; !ok {
				index[key] = len(sets)
				sets = append(sets, byComponent[c])
			}
			known[c] = index[key] + 1
		}
		of = append(of, known[c]-1)
	}
	return sets, of
}

// components finds the strongly connected components (Tarjan), without
// recursion: paths through an automaton are long.
func (a *Automaton) components() (component []int, order [][]uint16) {
	n := a.States()
	component = slices.Repeat([]int{-1}, n)
	number, low, edge := make([]int, n), make([]int, n), make([]int, n)
	var stack, path []uint16
	count := 1
	number[0], low[0] = count, count
	stack, path = append(stack, 0), append(path, 0)
	for len(path) > 0 {
		s := int(path[len(path)-1])
		if edge[s] < a.Classes {
			t := int(a.Next[s*a.Classes+edge[s]])
			edge[s]++
			switch {
			case number[t] == 0:
				count++
				number[t], low[t] = count, count
				stack, path = append(stack, uint16(t)), append(path, uint16(t))
			case component[t] < 0:
				low[s] = min(low[s], number[t])
			}
			continue
		}
		path = path[:len(path)-1]
		if len(path) > 0 {
			parent := path[len(path)-1]
			low[parent] = min(low[parent], low[s])
		}
		if low[s] != number[s] {
			continue
		}
		i := len(stack) - 1
		for int(stack[i]) != s {
			i--
		}
		for _, t := range stack[i:] {
			component[t] = len(order)
		}
		order = append(order, slices.Clone(stack[i:]))
		stack = stack[:i]
	}
	return component, order
}
