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
}

// Denial is one refused operation and what is known about it.
type Denial struct {
	abi.Event
	Wall     time.Time
	Workload string // the name; Event.Workload is a number
	Digest   string // of the policy set: SHA-256 in hexadecimal
	// Policies are the forbids that were satisfied. None means that no
	// policy permits the operation, if the reason is ReasonPolicy.
	Policies []Policy
}

// Sink takes what happens during a run. Calls come from one goroutine at a
// time.
type Sink interface {
	// Denial is called for every event, in order.
	Denial(*Denial)
	// Note is called for what else a reader must know.
	Note(workload, text string)
	// Summary is called once, at the end.
	Summary(*Summary)
}

// Line renders the denial as one line, without its end.
func (d *Denial) Line() string {
	word := "denied"
	if d.Mode == abi.Audit {
		word = "would deny"
	}
	return fmt.Sprintf("stockade: %s %s %s by %s: %s",
		d.Wall.Format("15:04:05.000"), word, d.what(), d.who(), d.why())
}

// what renders the actions and the paths.
func (d *Denial) what() string {
	return strings.TrimSuffix(d.actions()+" "+d.place(), " ")
}

// actions names what was refused. An open is implied by what it is for; a map
// would be permitted by execute as well, and lacks both; so does a touch with
// write or create.
func (d *Denial) actions() string {
	m := d.Missing
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
		switch d.Boundary {
		case abi.BoundaryCapability:
			return "the use of " + abi.CapabilityName(d.Device)
		case abi.BoundaryNetwork:
			return "a socket of kind " + abi.Socket(d.Device).String()
		}
		return d.Boundary.String()
	}
	return m.String()
}

// boundary is the boundary as a phrase, which tells what was not granted from what
// never is.
func (d *Denial) boundary() string {
	switch {
	case d.Boundary == abi.BoundaryCapability && abi.Grantable()>>d.Device&1 == 0:
		return "a capability that is never granted"
	case d.Boundary == abi.BoundaryNetwork && !abi.Socket(d.Device).Grantable():
		return "a kind of socket that is never granted"
	}
	return d.Boundary.String()
}

func (d *Denial) place() string {
	switch {
	case d.DestStatus != abi.PathNone:
		return Token(d.Path) + " -> " + Token(d.Dest)
	case d.PathStatus != abi.PathNone:
		return Token(d.Path)
	case d.Inode == 0:
		return ""
	}
	return fmt.Sprintf("inode %d of device %s", d.Inode, device(d.Device))
}

// device renders a device as MAJOR:MINOR.
func device(d uint32) string { return fmt.Sprintf("%d:%d", d>>20, d&0xfffff) }

func (d *Denial) who() string {
	exe := "?"
	if d.ExeStatus != abi.PathNone {
		exe = Token(d.Exe)
	}
	return exe + "[" + strconv.FormatUint(uint64(d.PID), 10) + "]"
}

func (d *Denial) why() string {
	if d.Boundary == abi.BoundaryCapability || d.Boundary == abi.BoundaryNetwork {
		return d.boundary()
	}
	if d.Reason == abi.ReasonBoundary && d.Missing != 0 {
		return d.Boundary.String() + ": " + d.Reason.String()
	}
	if d.Reason == abi.ReasonAnswered && len(d.Policies) > 0 {
		return d.Reason.String() + ": " + d.policies()
	}
	if d.Reason != abi.ReasonPolicy {
		return d.Reason.String()
	}
	if len(d.Policies) == 0 {
		if d.PathStatus != abi.PathOK {
			return d.Reason.String()
		}
		return "no policy permits it"
	}
	return d.policies()
}

// policies names what the denial rests on.
func (d *Denial) policies() string {
	names := make([]string, len(d.Policies))
	for i, p := range d.Policies {
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
