package gen

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// Reader walks a table as docs/table-format.md says: a third walker, written
// from the document alone. It is slow, checks every access and notes what it
// has visited.
type Reader struct {
	w       []uint64
	seen    Visits
	states  map[int][]bool // by the automaton's offset
	steps   map[int][]bool
	nodes   []bool
	kids    map[int][]bool // by the node's number
	failure error
}

// Visits counts what walks came to, by name.
type Visits map[string]int

// NewReader makes a reader of a table.
func NewReader(words []uint64) *Reader {
	r := &Reader{w: words, seen: Visits{}, states: map[int][]bool{}, steps: map[int][]bool{}, kids: map[int][]bool{}}
	r.nodes = make([]bool, r.high(17))
	return r
}

// word reads one word; outside of the table it notes a failure.
func (r *Reader) word(i int) uint64 {
	if i < 0 || i >= len(r.w) {
		if r.failure == nil {
			r.failure = fmt.Errorf("word %d of %d is read", i, len(r.w))
		}
		return 0
	}
	return r.w[i]
}

func (r *Reader) low(i int) int  { return int(uint32(r.word(i))) }
func (r *Reader) high(i int) int { return int(r.word(i) >> 32) }

// packed reads number i of those that stand four a word from at on.
func (r *Reader) packed(at, i int) int { return int(r.word(at+i/4) >> (i % 4 * 16) & 0xffff) }

// Answer is what a table says of one request.
type Answer struct {
	Verdict abi.Verdict
	// Reported: what is allowed is reported. Tripped: what is denied trips a wire.
	Reported, Tripped bool
}

// Answer decides one request. The error says how the walk left the table or did not
// end.
func (r *Reader) Answer(q abi.Request) (Answer, error) {
	r.failure = nil
	class, _ := r.find(q.Path)
	rows := r.high(4)
	for step := 0; class >= rows && r.failure == nil; step++ {
		if step == int(abi.NumDims) {
			return Answer{}, fmt.Errorf("more than %d decision nodes one after the other", step)
		}
		class = r.decide(class-rows, &q)
	}
	kinds := r.low(23)
	row := r.low(4) + class*4*kinds + int(q.Kind)
	says := func(word int) bool { return r.word(word)>>q.Action&1 == 1 }
	granted, asked, reported, trips := says(row), says(row+kinds), says(row+2*kinds), says(row+3*kinds)
	switch {
	case r.failure != nil:
		return Answer{}, r.failure
	case reported:
		r.seen["row: allowed and reported"]++
		return Answer{Verdict: abi.Allow, Reported: true}, nil
	case granted:
		return Answer{Verdict: abi.Allow}, nil
	case asked:
		return Answer{Verdict: abi.Ask}, nil
	case trips:
		r.seen["row: denied and tripped"]++
	}
	return Answer{Verdict: abi.Deny, Tripped: trips}, nil
}

// find returns the class of a path, and its subtree row or -1.
func (r *Reader) find(path string) (class, subtree int) {
	node, meta := 1, r.word(6)
	if path != "/" {
		for name := range strings.SplitSeq(path[1:], "/") {
			id, next, ok := 0, uint64(0), false
			if meta>>56&1 == 1 {
				id, next, ok = r.edge(node, name)
			}
			if !ok {
				r.seen["class below"]++
				return int(meta >> 16 & 0xffff), -1
			}
			node, meta = id, next
		}
	}
	r.seen["class of the path itself"]++
	return int(meta & 0xffff), int(meta >> 32 & 0xffff)
}

func words(name string) []uint64 {
	padded := make([]byte, max(16, (len(name)+7)/8*8))
	copy(padded, name)
	list := make([]uint64, len(padded)/8)
	for i := range list {
		list[i] = binary.LittleEndian.Uint64(padded[8*i:])
	}
	return list
}

// buckets returns the two places of an edge.
func (r *Reader) buckets(parent int, name string) [2]int {
	h := (r.word(2) ^ (uint64(parent) | uint64(len(name))<<32)) * 0x9E3779B97F4A7C15
	for _, w := range words(name) {
		h = (h ^ w) * 0x9E3779B97F4A7C15
		h ^= h >> 32
	}
	h *= 0xD6E8FEB86659FD93
	h ^= h >> 32
	n := uint64(r.high(1))
	return [2]int{int((h & 0xffffffff) * n >> 32), int((h >> 32) * n >> 32)}
}

func (r *Reader) edge(parent int, name string) (id int, meta uint64, ok bool) {
	list := words(name)
	for i, b := range r.buckets(parent, name) {
		for _, at := range []int{40 + b*8, 40 + b*8 + 4} {
			if r.low(at) != parent || int(r.word(at+1)>>48&0xff) != len(name) || r.word(at+2) != list[0] {
				continue
			}
			if len(name) <= 16 && r.word(at+3) != list[1] || len(name) > 16 && !r.rest(int(r.word(at+3)), list[1:]) {
				continue
			}
			r.seen[[2]string{"edge in bucket one", "edge in bucket two"}[i]]++
			if len(name) > 16 {
				r.seen["edge with a long name"]++
			}
			return r.high(at), r.word(at + 1), true
		}
	}
	r.seen["no edge"]++
	return 0, 0, false
}

func (r *Reader) rest(at int, list []uint64) bool {
	for i, w := range list {
		if r.word(r.high(3)+at+i) != w {
			return false
		}
	}
	return true
}

// decide takes one decision node.
func (r *Reader) decide(number int, q *abi.Request) int {
	if number >= len(r.nodes) {
		r.failure = fmt.Errorf("decision node %d of %d", number, len(r.nodes))
		return 0
	}
	at := r.low(r.low(17) + number)
	dim, fan := abi.Dim(r.low(at)), r.high(at)
	if dim >= abi.NumDims {
		r.failure = fmt.Errorf("dimension %d", dim)
		return 0
	}
	class := r.class(dim, q)
	if r.failure != nil || class >= fan {
		if r.failure == nil {
			r.failure = fmt.Errorf("class %d of %d in dimension %s", class, fan, dim)
		}
		return 0
	}
	if !r.nodes[number] {
		r.nodes[number], r.kids[number] = true, make([]bool, fan)
	}
	r.kids[number][class] = true
	r.seen[fmt.Sprintf("decision node: dimension %02d %s", dim, dim)]++
	r.seen["decision node: "+size(fan)+" children"]++
	if r.word(at+1+int(q.Kind))>>q.Action&1 == 1 {
		r.seen["decision node: early stop"]++
	}
	return r.packed(at+1+2*r.low(23), class)
}

func size(n int) string {
	switch {
	case n <= 2:
		return "2"
	case n <= 4:
		return "3-4"
	case n <= 8:
		return "5-8"
	}
	return "9 or more"
}

// class sorts the request in a dimension: what is a part of another fact as the
// document says, the others as they are.
func (r *Reader) class(d abi.Dim, q *abi.Request) int {
	at := r.low(24 + int(d))
	slash := strings.LastIndexByte(q.Dest, '/')
	switch d {
	case abi.DimDayTime:
		return r.number(at, (q.Now%day+day)%day)
	case abi.DimDestName:
		return r.text(at, q.Dest[slash+1:])
	case abi.DimDestDir:
		if slash == 0 {
			return r.text(at, "/")
		}
		return r.text(at, q.Dest[:max(slash, 0)])
	}
	if d.Numeric() {
		return r.number(at, d.Fact().Value(q))
	}
	return r.text(at, d.Fact().Text(q))
}

func (r *Reader) number(at int, n int64) int {
	class := 0
	for i := range r.low(at) {
		if int64(r.word(at+1+i)) <= n {
			class++
		}
	}
	return class
}

func (r *Reader) text(at int, s string) int {
	states, classes := r.low(at), r.high(at)
	outputs := at + 33
	next := outputs + (states+3)/4
	if r.states[at] == nil {
		if states > 65535 || classes > 256 {
			r.failure = fmt.Errorf("an automaton of %d states and %d byte classes", states, classes)
			return 0
		}
		r.states[at], r.steps[at] = make([]bool, states), make([]bool, states*classes)
	}
	state := 0
	for i := range len(s) {
		class := int(r.word(at+1+int(s[i])/8) >> (s[i] % 8 * 8) & 0xff)
		step := state*classes + class
		if class >= classes || state >= states {
			r.failure = fmt.Errorf("state %d of %d, byte class %d of %d", state, states, class, classes)
			return 0
		}
		r.states[at][state], r.steps[at][step] = true, true
		state = r.packed(next, step)
	}
	if state >= states {
		r.failure = fmt.Errorf("state %d of %d", state, states)
		return 0
	}
	r.states[at][state] = true
	return r.packed(outputs, state)
}

// Visits adds what the reader's walks came to, and what the table has of it.
func (r *Reader) Visits(total Visits) {
	for name, n := range r.seen {
		total[name] += n
	}
	for d := range abi.NumDims {
		if at := r.low(24 + int(d)); at != 0 && d.Leader() == d && !d.Numeric() {
			total["of: states"] += r.low(at)
			total["of: transitions"] += r.low(at) * r.high(at)
		}
	}
	for at := range r.states {
		total["visited: states"] += trues(r.states[at])
		total["visited: transitions"] += trues(r.steps[at])
	}
	total["of: decision nodes"] += len(r.nodes)
	total["visited: decision nodes"] += trues(r.nodes)
	for i := range r.nodes {
		total["of: children of decision nodes"] += r.high(r.low(r.low(17) + i))
		total["visited: children of decision nodes"] += trues(r.kids[i])
	}
	if r.evicts() {
		total["table whose edges were evicted"]++
	}
	if r.high(5) > 1 {
		total["table with several subtree rows"]++
	}
	if r.low(22) != 0 {
		total["table that reports"]++
	}
	total["table"]++
}

func trues(list []bool) int {
	n := 0
	for _, b := range list {
		if b {
			n++
		}
	}
	return n
}

// evicts reports whether an edge had to give way to another: taking free places
// alone does not place them all.
func (r *Reader) evicts() bool {
	type slot struct {
		parent int
		name   string
	}
	byID := map[int]slot{}
	last := 1
	for at := 40; at < 40+8*r.high(1); at += 4 {
		if id := r.high(at); id != 0 {
			byID[id] = slot{r.low(at), r.name(at)}
			last = max(last, id)
		}
	}
	used := map[int]int{}
	for id := 2; id <= last; id++ {
		two := r.buckets(byID[id].parent, byID[id].name)
		switch {
		case used[two[0]] < 2:
			used[two[0]]++
		case used[two[1]] < 2:
			used[two[1]]++
		default:
			return true
		}
	}
	return false
}

func (r *Reader) name(at int) string {
	n := int(r.word(at+1) >> 48 & 0xff)
	bytes := binary.LittleEndian.AppendUint64(nil, r.word(at+2))
	if n <= 16 {
		return string(binary.LittleEndian.AppendUint64(bytes, r.word(at+3))[:n])
	}
	for i := range (n+7)/8 - 1 {
		bytes = binary.LittleEndian.AppendUint64(bytes, r.word(r.high(3)+int(r.word(at+3))+i))
	}
	return string(bytes[:n])
}
