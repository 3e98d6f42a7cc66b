package abi

// TableMagic is the first word of every table: "STKDTBL" and the format's
// version. docs/table-format.md specifies the words.
const TableMagic = 0x05_4c_42_54_44_4b_54_53

// MaxKinds and MaxDims are for how many kinds and dimensions a table's header has
// room.
const (
	MaxKinds = 8
	MaxDims  = 16
)

// Words of a table's header. Sizes and offsets count 64-bit words from the table's
// first word. Twin: HDR_* in bpf/kern/match.h.
const (
	HdrMagic      = 0  // TableMagic
	HdrSize       = 1  // words in all (low 32 bits) | buckets (high 32 bits)
	HdrSeed       = 2  // hash seed
	HdrEdges      = 3  // offset of the buckets (low) | offset of the long names (high)
	HdrRows       = 4  // offset of the rows (low) | number of rows (high)
	HdrSubs       = 5  // offset of the subtree rows (low) | number of rows (high)
	HdrRoot       = 6  // slot word 1 of the root
	HdrHandled    = 7  // handled actions
	HdrEverywhere = 8  // for each kind: actions allowed on every resource of it
	HdrWanders    = 16 // handled actions whose asks depend on the path
	HdrNodes      = 17 // offset of the node index (low) | number of decision nodes (high)
	HdrBodies     = 18 // offset of the decision nodes (low) | their words (high)
	HdrData       = 19 // offset of the dimension data (low) | its words (high)
	HdrExe        = 20 // identity of the automaton of executables, or 0
	HdrGains      = 21 // offset of the gain matrix (low) | its side (high), or 0
	HdrEnforced   = 22 // offset of the table of the enforced policies alone, or 0: nothing is reported
	HdrKinds      = 23 // number of kinds
	HdrDims       = 24 // for each dimension: offset of its data (low) | classes (high)

	HdrWords = HdrDims + MaxDims
)

// HdrNames are the words' names on the C side.
var HdrNames = map[string]int{"MAGIC": HdrMagic, "SIZE": HdrSize, "SEED": HdrSeed, "EDGES": HdrEdges, "ROWS": HdrRows, "SUBS": HdrSubs,
	"ROOT": HdrRoot, "HANDLED": HdrHandled, "EVERYWHERE": HdrEverywhere, "WANDERS": HdrWanders, "NODES": HdrNodes, "BODIES": HdrBodies,
	"DATA": HdrData, "EXE": HdrExe, "GAINS": HdrGains, "ENFORCED": HdrEnforced, "KINDS": HdrKinds, "DIMS": HdrDims}

// Words of a row: for each kind, the actions that are allowed, and reported
// nowhere; those that are asked; those that are allowed and reported; those whose
// denial trips a wire. Twin: ROW_* in bpf/kern/decide.h.
const (
	RowGranted  = 0
	RowAsked    = int(NumKinds)
	RowReported = 2 * int(NumKinds)
	RowTrips    = 3 * int(NumKinds)
	RowWords    = 4 * int(NumKinds)
)

// Words of a sum, of a subtree row and in a decision node: for each kind, the
// actions that are allowed everywhere and reported nowhere; those that are allowed
// or asked somewhere. Twin: SUM_* in bpf/kern/decide.h.
const (
	SumAll   = 0
	SumAny   = int(NumKinds)
	SumWords = 2 * int(NumKinds)
)
