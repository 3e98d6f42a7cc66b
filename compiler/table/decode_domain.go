package table

import (
	"fmt"
	"slices"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/pattern"
)

// A domain is one thing that requests differ by, sorted into the classes that
// some table tells apart. The facts of a request are independent of each other;
// what one fact gives several dimensions (the time and the time of day) is one
// domain.
type domain struct {
	lead abi.Dim
	dims []abi.Dim
	// of has, for each table and each class of the domain, the class of each of
	// dims.
	of [][][]int
	// texts or numbers has a value of each class: the shortest string or the
	// number nearest to 0.
	texts   []string
	numbers []int64
	// empty is the class of the empty string, of domains of strings.
	empty int
	// automaton gives every path its class, of the domain of paths.
	automaton *pattern.Automaton
	valid     []bool // classes that some path has
}

// classes is how many classes the domain has.
func (d *domain) classes() int { return len(d.of[0]) }

// domainDims lists the dimensions of a fact and of its parts.
func domainDims(whole *abi.Fact) []abi.Dim {
	var dims []abi.Dim
	for _, f := range abi.EachFact() {
		if f.Of == whole.Dim {
			dims = append(dims, f.Dims()...)
		}
	}
	return dims
}

// domains sorts the values of every fact by all tables at once.
func domains(tables ...*Table) ([]*domain, error) {
	var list []*domain
	for _, fact := range abi.EachFact() {
		if !fact.Whole() {
			continue
		}
		d := &domain{lead: fact.Dim, dims: domainDims(fact)}
		var err error
		switch {
		case fact.Clock:
			d.times(tables)
		case fact.Number:
			d.ids(tables)
		default:
			err = d.strings(tables)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what(d.lead), err)
		}
		list = append(list, d)
	}
	return list, nil
}

// what names a domain to a reader.
func what(lead abi.Dim) string {
	switch lead {
	case abi.DimGlob0:
		return "patterns on paths"
	case abi.DimDestPath:
		return "patterns on destinations"
	}
	return "patterns on " + lead.String()
}

// add appends a class.
func (d *domain) add(classes [][]int) {
	if d.of == nil {
		d.of = make([][][]int, len(classes))
	}
	for i, c := range classes {
		d.of[i] = append(d.of[i], c)
	}
}

// ids are the classes of a number that is no time.
func (d *domain) ids(tables []*Table) {
	fact := d.lead.Fact()
	cuts := []int64{fact.Least}
	for _, t := range tables {
		for _, c := range t.Thresholds(d.lead) {
			if c > fact.Least && c <= fact.Most {
				cuts = append(cuts, c)
			}
		}
	}
	slices.Sort(cuts)
	for _, id := range slices.Compact(cuts) {
		d.numbers = append(d.numbers, id)
		var value abi.Request
		fact.SetValue(&value, id)
		d.add(classesOf(tables, d.dims, &value))
	}
}

// classesOf asks every table for the classes of a value.
func classesOf(tables []*Table, dims []abi.Dim, value *abi.Request) [][]int {
	out := make([][]int, len(tables))
	for i, t := range tables {
		for _, dim := range dims {
			out[i] = append(out[i], t.ClassOf(dim, value))
		}
	}
	return out
}

const day = abi.Day

// times are the classes of moments: spans of time, cut by the time of day.
func (d *domain) times(tables []*Table) {
	cuts, hours := []int64{-abi.MaxTime}, []int64{0}
	for _, t := range tables {
		for _, c := range t.Thresholds(abi.DimNow) {
			if c > -abi.MaxTime && c <= abi.MaxTime {
				cuts = append(cuts, c)
			}
		}
		for _, h := range t.Thresholds(abi.DimDayTime) {
			if h > 0 && h < day {
				hours = append(hours, h)
			}
		}
	}
	slices.Sort(cuts)
	slices.Sort(hours)
	cuts, hours = slices.Compact(cuts), slices.Compact(hours)
	for i, from := range cuts {
		last := int64(abi.MaxTime)
		if i+1 < len(cuts) {
			last = cuts[i+1] - 1
		}
		for j, first := range hours {
			until := int64(day)
			if j+1 < len(hours) {
				until = hours[j+1]
			}
			now, ok := moment(from, last, first, until)
			if ok {
				d.numbers = append(d.numbers, now)
				d.add(classesOf(tables, d.dims, &abi.Request{Facts: abi.Facts{Now: now}}))
			}
		}
	}
}

// moment finds a time from `from` to last whose time of day is in [first,
// until): one not before 1970, if there is one.
func moment(from, last, first, until int64) (int64, bool) {
	if from < 0 && last >= 0 {
		if now, ok := moment(0, last, first, until); ok {
			return now, true
		}
		last = -1
	}
	// From here on both have one sign, so last-from does not overflow.
	if from < 0 && last-from > 2*day {
		from = last - 2*day // two days hold every time of day
	}
	hour, wait := ((from%day)+day)%day, int64(0)
	switch {
	case hour < first:
		wait = first - hour
	case hour >= until:
		wait = day - hour + first
	}
	return from + wait, wait <= last-from
}

// strings are the classes of strings, by all automata at once.
func (d *domain) strings(tables []*Table) error {
	joint := pattern.Paths()
	switch {
	case d.lead == abi.DimGlob0:
	case d.lead.Fact().Path:
		joint = orEmpty(joint)
	default:
		joint = noNUL()
	}
	// parts[o] are the outputs that output o of joint stands for: validity, then
	// the class in each dimension of each table.
	parts := make([][]int, joint.Outputs)
	for o := range parts {
		parts[o] = []int{o}
	}
	for _, t := range tables {
		for _, dim := range d.dims {
			a, err := lifted(t, dim)
			if err != nil {
				return err
			}
			if a == nil {
				for o := range parts {
					parts[o] = append(parts[o], 0)
				}
				continue
			}
			product, pairs, err := pattern.Product(joint, a)
			if err != nil {
				return err
			}
			now := make([][]int, len(pairs))
			for o, p := range pairs {
				now[o] = append(slices.Clone(parts[p[0]]), p[1])
			}
			joint, parts = product, now
		}
	}
	return d.fill(joint, parts, len(tables))
}

// fill makes a class of each output of the joint automaton.
func (d *domain) fill(joint *pattern.Automaton, parts [][]int, tables int) error {
	d.automaton = joint
	if d.lead != abi.DimGlob0 {
		d.empty = -1
	}
	texts := witnesses(joint)
	for o, part := range parts {
		valid := part[0] == 1
		if d.lead != abi.DimGlob0 {
			if !valid {
				continue // no request has such a string
			}
			if joint.Class("") == o {
				d.empty = len(d.texts)
			}
		}
		classes := make([][]int, tables)
		for i := range classes {
			classes[i] = part[1+i*len(d.dims):][:len(d.dims)]
		}
		d.texts = append(d.texts, texts[o])
		d.valid = append(d.valid, valid)
		d.add(classes)
	}
	return nil
}

// witnesses returns a shortest string of every output of an automaton.
func witnesses(a *pattern.Automaton) []string {
	out := make([]string, a.Outputs)
	for o := range out {
		out[o], _ = a.Witness(o)
	}
	return out
}

// orEmpty extends the strings of output 1 by the empty one.
func orEmpty(a *pattern.Automaton) *pattern.Automaton {
	b := *a
	// A new start, which nothing leads to: the other states move up by one.
	b.Out = append([]uint16{1}, a.Out...)
	b.Next = append(slices.Clone(a.Next[:a.Classes]), a.Next...)
	for i := range b.Next {
		b.Next[i]++
	}
	return &b
}

// noNUL gives output 1 to strings without a NUL.
func noNUL() *pattern.Automaton {
	a := &pattern.Automaton{Classes: 2, Next: []uint16{1, 0, 1, 1}, Out: []uint16{1, 0}, Outputs: 2}
	for b := 1; b < 256; b++ {
		a.Bytes[b] = 1
	}
	return a
}

// lifted returns the automaton of a dimension as one that reads the whole
// string of its domain: those of a destination's parts read its path.
func lifted(t *Table, dim abi.Dim) (*pattern.Automaton, error) {
	a := t.Automaton(dim)
	switch {
	case a == nil:
		return nil, nil
	case dim == abi.DimDestName:
		return lift(a, func(at liftState, slash bool) liftState {
			if slash {
				at.state = 0
			}
			return at
		}, func(at liftState) uint16 { return a.Out[at.state] })
	case dim == abi.DimDestDir:
		return lift(a, func(at liftState, slash bool) liftState {
			if slash && at.begun {
				at.out = a.Out[at.state]
			} else if slash {
				at.out = a.Out[a.Step(0, '/')]
			}
			if slash {
				at.state = a.Step(at.state, '/')
			}
			at.begun = true
			return at
		}, func(at liftState) uint16 { return at.out })
	}
	return a, nil
}

// liftState is where an automaton stands in a part of a string.
type liftState struct {
	state, out uint16
	begun      bool // a byte was read
}

// lift makes an automaton of steps that treat slashes in their own way. The
// other bytes are read as a reads them.
func lift(a *pattern.Automaton, step func(at liftState, slash bool) liftState, out func(liftState) uint16) (*pattern.Automaton, error) {
	b := &pattern.Automaton{Outputs: a.Outputs, Classes: a.Classes + 1, Bytes: a.Bytes}
	if a.Classes == 256 {
		b.Classes = 256 // the slash has a class of its own already
	} else {
		b.Bytes['/'] = uint8(a.Classes)
	}
	// One byte for each class.
	byteOf := make([]byte, b.Classes)
	for c := 255; c >= 0; c-- {
		byteOf[b.Bytes[c]] = byte(c)
	}
	first := liftState{out: a.Out[0]}
	index := map[liftState]uint16{first: 0}
	states := []liftState{first}
	for i := 0; i < len(states); i++ {
		b.Out = append(b.Out, out(states[i]))
		for c := range b.Classes {
			to := step(states[i], byteOf[c] == '/')
			if byteOf[c] != '/' {
				to.state = a.Step(states[i].state, byteOf[c])
			}
			n, ok := index[to]
			if !ok {
				if len(states) == pattern.MaxStates {
					return nil, fmt.Errorf("automaton of %d states: following a destination's parts takes more than %d states: they cannot be compared; use fewer patterns with several stars",
						a.States(), pattern.MaxStates)
				}
				n = uint16(len(states))
				index[to] = n
				states = append(states, to)
			}
			b.Next = append(b.Next, n)
		}
	}
	return b, nil
}
