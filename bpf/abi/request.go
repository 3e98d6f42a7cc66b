package abi

// Facts are what the kernel knows of a request besides its action, kind and
// path. The zero value is a request of root, at the epoch, of an unknown
// executable.
type Facts struct {
	// UID and GID are the effective ids of the task, in the initial user
	// namespace.
	UID, GID uint32
	// Now is the time in milliseconds since 1970, UTC.
	Now int64
	// Exe is the path of the running executable, Parent that of the executable
	// that executed it; "" where the path is not known.
	Exe, Parent string
	// Dest is the destination of a move, "" for other actions.
	Dest string
	// Xattr is the name of the extended attribute, "" for other actions.
	Xattr string
}

// Request is one question: may the workload do Action to the resource Path?
// Path is absolute and normalised.
type Request struct {
	Action Action
	Kind   Kind
	Path   string
	Facts
}

// Dim is a dimension of the decision nodes of a table: one way in which
// requests for one path differ. The numbers are wire format, and decision
// nodes are ordered by them.
type Dim uint8

// The dimensions. DimGlob0 and the next three are the outputs of the automata
// that read the resource's path.
const (
	DimGlob0 Dim = iota
	DimGlob1
	DimGlob2
	DimGlob3
	DimUID
	DimGID
	DimNow
	DimDayTime
	DimExe
	DimParent
	DimXattr
	DimDestPath
	DimDestName
	DimDestDir

	NumDims // not a dimension: how many there are
)

// NumGlobs is the most automata that may read the resource's path.
const NumGlobs = int(DimUID)

var dimNames = [NumDims]string{"glob0", "glob1", "glob2", "glob3", "uid", "gid", "now", "daytime",
	"exe", "parent_exe", "xattr", "dest_path", "dest_name", "dest_dir"}

// String names the dimension, for example "uid".
func (d Dim) String() string {
	if d < NumDims {
		return dimNames[d]
	}
	return "unknown"
}
