package table

import "github.com/stockade-dev/stockade/bpf/abi"

// Decide answers one request.
func (t *Table) Decide(q abi.Request) abi.Verdict {
	return t.rowOf(&q).verdict(q)
}

// Reports tells of a request that is allowed whether policies in audit would
// deny it, or ask about it.
func (t *Table) Reports(q abi.Request) bool { return t.rowOf(&q).Report[q.Kind].Has(q.Action) }

// Trips tells of a request that is denied whether a policy says to respond to that.
func (t *Table) Trips(q abi.Request) bool { return t.rowOf(&q).Trip[q.Kind].Has(q.Action) }

func (t *Table) rowOf(q *abi.Request) Row { return t.Row(t.resolve(t.Find(q.Path).Class, q)) }

// resolve follows decision nodes to a row.
func (t *Table) resolve(class int, q *abi.Request) int {
	for class >= t.rows() {
		v := t.vertex(class)
		class = t.child(v, t.ClassOf(v.dim(), q))
	}
	return class
}

// bind follows the nodes of the dimensions that read the resource's path.
func (t *Table) bind(class int, path string) int {
	for class >= t.rows() {
		v := t.vertex(class)
		if int(v.dim()) >= abi.NumGlobs {
			break
		}
		class = t.child(v, t.ClassOf(v.dim(), &abi.Request{Path: path}))
	}
	return class
}

func (t *Table) rows() int { return hi(t.words[abi.HdrRows]) }

// decision is the words of a decision node, from its first on.
type decision []uint64

func (t *Table) vertex(class int) decision {
	return t.words[t.words[lo(t.words[abi.HdrNodes])+class-t.rows()]:]
}

func (v decision) dim() abi.Dim { return abi.Dim(v[0]) }
func (v decision) kids() int    { return hi(v[0]) }

// child returns the class that v goes to.
func (t *Table) child(v decision, i int) int { return int(get16(v[vertexWords:], i)) }

// ClassOf returns the class of a request in a dimension; 0 if the table does
// not use it.
func (t *Table) ClassOf(d abi.Dim, q *abi.Request) int {
	if hi(t.words[abi.HdrDims+int(d)]) == 0 {
		return 0
	}
	if f := d.Fact(); f.Number {
		return t.number(d, f.Value(q))
	}
	return t.text(d, d.Fact().Text(q))
}

// number is the class of a number: how many thresholds it has reached.
func (t *Table) number(d abi.Dim, v int64) int {
	w := t.words[lo(t.words[abi.HdrDims+int(d)]):]
	low, high := 0, int(w[0])
	for low < high {
		if mid := (low + high) / 2; int64(w[1+mid]) <= v {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// text is the class of a string.
func (t *Table) text(d abi.Dim, s string) int {
	a := t.automaton(d)
	return a.output(a.run(0, s))
}

// automaton is the words of an automaton, from its first on.
type automaton []uint64

func (t *Table) automaton(d abi.Dim) automaton { return t.words[lo(t.words[abi.HdrDims+int(d)]):] }

func (a automaton) states() int { return lo(a[0]) }

// run reads s from a state on.
func (a automaton) run(state int, s string) int {
	classes := hi(a[0])
	next := a[automatonHead+(a.states()+3)/4:]
	for i := range len(s) {
		class := int(a[1+s[i]/8] >> (s[i] % 8 * 8) & 0xff)
		state = int(get16(next, state*classes+class))
	}
	return state
}

func (a automaton) output(state int) int { return int(get16(a[automatonHead:], state)) }

// Row returns the verdicts of a class that is a row.
func (t *Table) Row(class int) Row {
	w := t.words[lo(t.words[abi.HdrRows])+class*abi.RowWords:]
	var r Row
	for k := range abi.NumKinds {
		r.Report[k] = abi.ActionMask(w[abi.RowReported+int(k)])
		r.Allow[k] = abi.ActionMask(w[abi.RowGranted+int(k)]) | r.Report[k]
		r.Ask[k] = abi.ActionMask(w[abi.RowAsked+int(k)])
		r.Trip[k] = abi.ActionMask(w[abi.RowTrips+int(k)])
	}
	return r
}

// words are the row as it stands in a table.
func (r *Row) words() (w [abi.RowWords]uint64) {
	for k := range abi.NumKinds {
		w[abi.RowGranted+int(k)] = uint64(r.Allow[k] &^ r.Report[k])
		w[abi.RowAsked+int(k)] = uint64(r.Ask[k])
		w[abi.RowReported+int(k)] = uint64(r.Report[k])
		w[abi.RowTrips+int(k)] = uint64(r.Trip[k])
	}
	return w
}

// sumOf sums up all that a class can come to.
func (t *Table) sumOf(class int) Sub {
	if class < t.rows() {
		return t.Row(class).sum()
	}
	return getSub(t.vertex(class)[1:])
}

func getSub(w []uint64) (s Sub) {
	for k := range abi.NumKinds {
		s.All[k], s.Any[k] = abi.ActionMask(w[abi.SumAll+int(k)]), abi.ActionMask(w[abi.SumAny+int(k)])
	}
	return s
}

func putSub(w []uint64, s Sub) {
	for k := range abi.NumKinds {
		w[abi.SumAll+int(k)], w[abi.SumAny+int(k)] = uint64(s.All[k]), uint64(s.Any[k])
	}
}

// SubOf returns what is true of everything at and beneath a match.
func (t *Table) SubOf(m Match) Sub {
	if m.Sub < 0 {
		return t.sumOf(m.Class)
	}
	return getSub(t.words[lo(t.words[abi.HdrSubs])+m.Sub*abi.SumWords:])
}
