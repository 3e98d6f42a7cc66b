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

// Magic is the first word of every table: "STKDTBL" and the format's version.
const Magic = 0x03_4c_42_54_44_4b_54_53

// Word positions in the header. Sizes and offsets count 64-bit words from the
// table's first word.
const (
	hdrMagic   = 0 // Magic
	hdrSize    = 1 // words in all (low 32 bits) | buckets (high 32 bits)
	hdrSeed    = 2 // hash seed
	hdrEdges   = 3 // offset of the buckets (low) | offset of the long names (high)
	hdrRows    = 4 // offset of the rows (low) | number of rows (high)
	hdrSubs    = 5 // offset of the subtree rows (low) | number of rows (high)
	hdrRoot    = 6 // slot word 1 of the root
	hdrHandled = 7 // handled actions (low) | those whose asks depend on the path (high)
	hdrFile    = 8 // actions allowed on every file (low) and on every directory (high)

	hdrIndex  = 9  // offset of the node index (low) | number of decision nodes (high)
	hdrVertex = 10 // offset of the decision nodes (low) | their words (high)
	hdrData   = 11 // offset of the dimension data (low) | its words (high)
	hdrExe    = 12 // identity of the automaton of executables, or 0
	hdrGains  = 13 // offset of the gain matrix (low) | its side (high), or 0

	// hdrEnforced is the offset of the table of the enforced policies alone, or 0:
	// nothing is reported.
	hdrEnforced = 14

	hdrDims = 16 // for each dimension: offset of its data (low) | classes (high)

	headerWords = 32
)

// Sizes of the parts, in words.
const (
	slotWords   = 4
	bucketSlots = 2
	bucketWords = slotWords * bucketSlots
	rowWords    = 2

	vertexWords   = 3  // of a decision node without its children
	automatonHead = 33 // of an automaton without its outputs and transitions
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
// that policies in audit would deny.
type Row struct {
	Allow, Ask, Report [abi.NumKinds]abi.ActionMask
}

// Sub sums up a whole subtree, its root included: Any has the actions that are
// allowed or asked somewhere in it, All those that are allowed everywhere and
// reported nowhere.
type Sub struct {
	Any, All [abi.NumKinds]abi.ActionMask
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
func (t *Table) Handled() abi.ActionMask { return abi.ActionMask(t.words[hdrHandled]) }

// Everywhere returns the actions that are allowed on every path of a kind: the
// hooks grant nothing else to a path that does not lead to the workload's root,
// and answer those of them that are reported nowhere before the path is walked.
func (t *Table) Everywhere(k abi.Kind) abi.ActionMask {
	return abi.ActionMask(t.Enforced().words[hdrFile] >> (32 * uint(k)))
}

// Enforced returns the table of the enforced policies alone. Its counts are not
// filled in, unless it is the table itself.
func (t *Table) Enforced() *Table {
	if at := t.words[hdrEnforced]; at != 0 {
		return &Table{words: t.words[at:]}
	}
	return t
}

func lo(w uint64) int { return int(uint32(w)) }
func hi(w uint64) int { return int(w >> 32) }
func pair(low, high int) uint64 {
	return uint64(uint32(low)) | uint64(uint32(high))<<32
}
