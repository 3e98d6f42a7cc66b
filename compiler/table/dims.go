package table

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/pattern"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// maxStates bounds one automaton. Typical globs need far fewer (package pattern
// has figures); a thousand with eight different effects need about 10,000 in
// each of four automata.
const maxStates = 16384

// dims are the dimensions of one table: how each sorts what it reads into
// classes.
type dims struct {
	automata   [abi.NumDims]*pattern.Automaton
	thresholds [abi.NumDims][]int64
	classes    [abi.NumDims]int

	// languages numbers the languages of a field and those that it leads, and holds
	// tells for each of its automata which outputs are in which language.
	languages [rule.NumFields]map[string]int
	// owners are the policies that ask for each language.
	owners [rule.NumFields][][]int
	holds  [abi.NumDims][]pattern.Bits
}

// dimsOf lists the dimensions that read a field.
func dimsOf(f rule.Field) []abi.Dim { return f.Fact().Dims() }

// leader is the field whose automata read a field.
func leader(f rule.Field) rule.Field { return rule.Field(f.Fact().Automaton) }

// followers lists the other dimensions that a dimension's automaton reads.
func followers(d abi.Dim) []abi.Dim {
	var list []abi.Dim
	for _, f := range abi.EachFact() {
		if f.Automaton == d && f.Dim != d {
			list = append(list, f.Dim)
		}
	}
	return list
}

// newDims builds the dimensions that clauses ask for.
func newDims(list []clause) (*dims, error) {
	d := &dims{}
	var byField [rule.NumFields][]pattern.Language
	for i := range d.languages {
		d.languages[i] = map[string]int{}
	}
	for i := range list {
		d.collect(&list[i].formula, list[i].policies, &byField)
	}
	for _, f := range rule.Numbers() {
		dim := abi.Dim(f)
		slices.Sort(d.thresholds[dim])
		d.thresholds[dim] = slices.Compact(d.thresholds[dim])
		if n := len(d.thresholds[dim]); n > abi.MaxThresholds {
			return nil, fmt.Errorf("policy set: %d different bounds on %s, of at most %d: nothing is installed; use fewer or ranges", n, f, abi.MaxThresholds)
		} else if n > 0 {
			d.classes[dim] = n + 1
		}
	}
	for _, f := range rule.Texts() {
		if leader(f) != f {
			continue
		}
		if err := d.build(f, byField[f]); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// collect notes every language and bound of f.
func (d *dims) collect(f *formula, policies []int, byField *[rule.NumFields][]pattern.Language) {
	switch f.op {
	case opLanguage:
		group := leader(f.field)
		key := f.language.Key()
		if _, ok := d.languages[group][key]; !ok {
			d.languages[group][key] = len(byField[group])
			byField[group] = append(byField[group], f.language)
			d.owners[group] = append(d.owners[group], nil)
		}
		i := d.languages[group][key]
		d.owners[group][i] = append(d.owners[group][i], policies...)
	case opLess:
		dim := abi.Dim(f.field)
		d.thresholds[dim] = append(d.thresholds[dim], f.bound)
	}
	for i := range f.args {
		d.collect(&f.args[i], policies, byField)
	}
}

// build makes the automata of a field, and of those that it leads.
func (d *dims) build(f rule.Field, languages []pattern.Language) error {
	if len(languages) == 0 {
		return nil
	}
	set, err := pattern.Build(languages, pattern.Options{Automata: len(dimsOf(f)), States: maxStates})
	var large *pattern.TooLargeError
	if errors.As(err, &large) {
		e := &GlobsError{Field: f, States: large.States}
		for _, l := range large.Languages {
			e.Policies = append(e.Policies, d.owners[f][l]...)
		}
		return e
	}
	if err != nil {
		return err
	}
	for i, a := range set.Automata {
		dim := dimsOf(f)[i]
		for _, dim := range append(followers(dim), dim) {
			d.automata[dim], d.holds[dim], d.classes[dim] = a, set.Holds[i], a.Outputs
		}
	}
	return nil
}

// GlobsError says that the patterns on a field need too large automata.
type GlobsError struct {
	Field  rule.Field
	States int
	// Policies are those whose patterns cost most, the worst first.
	Policies []int
}

// Error says what is too large, without the policies' names.
func (e *GlobsError) Error() string {
	return fmt.Sprintf("policy set: the patterns on %s need automata of more than %d states: nothing is installed; use fewer patterns with several stars", e.Field, e.States)
}

// rank sorts the policies of an error by the stars in their patterns, the most
// in one pattern first, and drops those that come twice.
func (e *GlobsError) rank(rules []rule.Rule) {
	stars := make(map[int]int)
	for _, r := range rules {
		stars[r.Policy] = max(stars[r.Policy], starsOf(r.Cond, e.Field))
	}
	slices.SortStableFunc(e.Policies, func(a, b int) int { return cmp.Or(stars[b]-stars[a], a-b) })
	e.Policies = slices.Compact(e.Policies)
}

func starsOf(c rule.Cond, f rule.Field) int {
	most := 0
	visit := func(list ...rule.Cond) {
		for _, x := range list {
			most = max(most, starsOf(x, f))
		}
	}
	switch c := c.(type) {
	case rule.Like:
		if leader(c.Field) == f {
			return strings.Count(c.Pattern, "*") - strings.Count(c.Pattern, `\*`)
		}
	case rule.Not:
		visit(c.X)
	case rule.And:
		visit(c...)
	case rule.Or:
		visit(c...)
	}
	return most
}

// diagram returns where the request's field is in the language of f, or less
// than its bound.
func (d *dims) diagram(l *logic, f *formula) ref {
	if f.op == opLess {
		dim := abi.Dim(f.field)
		at, _ := slices.BinarySearch(d.thresholds[dim], f.bound)
		return l.member(dim, d.classes[dim], func(class int) bool { return class <= at })
	}
	i := d.languages[leader(f.field)][f.language.Key()]
	r := isFalse
	for _, dim := range dimsOf(f.field) {
		if d.automata[dim] != nil {
			r = l.or(r, l.member(dim, d.classes[dim], func(class int) bool { return d.holds[dim][class].Has(i) }))
		}
	}
	return r
}

// encode lays the data of all dimensions out, and says where each begins.
func (d *dims) encode() (words []uint64, at [abi.NumDims]int) {
	for dim := range abi.NumDims {
		at[dim] = len(words)
		switch {
		case d.classes[dim] == 0:
		case dim.Leader() != dim:
			at[dim] = at[dim.Leader()]
		case d.automata[dim] != nil:
			words = append(words, automatonWords(d.automata[dim])...)
		default:
			words = append(words, uint64(len(d.thresholds[dim])))
			for _, t := range d.thresholds[dim] {
				words = append(words, uint64(t))
			}
		}
	}
	return words, at
}

// automatonWords lays an automaton out.
func automatonWords(a *pattern.Automaton) []uint64 {
	states, outputs := a.States(), (a.States()+3)/4
	w := make([]uint64, automatonHead+outputs+(states*a.Classes+3)/4)
	w[0] = pair(states, a.Classes)
	for i, c := range a.Bytes {
		w[1+i/8] |= uint64(c) << (i % 8 * 8)
	}
	for i, o := range a.Out {
		put16(w[automatonHead:], i, o)
	}
	for i, s := range a.Next {
		put16(w[automatonHead+outputs:], i, s)
	}
	return w
}

// count returns the automata and their states in all.
func (d *dims) count() (automata, states int) {
	for dim, a := range d.automata {
		if a != nil && abi.Dim(dim).Leader() == abi.Dim(dim) {
			automata++
			states += a.States()
		}
	}
	return automata, states
}
