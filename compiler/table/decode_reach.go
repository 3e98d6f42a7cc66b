package table

import (
	"slices"
	"sort"

	"github.com/stockade-dev/stockade/compiler/pattern"
)

// reacher finds what an automaton can say of the paths beneath a directory.
type reacher struct {
	*pattern.Automaton
	sets  []pattern.Bits
	of    []int
	sizes []int // how many bytes each byte class has
}

func newReacher(a *pattern.Automaton) *reacher {
	r := &reacher{Automaton: a, sizes: make([]int, a.Classes)}
	r.sets, r.of = a.Reachable()
	for _, c := range a.Bytes {
		r.sizes[c]++
	}
	return r
}

// beneath returns the outputs of all strings that begin with the directory and
// another component, which is none of names (sorted), whatever follows it.
func (r *reacher) beneath(dir string, names []string) pattern.Bits {
	var set pattern.Bits
	r.collect(r.Run(0, slashed(dir)), names, 0, &set)
	return set
}

// collect goes on from a state, after depth bytes that all names begin with.
func (r *reacher) collect(state uint16, names []string, depth int, set *pattern.Bits) {
	taken := make(map[uint8]int)
	if len(names) > 0 && len(names[0]) == depth {
		taken[r.Bytes['/']]++ // the name itself is out, and what lies below it
		names = names[1:]
	} else if depth > 0 {
		set.Set(int(r.Out[state]))
	}
	for len(names) > 0 {
		b := names[0][depth]
		n := sort.Search(len(names), func(i int) bool { return names[i][depth] > b })
		taken[r.Bytes[b]]++
		r.collect(r.Step(state, b), names[:n], depth+1, set)
		names = names[n:]
	}
	for c := range r.Classes {
		if r.sizes[c] > taken[uint8(c)] {
			set.Add(r.sets[r.of[r.Next[int(state)*r.Classes+c]]])
		}
	}
}

// readable lists all bytes that paths have, the ones that read best first.
var readable = func() []byte {
	var list []byte
	for _, span := range [][2]int{{'a', 'z'}, {'0', '9'}, {'A', 'Z'}, {'-', '-'}, {'_', '_'}, {'.', '/'}, {' ', '~'}, {1, 255}} {
		for b := span[0]; b <= span[1]; b++ {
			if !slices.Contains(list, byte(b)) {
				list = append(list, byte(b))
			}
		}
	}
	return list
}()

// pathOf returns a shortest path of a spot.
func (c *comparer) pathOf(s spot) string {
	if !s.beneath {
		return s.at.path
	}
	prefix := slashed(s.at.path)
	wanted := func(class int) bool {
		return c.paths.valid[class] && (s.classes == nil || s.classes.Has(class))
	}
	return prefix + search(c.paths.automaton, c.paths.automaton.Run(0, prefix), s.at.names(), wanted)
}

// hunter is where a search stands: in a state of the automaton, and, as long as
// the first component may still become one of the names, which of them, and
// after how many bytes.
type hunter struct {
	state        uint16
	names, depth int // names[names:names+count] have what was read
	count        int
}

// search finds a shortest string that leads from a state to a wanted output and
// whose first component is none of names.
func search(a *pattern.Automaton, start uint16, names []string, wanted func(class int) bool) string {
	type step struct {
		at   hunter
		from int
		by   byte
	}
	queue := []step{{at: hunter{state: start, count: len(names)}, from: -1}}
	seen := map[hunter]bool{queue[0].at: true}
	for i := 0; i < len(queue); i++ {
		at := queue[i].at
		excluded := at.count > 0 && len(names[at.names]) == at.depth
		if i > 0 && !excluded && wanted(int(a.Out[at.state])) {
			var back []byte
			for j := i; queue[j].from >= 0; j = queue[j].from {
				back = append(back, queue[j].by)
			}
			slices.Reverse(back)
			return string(back)
		}
		var tried [256]bool
		for _, b := range readable {
			to := at.read(b, names)
			if excluded && b == '/' {
				continue
			}
			if to.count == 0 {
				if tried[a.Bytes[b]] {
					continue
				}
				tried[a.Bytes[b]] = true
			}
			to.state = a.Step(at.state, b)
			if !seen[to] {
				seen[to] = true
				queue = append(queue, step{to, i, b})
			}
		}
	}
	panic("table: a place without paths differs") // every place of a comparison has one
}

// read narrows the names that may still be meant to those that go on with b.
func (h hunter) read(b byte, names []string) hunter {
	if h.count == 0 {
		return hunter{}
	}
	list := names[h.names : h.names+h.count]
	if len(list[0]) == h.depth {
		list = list[1:]
		h.names++
	}
	first := sort.Search(len(list), func(i int) bool { return list[i][h.depth] >= b })
	last := sort.Search(len(list), func(i int) bool { return list[i][h.depth] > b })
	if first == last {
		return hunter{}
	}
	return hunter{names: h.names + first, count: last - first, depth: h.depth + 1}
}
