package table

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// newBuilder makes room for what the stages leave of some rules.
func newBuilder(set *rule.Set, handled abi.ActionMask) *builder {
	return &builder{rules: set, handled: handled, wandering: wandering(set) & handled, logic: newLogic(),
		tallies: newGraph[tally](), verdicts: newGraph[verdict](), sums: map[string]ref{}, finished: map[finish]ref{}}
}

// joinRules makes the clauses.
func (b *builder) joinRules() error {
	b.clauses = clauses(b.rules.Rules)
	return nil
}

// sortValues makes the dimensions.
func (b *builder) sortValues() error {
	var err error
	b.dims, err = newDims(b.clauses)
	var globs *GlobsError
	if errors.As(err, &globs) {
		globs.rank(b.rules.Rules)
	}
	return err
}

// plantTrie makes the trie and decides everything at every node.
func (b *builder) plantTrie() error {
	t := newTrie()
	for i := range b.clauses {
		t.link(&b.clauses[i].formula, i, b.dims, b.logic)
	}
	b.root = t.root
	b.root.number(0)
	b.decide(b.root)
	return nil
}

// narrowTrie leaves the smallest trie.
func (b *builder) narrowTrie() error {
	b.narrow(b.root)
	return nil
}

// mergeClasses leaves the fewest classes.
func (b *builder) mergeClasses() error {
	b.dims = b.merge(b.root)
	return nil
}

// wandering lists the actions of rules with an unknown that depends on the
// resource.
func wandering(set *rule.Set) abi.ActionMask {
	var mask abi.ActionMask
	for _, r := range set.Rules {
		if r.Audited {
			continue // the no-gain rule looks at what is enforced
		}
		rule.Unknowns(r.Cond, func(i int) {
			if i < len(set.Residuals) && set.Residuals[i].Resource {
				mask |= r.Actions
			}
		})
	}
	return mask
}

// tally is what clauses that depend on dimensions say: the actions that some
// permit or forbid is about, for certain or perhaps; audit is what forbids in
// audit are about, certain or not; trip is what tripwires forbid for certain.
type tally struct {
	permit, perhaps, forbid, maybe, audit, trip abi.Masks
}

// plain is what the other clauses say.
type plain struct {
	permit, forbid, audit, trip abi.Masks
}

// verdict is a leaf of a verdict diagram. No request comes to a free one.
type verdict struct {
	Row
	free bool
}

// finish is what the verdicts of a place depend on.
type finish struct {
	tally ref
	plain plain
}

// builder keeps, while the trie is walked, what every clause comes to at the
// present place: true or false, which is counted for each action, or a diagram.
type builder struct {
	rules   *rule.Set
	handled abi.ActionMask
	// wandering are the actions for which what is unknown depends on the
	// resource: an ask at one path is another question than at the next.
	wandering abi.ActionMask
	clauses   []clause
	dims      *dims
	root      *node
	logic     *logic
	tallies   *graph[tally]
	verdicts  *graph[verdict]

	truth   [][abi.NumKinds]ref
	permits [abi.NumKinds][abi.NumActions]int32
	forbids [abi.NumKinds][abi.NumActions]int32
	audits  [abi.NumKinds][abi.NumActions]int32
	trips   [abi.NumKinds][abi.NumActions]int32 // of the forbids
	// everywhere are the diagrams of the clauses that no path changes; local
	// are the other clauses whose diagram is no constant here.
	everywhere ref
	local      map[int]bool

	sums     map[string]ref // of lists of local clauses
	finished map[finish]ref
}

// decide fills the verdicts of the whole trie. Only the clauses with a path at
// a node can change there, so each path costs one evaluation.
func (b *builder) decide(root *node) {
	b.truth = make([][abi.NumKinds]ref, len(b.clauses))
	b.local = map[int]bool{}
	b.everywhere = b.tallies.leaf(tally{})
	all := make([]int, 0, len(b.clauses))
	for i := range b.clauses {
		b.truth[i] = abi.Each(func(abi.Kind) ref { return isFalse })
		if b.clauses[i].formula.placed() {
			all = append(all, i)
		} else {
			b.setEverywhere(i)
		}
	}
	b.set(all, place{at: root})
	root.exactly = b.here()
	b.set(all, place{at: root, below: true})
	root.beneath = b.here()
	for _, c := range root.sorted() {
		b.visit(c)
	}
}

// placed reports whether f depends on where it is decided.
func (f *formula) placed() bool {
	if f.op == opEq || f.op == opBelow {
		return true
	}
	for i := range f.args {
		if f.args[i].placed() {
			return true
		}
	}
	return false
}

// setEverywhere takes account of a clause that no path changes.
func (b *builder) setEverywhere(i int) {
	for k := range abi.NumKinds {
		b.put(i, k, b.clauses[i].formula.holds(b.logic, place{}, k))
	}
	delete(b.local, i)
	b.everywhere = b.add(b.everywhere, i)
}

func (b *builder) visit(n *node) {
	inherited := place{at: n.parent, below: true}
	b.set(n.eq, place{at: n})
	n.exactly = b.here()
	b.set(n.eq, inherited)
	b.set(n.below, place{at: n, below: true})
	n.beneath = b.here()
	for _, c := range n.sorted() {
		b.visit(c)
	}
	b.set(n.below, inherited)
}

// set recomputes the given clauses at p.
func (b *builder) set(list []int, p place) {
	for _, i := range list {
		for k := range abi.NumKinds {
			b.put(i, k, b.clauses[i].formula.holds(b.logic, p, k))
		}
	}
}

// put notes what clause i comes to for a kind.
func (b *builder) put(i int, k abi.Kind, now ref) {
	before := b.truth[i][k]
	if now == before {
		return
	}
	b.truth[i][k] = now
	if before == isTrue {
		b.count(i, k, -1)
	}
	if now == isTrue {
		b.count(i, k, 1)
	}
	if slices.ContainsFunc(b.truth[i][:], func(r ref) bool { return !constant(r) }) {
		b.local[i] = true
	} else {
		delete(b.local, i)
	}
}

// constant reports what is counted; Unclear is not.
func constant(r ref) bool { return r == isTrue || r == isFalse }

func (b *builder) count(i int, k abi.Kind, step int32) {
	c := &b.clauses[i]
	count := &b.permits[k]
	switch {
	case c.audited:
		count = &b.audits[k]
	case c.forbid:
		count = &b.forbids[k]
	}
	for m := c.actions; m != 0; m &= m - 1 {
		a := bits.TrailingZeros64(uint64(m))
		count[a] += step
		if c.trips {
			b.trips[k][a] += step
		}
	}
}

// add extends a tally by what clause i says beyond the counts.
func (b *builder) add(sum ref, i int) ref {
	c := &b.clauses[i]
	actions := c.actions & b.handled
	for k := range abi.NumKinds {
		r := b.truth[i][k]
		if constant(r) {
			continue
		}
		sum = combine(b.tallies, sum, b.logic.graph, r, b.tallies, func(t tally, v rule.Truth) tally {
			switch {
			case v != rule.False && c.audited:
				t.audit[k] |= actions
			case v == rule.True && c.forbid:
				t.forbid[k] |= actions
				if c.trips {
					t.trip[k] |= actions
				}
			case v == rule.True:
				t.permit[k] |= actions
			case v == rule.Unclear && c.forbid:
				t.maybe[k] |= actions
			case v == rule.Unclear:
				t.perhaps[k] |= actions
			}
			return t
		}, map[[2]ref]ref{})
	}
	return sum
}

// here returns the verdicts of the present place.
func (b *builder) here() ref {
	f := finish{b.tally(), b.plain()}
	if r, ok := b.finished[f]; ok {
		return r
	}
	r := convert(b.tallies, f.tally, b.verdicts, func(t tally) verdict {
		return verdict{Row: b.row(&t, &f.plain)}
	}, map[ref]ref{})
	b.finished[f] = r
	return r
}

// tally sums up the clauses that are diagrams here.
func (b *builder) tally() ref {
	if len(b.local) == 0 {
		return b.everywhere
	}
	list := make([]int, 0, len(b.local))
	for i := range b.local {
		list = append(list, i)
	}
	slices.Sort(list)
	var key []byte
	for _, i := range list {
		for _, r := range b.truth[i] {
			key = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(key, uint32(i)), uint32(r))
		}
	}
	sum, ok := b.sums[string(key)]
	if !ok {
		sum = b.everywhere
		for _, i := range list {
			sum = b.add(sum, i)
		}
		b.sums[string(key)] = sum
	}
	return sum
}

func (b *builder) plain() plain {
	var p plain
	for k := range abi.NumKinds {
		for m := b.handled; m != 0; m &= m - 1 {
			a := bits.TrailingZeros64(uint64(m))
			if b.permits[k][a] > 0 {
				p.permit[k] |= 1 << a
			}
			if b.forbids[k][a] > 0 {
				p.forbid[k] |= 1 << a
			}
			if b.audits[k][a] > 0 {
				p.audit[k] |= 1 << a
			}
			if b.trips[k][a] > 0 {
				p.trip[k] |= 1 << a
			}
		}
		p.permit[k] &^= p.forbid[k] // a forbid settles it: fewer cases
	}
	return p
}

// row is Cedar's answer: forbid over permit, default deny; what depends on the
// unknown is asked.
func (b *builder) row(t *tally, p *plain) Row {
	var r Row
	for k := range abi.NumKinds {
		permit, forbid := p.permit[k]|t.permit[k], p.forbid[k]|t.forbid[k]
		allow := permit &^ forbid &^ t.maybe[k]
		r.Allow[k] = allow
		r.Ask[k] = (permit | t.perhaps[k]) &^ forbid &^ allow
		r.Report[k] = allow & (p.audit[k] | t.audit[k])
		r.Trip[k] = (p.trip[k] | t.trip[k]) & b.handled
	}
	return r
}
