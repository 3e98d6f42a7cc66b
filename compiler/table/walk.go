package table

import (
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// Match is where a path ends in the table: the class of its verdicts and, when
// the path itself is a node, the subtree row of what lies beneath it.
type Match struct {
	Class int
	// Sub is the subtree row, or -1 where everything beneath has class Class.
	Sub int
}

// Find walks the table from the root, a component a step, as the kernel does.
// path is absolute and normalised.
func (t *Table) Find(path string) Match {
	w := t.words
	parent, slot := RootNode, w[hdrRoot]
	for rest := strings.TrimPrefix(path, "/"); rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		child, next, ok := 0, uint64(0), false
		if slot&slotChildren != 0 {
			child, next, ok = t.edge(parent, name)
		}
		if !ok {
			return Match{Class: int(slot >> slotBelow & 0xffff), Sub: -1}
		}
		parent, slot = child, next
	}
	return Match{Class: int(slot & 0xffff), Sub: int(slot >> slotSub & 0xffff)}
}

// edge finds the child of parent with a name.
func (t *Table) edge(parent int, name string) (child int, meta uint64, ok bool) {
	w := t.words
	words := nameWords(name)
	one, two := bucketsOf(hash(w[hdrSeed], parent, len(name), words), hi(w[hdrSize]))
	for _, b := range [2]int{one, two} {
		for s := range bucketSlots {
			slot := w[lo(w[hdrEdges])+b*bucketWords+s*slotWords:][:slotWords]
			if lo(slot[0]) == parent && int(slot[1]>>slotLen&0xff) == len(name) && t.sameName(slot, words, len(name)) {
				return hi(slot[0]), slot[1], true
			}
		}
	}
	return 0, 0, false
}

func (t *Table) sameName(slot, words []uint64, length int) bool {
	if slot[2] != words[0] {
		return false
	}
	if length <= abi.InlineName {
		return slot[3] == words[1]
	}
	at := hi(t.words[hdrEdges]) + int(slot[3])
	for i, word := range words[1:] {
		if t.words[at+i] != word {
			return false
		}
	}
	return true
}

// Row returns the verdicts of a class.
func (t *Table) Row(class int) Row {
	r := t.words[lo(t.words[hdrClasses])+class*rowWords:]
	return Row{
		Allow: [abi.NumKinds]abi.ActionMask{abi.ActionMask(r[0]), abi.ActionMask(r[1])},
		Ask:   [abi.NumKinds]abi.ActionMask{abi.ActionMask(r[0] >> 32), abi.ActionMask(r[1] >> 32)},
	}
}

// SubOf returns what is true of everything at and beneath a match.
func (t *Table) SubOf(m Match) Sub {
	if m.Sub < 0 {
		r := t.Row(m.Class)
		s := Sub{All: r.Allow}
		for k := range s.Any {
			s.Any[k] = r.Allow[k] | r.Ask[k]
		}
		return s
	}
	r := t.words[lo(t.words[hdrSubs])+m.Sub*rowWords:]
	return Sub{
		Any: [abi.NumKinds]abi.ActionMask{abi.ActionMask(r[0]), abi.ActionMask(r[1])},
		All: [abi.NumKinds]abi.ActionMask{abi.ActionMask(r[0] >> 32), abi.ActionMask(r[1] >> 32)},
	}
}

// Decide answers one request.
func (t *Table) Decide(q abi.Request) abi.Verdict {
	r := t.Row(t.Find(q.Path).Class)
	switch {
	case r.Ask[q.Kind].Has(q.Action):
		return abi.Ask
	case r.Allow[q.Kind].Has(q.Action):
		return abi.Allow
	}
	return abi.Deny
}

// Gains reports whether moving or linking a resource from one path to another
// could grant it, or anything beneath it, an action that it lacks at from: the
// no-gain rule. For a directory with rules beneath both paths the answer errs
// on the side of true.
func (t *Table) Gains(k abi.Kind, from, to string) bool {
	old, now := t.Find(from), t.Find(to)
	if k == abi.File {
		a, b := t.Row(old.Class), t.Row(now.Class)
		return (b.Allow[k]|b.Ask[k])&^a.Allow[k] != 0
	}
	a, b := t.SubOf(old), t.SubOf(now)
	return b.Any[abi.File]&^a.All[abi.File] != 0 || b.Any[abi.Dir]&^a.All[abi.Dir] != 0
}
