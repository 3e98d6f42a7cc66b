package table

import (
	"math/bits"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// Build compiles rules into a verified table that decides the handled actions;
// every other action is denied by the table and must not be asked of it.
// Rules of equal meaning give equal bytes.
func Build(set *rule.Set, handled abi.ActionMask) (*Table, error) {
	t := newTrie()
	b := &builder{handled: handled, rules: set.Rules}
	b.formulas = make([]formula, len(set.Rules))
	b.truth = make([][abi.NumKinds]bool, len(set.Rules))
	for i, r := range set.Rules {
		b.formulas[i] = t.resolve(r.Cond, i)
	}
	t.root.number(0)
	b.decide(t.root)
	prune(t.root)
	sum(t.root)
	tab, err := encode(t.root, handled)
	if err != nil {
		return nil, err
	}
	if err := Verify(tab.words); err != nil {
		return nil, err
	}
	return tab, nil
}

// builder keeps, while the trie is walked, which rules hold at the present
// place, and how many permits and forbids that makes for each action.
type builder struct {
	handled  abi.ActionMask
	rules    []rule.Rule
	formulas []formula
	truth    [][abi.NumKinds]bool
	permits  [abi.NumKinds][32]int32
	forbids  [abi.NumKinds][32]int32
}

// decide fills the rows of the whole trie. Only the rules with an atom at a
// node can change their value there, so each atom costs one evaluation.
func (b *builder) decide(root *node) {
	all := make([]int, len(b.rules))
	for i := range all {
		all[i] = i
	}
	b.set(all, place{at: root})
	root.exactRow = b.row()
	b.set(all, place{at: root, below: true})
	root.belowRow = b.row()
	for _, c := range root.children {
		b.visit(c)
	}
}

func (b *builder) visit(n *node) {
	inherited := place{at: n.parent, below: true}
	b.set(n.eq, place{at: n})
	n.exactRow = b.row()
	b.set(n.eq, inherited)
	b.set(n.below, place{at: n, below: true})
	n.belowRow = b.row()
	for _, c := range n.children {
		b.visit(c)
	}
	b.set(n.below, inherited)
}

// set recomputes the given rules at p.
func (b *builder) set(rules []int, p place) {
	for _, i := range rules {
		for k := abi.File; k < abi.NumKinds; k++ {
			now := b.formulas[i].holds(p, k == abi.Dir)
			if now == b.truth[i][k] {
				continue
			}
			b.truth[i][k] = now
			count := &b.permits[k]
			if b.rules[i].Effect == rule.Forbid {
				count = &b.forbids[k]
			}
			step := int32(1)
			if !now {
				step = -1
			}
			for m := b.rules[i].Actions; m != 0; m &= m - 1 {
				count[bits.TrailingZeros32(m)] += step
			}
		}
	}
}

// row reads the verdicts off the counts: forbid over permit, default deny.
func (b *builder) row() Row {
	var r Row
	for k := range r.Allow {
		for m := uint32(b.handled); m != 0; m &= m - 1 {
			a := bits.TrailingZeros32(m)
			if b.permits[k][a] > 0 && b.forbids[k][a] == 0 {
				r.Allow[k] |= 1 << a
			}
		}
	}
	return r
}

// prune drops every node that decides nothing its parent does not already.
// What stays is the smallest trie for its verdicts, and the only one.
func prune(n *node) {
	for name, c := range n.children {
		prune(c)
		if len(c.children) == 0 && c.exactRow == n.belowRow && c.belowRow == n.belowRow {
			delete(n.children, name)
		}
	}
}

// sum fills the subtree rows.
func sum(n *node) {
	for k := range n.sub.Any {
		n.sub.Any[k] = n.exactRow.Allow[k] | n.exactRow.Ask[k] | n.belowRow.Allow[k] | n.belowRow.Ask[k]
		n.sub.All[k] = n.exactRow.Allow[k] & n.belowRow.Allow[k]
	}
	for _, c := range n.children {
		sum(c)
		for k := range n.sub.Any {
			n.sub.Any[k] |= c.sub.Any[k]
			n.sub.All[k] &= c.sub.All[k]
		}
	}
}
