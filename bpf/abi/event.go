package abi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"strings"
	"unsafe"
)

// Mode is how a workload's verdicts are applied.
type Mode uint32

// Enforce denies what the policy denies; Audit only reports it; Lockdown
// denies every handled action.
const (
	Enforce Mode = iota
	Audit
	Lockdown
)

// String returns the mode as it is written on the command line.
func (m Mode) String() string {
	switch m {
	case Audit:
		return "audit"
	case Lockdown:
		return "lockdown"
	}
	return "enforce"
}

// Reason says why an operation was refused.
type Reason uint8

// Twin: enum reason in bpf/kern/abi.h.
const (
	ReasonPolicy Reason = iota
	ReasonGain
	ReasonOutside
	ReasonTooDeep
	ReasonTorn
	ReasonBusy
	ReasonNoPlan
	ReasonLockdown
	ReasonBoundary
	ReasonAsk
	ReasonFolded
	ReasonHeld
	ReasonAnswered
	ReasonChanged
	ReasonLoss
	ReasonHolds
)

var reasonTexts = [...]string{
	ReasonPolicy:   "denied by policy",
	ReasonGain:     "the new place would grant more than the old one",
	ReasonOutside:  "the path does not lead to the workload's root",
	ReasonTooDeep:  "the path has more components than the limit",
	ReasonTorn:     "renames raced with every walk of the path",
	ReasonBusy:     "no scratch memory was free",
	ReasonNoPlan:   "no plan is installed",
	ReasonLockdown: "the workload is locked down",
	ReasonBoundary: "no policy can grant this",
	ReasonFolded:   "a directory on the way ignores case or spelling: one file has many names there",
	ReasonHeld:     "it waits for the agent's answer",
	ReasonAnswered: "the agent's answer to what the policy asks",
	ReasonChanged:  "arguments or environment are not those that were judged: killed",
	ReasonLoss:     "beneath the new name would be what may not be made there",
	ReasonHolds:    "beneath the old name may be what may not be moved or deleted",
	ReasonAsk:      "the policy leaves it to the agent, and no agent answers",
}

// String returns the reason as a phrase for a reader.
func (r Reason) String() string {
	if int(r) < len(reasonTexts) {
		return reasonTexts[r]
	}
	return fmt.Sprintf("reason %d", r)
}

// Boundary says which limit of the workload an operation refused with
// ReasonBoundary would have crossed.
type Boundary uint8

// Twin: enum boundary in bpf/kern/abi.h.
const (
	BoundaryNone Boundary = iota
	BoundaryBPF
	BoundaryPerf
	BoundaryModule
	BoundaryControl
	BoundaryDevice
	BoundaryProcess
	BoundarySignal
	BoundaryUring
	BoundarySocket
	BoundaryTerminal
	BoundaryWatch
	BoundaryClock
	BoundaryIdentity
	BoundarySystem
	BoundaryMemory
	BoundaryCapability
	BoundaryCommand
	BoundaryLease
	BoundaryNetwork
)

var boundaryTexts = [...]string{
	BoundaryNone:     "",
	BoundaryBPF:      "bpf(2)",
	BoundaryPerf:     "perf_event_open(2)",
	BoundaryModule:   "loading code into the kernel",
	BoundaryControl:  "a file that controls the kernel or other workloads",
	BoundaryDevice:   "a device that bypasses every path",
	BoundaryProcess:  "tracing a process outside the workload",
	BoundarySignal:   "a signal to a process outside the workload",
	BoundaryUring:    "an io_uring made outside the workload",
	BoundarySocket:   "a unix socket without a path, of a process outside the workload",
	BoundaryTerminal: "typing on a terminal in the user's place",
	BoundaryWatch:    "watching or blocking a whole mount or filesystem",
	BoundaryClock:    "setting the clock that policies read",
	BoundaryIdentity: "another executable in place of the running one",
	BoundarySystem:   "changing the machine as a whole",
	BoundaryMemory:   "executable memory that no file holds",

	BoundaryCapability: "a capability that the workload was not granted",
	BoundaryCommand:    "a command to a file that is not known to be harmless",
	BoundaryLease:      "holding up whoever opens a file or reads memory",
	BoundaryNetwork:    "a kind of socket that is not permitted",
}

// String returns the boundary as a phrase for a reader.
func (b Boundary) String() string {
	if int(b) < len(boundaryTexts) {
		return boundaryTexts[b]
	}
	return fmt.Sprintf("boundary %d", b)
}

// PathStatus says how the walk of a path went.
type PathStatus uint8

// Twin: enum path_status in bpf/kern/abi.h.
const (
	PathNone    PathStatus = iota // no path was walked
	PathOK                        // absolute, from the workload's root
	PathOutside                   // from some other root
	PathTooDeep                   // its last components only
	PathTorn                      // as seen by the last walk
	PathCut                       // its last components, up to MaxPath bytes
	PathFolded                    // one of several spellings
)

// Counters are a workload's totals since it was installed.
type Counters struct {
	// Allowed and Denied count operations. In audit mode Denied counts what
	// would have been refused.
	Allowed, Denied uint64
	// Dropped counts the events, of those Denied, that found no room.
	Dropped uint64
	// Withheld counts capabilities that the kernel asked for and did not get, and
	// processes that got no signal, in calls that may have succeeded without: they
	// are not among those Denied.
	Withheld uint64
}

// Event is one refused operation.
type Event struct {
	Seq        uint64 // per workload, from 1; a gap is a dropped event
	Time       uint64 // nanoseconds, CLOCK_MONOTONIC
	Cgroup     uint64 // id of the task's cgroup
	Inode      uint64 // 0 where there is none
	Device     uint32 // major<<20 | minor; with BoundaryCapability or BoundaryNetwork, the number of what is lacking
	Workload   uint32
	Generation uint32
	PID, TID   uint32
	UID, GID   uint32     // real ids
	EUID, EGID uint32     // effective ids, which policies test
	Missing    ActionMask // every action that was refused
	Action     Action     // the first of them; NumActions or more where there is none
	Kind       Kind
	Reason     Reason
	Boundary   Boundary
	Mode       Mode
	// Hold is the number of the hold that ended so; where Reason is
	// ReasonHeld, of the one that begins. 0: nothing was held.
	Hold uint64
	Comm string // thread name: the task chooses it, never trust it

	Path, Dest, Exe                   string // Dest: of a rename or link
	PathStatus, DestStatus, ExeStatus PathStatus

	Now   int64  // milliseconds since 1970, UTC, as the verdict saw it
	Xattr string // name of the extended attribute
	// ExeClass and ParentClass are what the verdict took the running
	// executable, and the one before it, for: classes of the automaton with
	// identity Automaton, which is 0 where the verdict did not ask.
	Automaton             uint64
	ExeClass, ParentClass uint16
	// Trips says that it tripped a wire: the kernel locked the workload down with it.
	Trips bool
	// Unsure says that it was sent before its call ended, for want of room to keep it: the
	// call may have gone on.
	Unsure bool
}

// Facts returns those facts of the event's requests that it holds as they are; of
// executables see Automaton.
func (e *Event) Facts() Facts {
	f := Facts{UID: e.EUID, GID: e.EGID, Now: e.Now, Xattr: e.Xattr}
	if e.DestStatus == PathOK {
		f.Dest = e.Dest
	}
	if e.ExeStatus == PathOK {
		f.Exe = e.Exe
	}
	return f
}

// wireEvent is the fixed part. Twin: struct event in bpf/kern/abi.h.
type wireEvent struct {
	Seq, Time, Cgroup, Inode          uint64
	Missing                           uint64
	Device, Workload, Generation      uint32
	PID, TID, UID, GID                uint32
	Action, Kind, Reason, Mode        uint8
	PathStatus, DestStatus, ExeStatus uint8
	Boundary                          uint8
	PathLen, DestLen, ExeLen          uint32
	XattrLen                          uint32
	Hold                              uint32
	Comm                              [16]byte
	Now                               int64
	Automaton                         uint64
	EUID, EGID                        uint32
	ExeClass, ParentClass             uint16
	Trips, Unsure                     uint8
	_                                 [2]uint8
}

// WireEvent is the type of an event's fixed part, for comparison with its twin.
var WireEvent = reflect.TypeFor[wireEvent]()

// EventHeader is the size in bytes of an event's fixed part.
const EventHeader = int(unsafe.Sizeof(wireEvent{}))

// DecodeEvent decodes one record of the ring buffer.
func DecodeEvent(raw []byte) (Event, error) {
	var w wireEvent
	if _, err := binary.Decode(raw, binary.LittleEndian, &w); err != nil {
		return Event{}, fmt.Errorf("event: %d bytes, the header alone has %d: it is not shown; kernel and user side are of different versions", len(raw), EventHeader)
	}
	rest := raw[EventHeader:]
	if uint64(w.PathLen)+uint64(w.DestLen)+uint64(w.ExeLen)+uint64(w.XattrLen) > uint64(len(rest)) {
		return Event{}, fmt.Errorf("event %d: texts of %d+%d+%d+%d bytes in %d: it is not shown; kernel and user side are of different versions",
			w.Seq, w.PathLen, w.DestLen, w.ExeLen, w.XattrLen, len(rest))
	}
	path, rest := rest[:w.PathLen], rest[w.PathLen:]
	dest, rest := rest[:w.DestLen], rest[w.DestLen:]
	exe, rest := rest[:w.ExeLen], rest[w.ExeLen:]
	comm, _, _ := bytes.Cut(w.Comm[:], []byte{0})
	e := Event{
		Seq: w.Seq, Time: w.Time, Cgroup: w.Cgroup, Inode: w.Inode, Device: w.Device,
		Workload: w.Workload, Generation: w.Generation,
		PID: w.PID, TID: w.TID, UID: w.UID, GID: w.GID,
		Missing: ActionMask(w.Missing), Action: Action(w.Action), Kind: Kind(w.Kind),
		Hold: uint64(w.Hold), Reason: Reason(w.Reason), Boundary: Boundary(w.Boundary), Mode: Mode(w.Mode), Comm: string(comm),
		PathStatus: PathStatus(w.PathStatus), DestStatus: PathStatus(w.DestStatus), ExeStatus: PathStatus(w.ExeStatus),
		EUID: w.EUID, EGID: w.EGID, Now: w.Now, Xattr: string(rest[:w.XattrLen]),
		Automaton: w.Automaton, ExeClass: w.ExeClass, ParentClass: w.ParentClass, Trips: w.Trips != 0, Unsure: w.Unsure != 0,
	}
	e.Path = unwind(path, e.PathStatus)
	e.Dest = unwind(dest, e.DestStatus)
	e.Exe = unwind(exe, e.ExeStatus)
	return e, nil
}

// unwind turns components, leaf first and each ended by NUL, into a path.
func unwind(b []byte, status PathStatus) string {
	if status == PathNone {
		return ""
	}
	parts := bytes.Split(bytes.TrimSuffix(b, []byte{0}), []byte{0})
	var s strings.Builder
	switch status {
	case PathOutside:
		s.WriteString("(outside)")
	case PathTooDeep, PathCut:
		s.WriteString("...")
	}
	for i := len(parts) - 1; i >= 0; i-- {
		s.WriteByte('/')
		s.Write(parts[i])
	}
	return s.String()
}
