package table

import (
	"cmp"
	"maps"
	"slices"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/pattern"
)

// Difference is a set of requests that two tables answer differently, all in
// the same way and under the same facts.
type Difference struct {
	Old, New Answer
	// Actions are the actions, for each kind of resource.
	Actions abi.Masks
	// Places are where.
	Places []Place
	// Needs lists the dimensions of the facts that matter: none of them, if the
	// answers differ whatever the facts.
	Needs []abi.Dim
	// Witness is one of the requests, with the first of the actions.
	Witness abi.Request
	// Paths and Classes tell, where a place has Some, which paths are meant:
	// those to which the automaton gives one of the classes.
	Paths   *pattern.Automaton
	Classes pattern.Bits
}

// Compare finds all requests that two tables of the same handled actions answer
// differently: none exactly if they answer every request alike. A request has a
// valid path, a destination only if it is a move, and an attribute's name only
// if it sets attributes. Limits of length are not looked at.
func Compare(old, now *Table) ([]Difference, error) {
	list, err := domains(old, now)
	if err != nil {
		return nil, err
	}
	c := &comparer{tables: [2]*Table{old, now}, domains: list, graph: newGraph(delta{}), bools: newGraph(false, true),
		memo: map[[3]int]ref{}, masked: map[abi.ActionMask]map[ref]ref{}, joined: map[[2]ref]ref{}, places: map[ref][]spot{}}
	c.paths = list[0]
	c.visit(joint(old.Trie(), now.Trie(), nil, nil))
	return c.differences(), nil
}

// answers are what a table can say of a request.
var answers = [...]Answer{{Verdict: abi.Deny}, {Verdict: abi.Allow}, {Verdict: abi.Ask},
	{Verdict: abi.Allow, Reported: true}, {Verdict: abi.Deny, Tripped: true}}

const numAnswers = len(answers)

// delta is a leaf of a diagram: for each kind and each pair of different
// answers, old and new, the actions whose answer changes so.
type delta [abi.NumKinds][numAnswers][numAnswers]abi.ActionMask

func (d delta) mask(m abi.ActionMask) delta {
	for k := range d {
		for i := range d[k] {
			for j := range d[k][i] {
				d[k][i][j] &= m
			}
		}
	}
	return d
}

func (d delta) or(e delta) delta {
	for k := range d {
		for i := range d[k] {
			for j := range d[k][i] {
				d[k][i][j] |= e[k][i][j]
			}
		}
	}
	return d
}

// same is the diagram of no difference.
const same ref = -1

// spot is a place where a diagram holds: a node's own path, or what lies
// beneath it, all of it or the paths of some classes.
type spot struct {
	at      *pairNode
	beneath bool
	classes pattern.Bits // nil: all
}

type comparer struct {
	tables  [2]*Table
	domains []*domain
	paths   *domain
	graph   *graph[delta]
	bools   *graph[bool]
	memo    map[[3]int]ref
	masked  map[abi.ActionMask]map[ref]ref
	joined  map[[2]ref]ref
	// places has, for each diagram over facts, where it holds.
	places map[ref][]spot
	reach  *reacher
}

// compare returns the diagram of how two classes differ, over the domains from
// number i on.
func (c *comparer) compare(i, a, b int) ref {
	dim := min(c.dim(0, a), c.dim(1, b))
	if dim == abi.NumDims {
		return c.graph.leaf(change(c.tables[0].Row(a), c.tables[1].Row(b)))
	}
	for !slices.Contains(c.domains[i].dims, dim) {
		i++
	}
	key := [3]int{i, a, b}
	if r, ok := c.memo[key]; ok {
		return r
	}
	d := c.domains[i]
	kids := make([]ref, d.classes())
	for class := range kids {
		kids[class] = c.compare(i+1, c.follow(0, a, d, class), c.follow(1, b, d, class))
	}
	if only := d.lead.Fact().Only; only != ^abi.ActionMask(0) {
		c.only(only, kids, d.empty)
	}
	r := c.graph.pick(d.lead, kids)
	c.memo[key] = r
	return r
}

func (c *comparer) dim(table, class int) abi.Dim {
	if t := c.tables[table]; class >= t.rows() {
		return t.vertex(class).dim()
	}
	return abi.NumDims
}

// follow goes on from a class by a class of a domain.
func (c *comparer) follow(table, class int, d *domain, by int) int {
	t := c.tables[table]
	for {
		i := slices.Index(d.dims, c.dim(table, class))
		if i < 0 {
			return class
		}
		class = t.child(t.vertex(class), d.of[table][by][i])
	}
}

// only says that a fact is one of the given actions: for the others it is
// empty.
func (c *comparer) only(actions abi.ActionMask, kids []ref, empty int) {
	others := c.mask(kids[empty], ^actions)
	for i, k := range kids {
		mine := c.mask(k, actions)
		kids[i] = combine(c.graph, mine, c.graph, others, c.graph, delta.or, c.joined)
	}
}

func (c *comparer) mask(r ref, m abi.ActionMask) ref {
	memo := c.masked[m]
	if memo == nil {
		memo = map[ref]ref{}
		c.masked[m] = memo
	}
	return convert(c.graph, r, c.graph, func(d delta) delta { return d.mask(m) }, memo)
}

// change compares two rows.
func change(a, b Row) delta {
	var d delta
	for k := range d {
		was, is := a.answers(abi.Kind(k)), b.answers(abi.Kind(k))
		for i := range was {
			for j := range is {
				if i != j {
					d[k][i][j] = was[i] & is[j]
				}
			}
		}
	}
	return d
}

// answers lists the actions of each answer.
func (r Row) answers(k abi.Kind) (m [numAnswers]abi.ActionMask) {
	m[abi.Deny] = ^(r.Allow[k] | r.Ask[k] | r.Trip[k])
	m[abi.Allow], m[abi.Ask], m[numAnswers-2], m[numAnswers-1] = r.Allow[k]&^r.Report[k], r.Ask[k], r.Report[k], r.Trip[k]
	return m
}

// visit notes the differences at a node and below.
func (c *comparer) visit(n *pairNode) {
	if r := c.compare(0, n.exactly[0], n.exactly[1]); r != same {
		if c.graph.dim(r) == abi.DimGlob0 {
			r = c.graph.kid(r, abi.DimGlob0, c.paths.automaton.Class(n.path))
		}
		c.note(r, spot{at: n})
	}
	if r := c.compare(0, n.beneath[0], n.beneath[1]); r != same {
		c.visitBeneath(n, r)
	}
	for _, child := range n.children {
		c.visit(child)
	}
}

// visitBeneath sorts what lies beneath a node by how it differs.
func (c *comparer) visitBeneath(n *pairNode, r ref) {
	if c.graph.dim(r) != abi.DimGlob0 {
		c.note(r, spot{at: n, beneath: true})
		return
	}
	if c.reach == nil {
		c.reach = newReacher(c.paths.automaton)
	}
	by := map[ref]pattern.Bits{}
	for _, class := range c.reach.beneath(n.path, n.names()).Members() {
		if c.paths.valid[class] {
			k := c.graph.kid(r, abi.DimGlob0, class)
			set := by[k]
			set.Set(class)
			by[k] = set
		}
	}
	for k, set := range by {
		if len(by) == 1 {
			set = nil
		}
		c.note(k, spot{at: n, beneath: true, classes: set})
	}
}

func (c *comparer) note(r ref, s spot) {
	if r != same {
		c.places[r] = append(c.places[r], s)
	}
}

// aspect is one way in which a diagram differs, without the action: under the
// facts of a diagram over booleans.
type aspect struct {
	old, new Answer
	facts    ref
}

// group is what the actions of one difference share: the aspect, and the
// diagrams whose places they change in.
type group struct {
	aspect
	diagrams string // the key of a list
}

// differences gathers the actions that change alike in the same places.
func (c *comparer) differences() []Difference {
	groups, lists := c.groups()
	type likeness struct {
		aspect
		actions abi.ActionMask
	}
	out := make([]Difference, 0, len(groups))
	dirs := map[likeness][]*Difference{}
	for g, d := range groups {
		c.complete(d, lists[g], g.facts)
		if onlyOf(d, abi.Dir) {
			l := likeness{g.aspect, d.Actions[abi.Dir]}
			dirs[l] = append(dirs[l], d)
		}
	}
	for g, d := range groups {
		if onlyOf(d, abi.File) {
			l := likeness{g.aspect, d.Actions[abi.File]}
			dirs[l] = absorb(d, dirs[l])
		}
		if !onlyOf(d, abi.Dir) {
			out = append(out, *d)
		}
	}
	for _, list := range dirs {
		for _, d := range list {
			out = append(out, *d)
		}
	}
	slices.SortFunc(out, compareDifferences)
	return out
}

// onlyOf reports that a difference is one of a single kind.
func onlyOf(d *Difference, kind abi.Kind) bool {
	for k := range abi.NumKinds {
		if (d.Actions[k] != 0) != (k == kind) {
			return false
		}
	}
	return true
}

// groups sorts kinds and actions by how and where they change.
func (c *comparer) groups() (groups map[group]*Difference, lists map[group][]ref) {
	type subject struct {
		aspect
		kind   abi.Kind
		action abi.Action
	}
	diagrams := map[subject][]ref{}
	for _, r := range slices.Sorted(maps.Keys(c.places)) {
		for k := range abi.NumKinds {
			for a := range abi.NumActions {
				for _, x := range c.aspects(r, k, a) {
					s := subject{x, k, a}
					diagrams[s] = append(diagrams[s], r)
				}
			}
		}
	}
	groups, lists = map[group]*Difference{}, map[group][]ref{}
	for s, list := range diagrams {
		g := group{s.aspect, key(list)}
		if groups[g] == nil {
			groups[g] = &Difference{Old: s.old, New: s.new}
			lists[g] = list
		}
		groups[g].Actions[s.kind] |= abi.MaskOf(s.action)
	}
	return groups, lists
}

// absorb joins a difference of files with one of directories that is in the
// same places, and returns the others.
func absorb(files *Difference, dirs []*Difference) []*Difference {
	for i, d := range dirs {
		if places, ok := mergePlaces(files.Places, d.Places); ok {
			files.Places, files.Actions[abi.Dir] = places, d.Actions[abi.Dir]
			return slices.Delete(dirs, i, i+1)
		}
	}
	return dirs
}

func key(list []ref) string {
	b := make([]byte, 0, 4*len(list))
	for _, r := range list {
		b = append(b, byte(r), byte(r>>8), byte(r>>16), byte(r>>24))
	}
	return string(b)
}

// aspects splits a diagram by what happens to one action.
func (c *comparer) aspects(r ref, k abi.Kind, a abi.Action) []aspect {
	var list []aspect
	for old := range answers {
		for now := range answers {
			if old == now {
				continue
			}
			facts := convert(c.graph, r, c.bools, func(d delta) bool { return d[k][old][now].Has(a) }, map[ref]ref{})
			if facts != c.bools.leaf(false) {
				list = append(list, aspect{answers[old], answers[now], facts})
			}
		}
	}
	return list
}

// compareDifferences puts what is newly allowed first, then by place; what is
// only newly reported or responded to, or no longer, comes last.
func compareDifferences(a, b Difference) int {
	rank := func(d Difference) int {
		switch {
		case d.New.Verdict == d.Old.Verdict:
			return 3
		case d.New.Verdict == abi.Allow:
			return 0
		case d.New.Verdict == abi.Ask:
			return 1
		}
		return 2
	}
	return cmp.Or(rank(a)-rank(b), slices.Index(answers[:], a.Old)-slices.Index(answers[:], b.Old),
		slices.Index(answers[:], a.New)-slices.Index(answers[:], b.New), cmp.Compare(a.Places[0].Path, b.Places[0].Path),
		cmp.Compare(len(a.Places), len(b.Places)), slices.Compare(a.Actions[:], b.Actions[:]),
		compareFacts(&a.Witness, &b.Witness))
}

// compareFacts orders requests by their paths, then by the other facts.
func compareFacts(a, b *abi.Request) int {
	for _, f := range abi.EachFact() {
		var c int
		if f.Number {
			c = cmp.Compare(f.Value(a), f.Value(b))
		} else {
			c = cmp.Compare(f.Text(a), f.Text(b))
		}
		if c != 0 && f.Whole() {
			return c
		}
	}
	return 0
}

// complete fills places, facts and witness.
func (c *comparer) complete(d *Difference, diagrams []ref, facts ref) {
	var spots []spot
	for _, r := range diagrams {
		spots = append(spots, c.places[r]...)
	}
	m := newMarks(spots, c.full)
	d.Places = m.places()
	d.Witness.Path = c.pathOf(m.best())
	for _, x := range m {
		if x.some {
			d.Paths = c.paths.automaton
			d.Classes.Add(x.classes)
		}
	}
	for k := range abi.NumKinds {
		if mask := d.Actions[k]; mask != 0 {
			d.Witness.Kind, d.Witness.Action = k, mask.Actions()[0]
			break
		}
	}
	d.Needs = c.assign(facts, &d.Witness)
}

// full reports whether classes are all that lie beneath a node.
func (c *comparer) full(n *pairNode, classes pattern.Bits) bool {
	for _, class := range c.reach.beneath(n.path, n.names()).Members() {
		if c.paths.valid[class] && !classes.Has(class) {
			return false
		}
	}
	return true
}

// assign puts facts that satisfy a diagram into q. It returns the dimensions
// that the diagram asks.
func (c *comparer) assign(facts ref, q *abi.Request) []abi.Dim {
	needs := map[abi.Dim]bool{}
	var collect func(ref)
	seen := map[ref]bool{}
	collect = func(r ref) {
		if r < 0 || seen[r] {
			return
		}
		seen[r] = true
		v := c.bools.vertices[r]
		needs[v.dim] = true
		for _, k := range v.kids {
			collect(k)
		}
	}
	collect(facts)
	for r := facts; r >= 0; {
		v := c.bools.vertices[r]
		i := slices.IndexFunc(v.kids, func(k ref) bool { return k != c.bools.leaf(false) })
		for _, d := range c.domains {
			if d.lead == v.dim {
				d.put(i, q)
			}
		}
		r = v.kids[i]
	}
	var list []abi.Dim
	for _, d := range c.domains {
		if needs[d.lead] {
			list = append(list, d.lead)
		}
	}
	return list
}

// put sets the fact of a request to a value of a class.
func (d *domain) put(class int, q *abi.Request) {
	if fact := d.lead.Fact(); fact.Number {
		fact.SetValue(q, d.numbers[class])
	} else {
		fact.SetText(q, d.texts[class])
	}
}
