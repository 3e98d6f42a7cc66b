// Package table turns rules into the bytes that the kernel walks, and walks
// them in Go. docs/table-format.md specifies every byte; bpf/kern/match.h is
// the walker's twin.
//
// Stages lists the steps: rules → clauses (formula.go) → classes of dimensions and
// their automata (dims.go) → trie of path components with a verdict diagram at every
// node (build.go) → narrowed and pruned (narrow.go) → fewest classes (merge.go) →
// cuckoo table of (parent, component) and words (encode.go, verify.go).
package table

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// Sizes of the parts, in words.
const (
	slotWords   = 4
	bucketSlots = 2
	bucketWords = slotWords * bucketSlots

	vertexWords   = 1 + abi.SumWords // of a decision node without its children
	automatonHead = 33               // of an automaton without its outputs and transitions
)

// Bits of slot word 1.
const (
	slotBelow    = 16 // shift of the class of what lies below
	slotSub      = 32 // shift of the subtree row
	slotLen      = 48 // shift of the component's length in bytes
	slotChildren = 1 << 56
)

// RootNode is the node id of "/". Ids of other nodes are larger than their
// parent's, so a chain of parents ends.
const RootNode = 1

// Row holds the verdicts of one class: bit A of a mask is the action with
// code A. An action in neither mask is denied. Report has the allowed actions
// that policies in audit would deny, Trip the denied actions that a policy says to
// respond to.
type Row struct {
	Allow, Ask, Report, Trip abi.Masks
}

// Sub sums up a whole subtree, its root included: Any has the actions that are
// allowed or asked somewhere in it, All those that are allowed everywhere and
// reported nowhere.
type Sub struct {
	Any, All abi.Masks
}

// Table is one compiled and verified policy table.
type Table struct {
	words []uint64
	// These count what the table holds, for reports: trie nodes, rows, subtree
	// rows, decision nodes, automata and their states.
	Nodes, Rows, Subs, Buckets, LongNames, Decisions, Automata, States int

	exes atomic.Pointer[[]string] // of ExeOf, by class, once it was asked
}

// Words returns the table as the kernel reads it. Do not change it.
func (t *Table) Words() []uint64 { return t.words }

// Bytes returns the table in little-endian order.
func (t *Table) Bytes() []byte {
	out := make([]byte, 0, len(t.words)*8)
	for _, w := range t.words {
		out = binary.LittleEndian.AppendUint64(out, w)
	}
	return out
}

// Handled returns the actions that the table decides.
func (t *Table) Handled() abi.ActionMask { return abi.ActionMask(t.words[abi.HdrHandled]) }

// Everywhere returns the actions that are allowed on every path of a kind: the
// hooks grant nothing else to a path that does not lead to the workload's root,
// and answer those of them that are reported nowhere before the path is walked.
func (t *Table) Everywhere(k abi.Kind) abi.ActionMask {
	return abi.ActionMask(t.Enforced().words[abi.HdrEverywhere+int(k)])
}

// Enforced returns the table of the enforced policies alone. Its counts are not
// filled in, unless it is the table itself.
func (t *Table) Enforced() *Table {
	if at := t.words[abi.HdrEnforced]; at != 0 {
		return &Table{words: t.words[at:]}
	}
	return t
}

func lo(w uint64) int { return int(uint32(w)) }
func hi(w uint64) int { return int(w >> 32) }
func pair(low, high int) uint64 {
	return uint64(uint32(low)) | uint64(uint32(high))<<32
}
