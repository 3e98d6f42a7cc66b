package table

import (
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// Match is where a path ends in the table: the class of its verdicts (a row or
// a decision node) and, when the path itself is a node, the subtree row of what
// lies beneath it.
type Match struct {
	Class int
	// Sub is the subtree row, or -1 where everything beneath has class Class.
	Sub int
}

// Find walks the table from the root, a component a step, as the kernel does.
// path is absolute and normalised.
func (t *Table) Find(path string) Match {
	w := t.words
	parent, slot := RootNode, w[abi.HdrRoot]
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
	one, two := bucketsOf(hash(w[abi.HdrSeed], parent, len(name), words), hi(w[abi.HdrSize]))
	for _, b := range [2]int{one, two} {
		for s := range bucketSlots {
			slot := w[lo(w[abi.HdrEdges])+b*bucketWords+s*slotWords:][:slotWords]
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
	at := hi(t.words[abi.HdrEdges]) + int(slot[3])
	for i, word := range words[1:] {
		if t.words[at+i] != word {
			return false
		}
	}
	return true
}
