package inspect

import "time"

// Bounds. What is beyond one is left out, and the result's "cut" says how much there is.
const (
	// MaxProcesses is how many processes one request reads.
	MaxProcesses = 4096
	// MaxArgs is how many bytes of a command line are told, MaxEnvironment how many of an
	// environment are read, MaxVariables how many variables of it are told.
	MaxArgs        = 16 << 10
	MaxEnvironment = 128 << 10
	MaxVariables   = 1024
	// MaxDescriptors and MaxMappings (distinct executable ones) hold for each process,
	// AllDescriptors and AllMappings for all.
	MaxDescriptors = 1024
	AllDescriptors = 1 << 16
	MaxMappings    = 1024
	AllMappings    = 1 << 16
	// MaxTables is how many tables of descriptors of a process are read, of which each
	// thread may have its own.
	MaxTables = 256
	// MaxRepeated is how many descriptors that repeat those of the process are passed over in
	// tables of its threads, AllRepeated in those of all.
	MaxRepeated = 1 << 13
	AllRepeated = 1 << 16
	// MaxText is how many bytes of paths are told for each process, by its descriptors or
	// mappings: so that a record fits into memory.
	MaxText = 1 << 20
	// MaxSupplementary is how many supplementary groups of a process are told.
	MaxSupplementary = 1024
	// MaxScan is how many descriptors or lines of maps are counted, beyond those told.
	MaxScan = 1 << 20
	// MaxFile is how many bytes a file may have to be hashed, AllFiles all together.
	MaxFile  = 256 << 20
	AllFiles = 1 << 30
	// MaxGroups is how many cgroups are told, MaxDepth how deep they may lie below the one
	// asked for, ScanGroups how many are counted.
	MaxGroups  = 1024
	MaxDepth   = 64
	ScanGroups = 1 << 14
	// MaxGroupFile is how many bytes of a file of a cgroup are told.
	MaxGroupFile = 64 << 10
)

// Bounds on a helper.
const (
	// Patience is how long one read may take.
	Patience = 2 * time.Second
	// startPatience is how long a helper may take to begin, on a machine that is busy.
	startPatience = 10 * time.Second
	// Grace is how long a killed helper is waited for: one that waits for a file system
	// that does not answer cannot be killed.
	Grace = 100 * time.Millisecond
	// MaxHangs is how many processes may let a helper wait before all that could is left
	// out for the rest.
	MaxHangs = 16
	// MaxRecord is how many bytes a helper may say of one process or group, MaxDocument
	// how many there may be in a document.
	MaxRecord   = 16 << 20
	MaxDocument = 256 << 20
)

const (
	// maxSmall is more than the kernel says in a file of /proc that has a fixed number of
	// lines: the longest is status, with 65536 groups.
	maxSmall = 1 << 20
	// chunk is how much of a file is hashed at a time; each chunk may take Patience.
	chunk = 1 << 20
	// maxWord is how long what a helper says that it is about to read may be, maxPlaint
	// how much is told of an error of it.
	maxWord   = 8 << 10
	maxPlaint = 1 << 10
)

// Cuts says what was cut.
type Cuts map[string]Total

// Total is how many there are of what was cut.
type Total struct {
	Total int64 `json:"total"`
	// AtLeast: counting ended at a bound, too.
	AtLeast bool `json:"at_least,omitempty"`
}

// note notes that something was cut.
func (c *Cuts) note(what string, total int64, atLeast bool) {
	if *c == nil {
		*c = Cuts{}
	}
	(*c)[what] = Total{total, atLeast}
}
