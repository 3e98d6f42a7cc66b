package pattern

// minimal returns the canonical automaton, and for each of its outputs the old
// number. It returns nil if the automaton has more than MaxStates states.
func (r *raw) minimal() (*Automaton, []int) {
	p := r.refine()
	if len(p.first) > MaxStates {
		return nil, nil
	}
	a := &Automaton{}
	columns := r.columns(p, a)

	// Number the blocks breadth first, and the outputs as they come.
	number := make([]int32, len(p.first))
	for i := range number {
		number[i] = -1
	}
	outputs := make(map[int32]uint16)
	var old []int
	queue := []int32{p.block[0]}
	number[p.block[0]] = 0
	for i := 0; i < len(queue); i++ {
		s := int(p.states[p.first[queue[i]]])
		o, ok := outputs[r.out[s]]
		if !ok {
			o = uint16(len(old))
			outputs[r.out[s]] = o
			old = append(old, int(r.out[s]))
		}
		a.Out = append(a.Out, o)
		for _, c := range columns {
			b := p.block[r.next[s*r.classes+c]]
			if number[b] < 0 {
				number[b] = int32(len(queue))
				queue = append(queue, b)
			}
			a.Next = append(a.Next, uint16(number[b]))
		}
	}
	a.Outputs = len(old)
	return a, old
}

// columns fills the byte classes of a: classes of r that lead every block to
// the same ones are one. It returns a class of r for each class of a.
func (r *raw) columns(p *partition, a *Automaton) []int {
	var columns []int
	var class [256]int // of a, 1 + the number, by class of r
	for b := range 256 {
		c := int(r.class[b])
		for i, d := range columns {
			if class[c] == 0 && r.sameColumn(p, c, d) {
				class[c] = i + 1
			}
		}
		if class[c] == 0 {
			columns = append(columns, c)
			class[c] = len(columns)
		}
		a.Bytes[b] = uint8(class[c] - 1)
	}
	a.Classes = len(columns)
	return columns
}

func (r *raw) sameColumn(p *partition, c, d int) bool {
	for _, at := range p.first {
		s := int(p.states[at]) * r.classes
		if p.block[r.next[s+c]] != p.block[r.next[s+d]] {
			return false
		}
	}
	return true
}

// partition of the states into blocks. A block's states stand together; those
// that are marked stand first.
type partition struct {
	states, place []int32 // states[place[s]] == s
	block         []int32 // by state
	first, end    []int32 // by block: its states are states[first:end]
	marked        []int32 // by block: how many of them are marked
	touched       []int32 // blocks with marked states
}

// mark marks a state that is not marked yet.
func (p *partition) mark(s int32) {
	b := p.block[s]
	if p.marked[b] == 0 {
		p.touched = append(p.touched, b)
	}
	from, to := p.place[s], p.first[b]+p.marked[b]
	if from < to {
		return
	}
	other := p.states[to]
	p.states[from], p.states[to] = other, s
	p.place[other], p.place[s] = from, to
	p.marked[b]++
}

// split makes the smaller part of a block, the marked states or the others, a
// new block, and returns it; -1 if all are marked.
func (p *partition) split(b int32) int32 {
	first, end, middle := p.first[b], p.end[b], p.first[b]+p.marked[b]
	p.marked[b] = 0
	if middle == end {
		return -1
	}
	n := int32(len(p.first))
	if middle-first <= end-middle {
		p.first = append(p.first, first)
		p.end = append(p.end, middle)
		p.first[b] = middle
	} else {
		p.first = append(p.first, middle)
		p.end = append(p.end, end)
		p.end[b] = middle
	}
	p.marked = append(p.marked, 0)
	for _, s := range p.states[p.first[n]:p.end[n]] {
		p.block[s] = n
	}
	return n
}

// refine is Hopcroft's algorithm: the coarsest partition in which states of a
// block have the same output, and successors in the same block.
func (r *raw) refine() *partition {
	p := r.byOutput()
	back, ends := r.predecessors()
	n := len(r.out)
	waiting := make([]bool, len(p.first))
	var work []int32
	for b := range p.first {
		waiting[b] = true
		work = append(work, int32(b))
	}
	var splitter []int32
	for len(work) > 0 {
		b := work[len(work)-1]
		work = work[:len(work)-1]
		waiting[b] = false
		splitter = append(splitter[:0], p.states[p.first[b]:p.end[b]]...)
		for c := range r.classes {
			for _, s := range splitter {
				at := c*n + int(s)
				for _, q := range back[ends[at]:ends[at+1]] {
					p.mark(q)
				}
			}
			for _, d := range p.touched {
				if e := p.split(d); e >= 0 {
					// If d waits, its other part must too; else the smaller part
					// is enough, and that is e.
					waiting = append(waiting, true)
					work = append(work, e)
				}
			}
			p.touched = p.touched[:0]
		}
	}
	return p
}

// byOutput is the partition by outputs.
func (r *raw) byOutput() *partition {
	n := len(r.out)
	p := &partition{states: make([]int32, 0, n), place: make([]int32, n), block: make([]int32, n)}
	index := make(map[int32]int32)
	var members [][]int32
	for s, o := range r.out {
		b, ok := index[o]
		if !ok {
			b = int32(len(members))
			index[o] = b
			members = append(members, nil)
		}
		members[b] = append(members[b], int32(s))
		p.block[s] = b
	}
	for _, list := range members {
		p.first = append(p.first, int32(len(p.states)))
		for _, s := range list {
			p.place[s] = int32(len(p.states))
			p.states = append(p.states, s)
		}
		p.end = append(p.end, int32(len(p.states)))
		p.marked = append(p.marked, 0)
	}
	return p
}

// predecessors lists for each class c and state s the states that c leads to s:
// back[ends[c*n+s]:ends[c*n+s+1]].
func (r *raw) predecessors() (back, ends []int32) {
	n := len(r.out)
	ends = make([]int32, n*r.classes+1)
	for s := range n {
		for c := range r.classes {
			ends[c*n+int(r.next[s*r.classes+c])+1]++
		}
	}
	for i := 1; i < len(ends); i++ {
		ends[i] += ends[i-1]
	}
	back = make([]int32, n*r.classes)
	at := append([]int32(nil), ends[:len(ends)-1]...)
	for s := range n {
		for c := range r.classes {
			i := c*n + int(r.next[s*r.classes+c])
			back[at[i]] = int32(s)
			at[i]++
		}
	}
	return back, ends
}
