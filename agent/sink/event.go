// Package sink renders what happened to a workload: a line for a reader, or a
// JSON object for a program. Names and paths come from the workload, which may
// be hostile: all of them are escaped.
package sink

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// Policy is a policy that a denial rests on.
type Policy struct {
	ID       string `json:"id"`
	Reason   string `json:"reason,omitempty"`
	Severity string `json:"severity,omitempty"`
	Effect   string `json:"effect"`
	// Audit says that the policy is in audit: it denies nothing itself.
	Audit bool `json:"audit,omitempty"`
	// Respond is what a denial that rests on it is answered by, beside being denied.
	Respond string `json:"respond,omitempty"`
}

// Version is that of the form of an event: it grows when a field goes or gets
// another meaning; more fields do not change it.
const Version = 1

// Event is one refused operation and what is known about it. Every output renders
// it; none changes it.
type Event struct {
	abi.Event
	Wall     time.Time
	Workload string // the name; Event.Workload is a number
	Digest   string // of the policy set: SHA-256 in hexadecimal
	// Policies are the forbids that were satisfied. None means that no
	// policy permits the operation, if the reason is ReasonPolicy.
	Policies []Policy
}

// Line renders the denial as one line, without its end.
func (e *Event) Line() string { return "stockade: " + e.text() }

// text is what a line says.
func (e *Event) text() string {
	word := "denied"
	if e.Mode == abi.Audit {
		word = "would deny"
	}
	text := fmt.Sprintf("%s %s %s by %s: %s",
		e.Wall.Format("15:04:05.000"), word, e.what(), e.who(), e.why())
	if e.Trips {
		text += ": LOCKED DOWN by it"
	}
	return text
}

// what renders the actions and the paths.
func (e *Event) what() string {
	return strings.TrimSuffix(e.actions()+" "+e.place(), " ")
}

// actions names what was refused. An open is implied by what it is for; a map
// would be permitted by execute as well, and lacks both; so does a touch with
// write or create.
func (e *Event) actions() string {
	m := e.Missing
	if m.Has(abi.Map) {
		m &^= abi.MaskOf(abi.Execute)
	}
	if m.Has(abi.Touch) {
		m &^= abi.MaskOf(abi.Write, abi.Create)
	}
	if rest := m &^ abi.MaskOf(abi.Open); rest != 0 {
		m = rest
	}
	if m == 0 { // no action of Cedar's: the boundary tells
		switch e.Boundary {
		case abi.BoundaryCapability:
			return "the use of " + abi.CapabilityName(e.Device)
		case abi.BoundaryNetwork:
			return "a socket of kind " + abi.Socket(e.Device).String()
		}
		return e.Boundary.String()
	}
	return m.String()
}

// boundary is the boundary as a phrase, which tells what was not granted from what
// never is.
func (e *Event) boundary() string {
	switch {
	case e.Boundary == abi.BoundaryCapability && abi.Grantable()>>e.Device&1 == 0:
		return "a capability that is never granted"
	case e.Boundary == abi.BoundaryNetwork && !abi.Socket(e.Device).Grantable():
		return "a kind of socket that is never granted"
	}
	return e.Boundary.String()
}

func (e *Event) place() string {
	switch {
	case e.DestStatus != abi.PathNone:
		return Token(e.Path) + " -> " + Token(e.Dest)
	case e.PathStatus != abi.PathNone:
		return Token(e.Path)
	case e.Inode == 0:
		return ""
	}
	return fmt.Sprintf("inode %d of device %s", e.Inode, device(e.Device))
}

// device renders a device as MAJOR:MINOR.
func device(d uint32) string { return fmt.Sprintf("%d:%d", d>>20, d&0xfffff) }

func (e *Event) who() string {
	exe := "?"
	if e.ExeStatus != abi.PathNone {
		exe = Token(e.Exe)
	}
	return exe + "[" + strconv.FormatUint(uint64(e.PID), 10) + "]"
}

func (e *Event) why() string {
	if e.Boundary == abi.BoundaryCapability || e.Boundary == abi.BoundaryNetwork {
		return e.boundary()
	}
	if e.Reason == abi.ReasonBoundary && e.Missing != 0 {
		return e.Boundary.String() + ": " + e.Reason.String()
	}
	if e.Reason == abi.ReasonAnswered && len(e.Policies) > 0 {
		return e.Reason.String() + ": " + e.policies()
	}
	if e.Reason != abi.ReasonPolicy {
		return e.Reason.String()
	}
	if len(e.Policies) == 0 {
		if e.PathStatus != abi.PathOK {
			return e.Reason.String()
		}
		return "no policy permits it"
	}
	return e.policies()
}

// policies names what the denial rests on.
func (e *Event) policies() string {
	names := make([]string, len(e.Policies))
	for i, p := range e.Policies {
		names[i] = Token(p.ID)
		if p.Audit {
			names[i] += " in audit"
		}
		if p.Reason != "" {
			names[i] += " (" + strconv.Quote(p.Reason) + ")"
		}
	}
	word := "policy "
	if len(names) > 1 {
		word = "policies "
	}
	return word + strings.Join(names, ", ")
}
