package sink

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// JSON writes one object a line; its "type" is denial, note or summary.
type JSON struct {
	W io.Writer
	// Quiet leaves out the denials; the summary stays.
	Quiet bool
}

// eventJSON is the wire form of a denial. Text that is not UTF-8 has its
// bytes in the field whose name ends in _b64 as well.
type eventJSON struct {
	Type         string   `json:"type"`
	Version      int      `json:"version"`
	Time         string   `json:"time"`
	Seq          uint64   `json:"seq"`
	Workload     string   `json:"workload"`
	Mode         string   `json:"mode"`
	Action       string   `json:"action"`
	Actions      []string `json:"actions"`
	Path         string   `json:"path"`
	PathB64      []byte   `json:"path_b64,omitempty"`
	PathStatus   string   `json:"path_status"`
	Dest         string   `json:"dest,omitempty"`
	DestB64      []byte   `json:"dest_b64,omitempty"`
	DestStatus   string   `json:"dest_status,omitempty"`
	Kind         string   `json:"kind"`
	Exe          string   `json:"exe"`
	ExeB64       []byte   `json:"exe_b64,omitempty"`
	PID          uint32   `json:"pid"`
	TID          uint32   `json:"tid"`
	UID          uint32   `json:"uid"`
	GID          uint32   `json:"gid"`
	Comm         string   `json:"comm"`
	CommB64      []byte   `json:"comm_b64,omitempty"`
	Cgroup       uint64   `json:"cgroup"`
	Inode        uint64   `json:"inode"`
	Device       string   `json:"device"`
	Reason       string   `json:"reason"`
	Boundary     string   `json:"boundary,omitempty"`
	Capability   string   `json:"capability,omitempty"`
	SocketKind   string   `json:"socket_kind,omitempty"`
	Policies     []Policy `json:"policies"`
	LockedDown   bool     `json:"locked_down,omitempty"` // by this denial, in the kernel
	Unsure       bool     `json:"unsure,omitempty"`      // sent before its call ended
	Generation   uint32   `json:"generation"`
	PolicyDigest string   `json:"policy_digest"`
}

// JSON renders the denial as one object, without a line end.
func (e *Event) JSON() string {
	j := eventJSON{
		Type: "denial", Version: Version, Time: e.Wall.Format(time.RFC3339Nano), Seq: e.Seq,
		Workload: e.Workload, Mode: e.Mode.String(),
		Action: e.Action.String(), Actions: names(e.Missing),
		Path: e.Path, PathB64: raw(e.Path), PathStatus: status(e.PathStatus),
		Dest: e.Dest, DestB64: raw(e.Dest),
		Kind: e.Kind.String(), Exe: e.Exe, ExeB64: raw(e.Exe),
		PID: e.PID, TID: e.TID, UID: e.UID, GID: e.GID,
		Comm: e.Comm, CommB64: raw(e.Comm),
		Cgroup: e.Cgroup, Inode: e.Inode, Device: device(e.Device),
		Reason: e.reason(), Boundary: e.boundary(), Policies: e.Policies, LockedDown: e.Trips, Unsure: e.Unsure,
		Generation: e.Generation, PolicyDigest: "sha256:" + e.Digest,
	}
	switch e.Boundary {
	case abi.BoundaryCapability:
		j.Capability, j.Device = abi.CapabilityName(e.Device), device(0)
	case abi.BoundaryNetwork:
		j.SocketKind, j.Device = abi.Socket(e.Device).String(), device(0)
	}
	if e.DestStatus != abi.PathNone {
		j.DestStatus = status(e.DestStatus)
	}
	if j.Policies == nil {
		j.Policies = []Policy{}
	}
	return marshal(j)
}

// reason is the reason alone; the policies have a field of their own.
func (e *Event) reason() string {
	if len(e.Policies) > 0 || e.Reason == abi.ReasonBoundary {
		return e.Reason.String()
	}
	return e.why()
}

func names(m abi.ActionMask) []string {
	list := []string{}
	for _, a := range m.Actions() {
		list = append(list, a.String())
	}
	return list
}

// raw returns the bytes of text that JSON cannot carry.
func raw(s string) []byte {
	if utf8.ValidString(s) {
		return nil
	}
	return []byte(s)
}

// status names how the walk of a path went.
func status(s abi.PathStatus) string {
	switch s {
	case abi.PathNone:
		return "none"
	case abi.PathOK:
		return "ok"
	case abi.PathOutside:
		return "outside"
	case abi.PathTooDeep:
		return "too deep"
	case abi.PathTorn:
		return "torn"
	case abi.PathCut:
		return "cut"
	case abi.PathFolded:
		return "folded"
	}
	return fmt.Sprintf("status %d", s)
}

type noteJSON struct {
	Type     string `json:"type"`
	Workload string `json:"workload"`
	Text     string `json:"text"`
}

type summaryJSON struct {
	Type         string  `json:"type"`
	Workload     string  `json:"workload"`
	Exit         int     `json:"exit"`
	Mode         string  `json:"mode"`
	Allowed      uint64  `json:"allowed"`
	Denied       uint64  `json:"denied"`
	Received     uint64  `json:"received"`
	Audit        uint64  `json:"audit,omitempty"`
	Dropped      uint64  `json:"dropped"`
	Unseen       uint64  `json:"unseen,omitempty"`
	Unknown      bool    `json:"unknown,omitempty"`
	Exact        bool    `json:"exact"`
	Distinct     int     `json:"distinct"`
	Partial      bool    `json:"distinct_partial,omitempty"`
	Killed       int     `json:"killed"`
	Seconds      float64 `json:"seconds"`
	Generation   uint32  `json:"generation"`
	PolicyDigest string  `json:"policy_digest"`
	Top          []Group `json:"top"`
}

// JSON renders the summary as one object, without a line end.
func (s *Summary) JSON() string {
	top := s.Top
	if top == nil {
		top = []Group{}
	}
	return marshal(summaryJSON{
		Type: "summary", Workload: s.Workload, Exit: s.ExitCode, Mode: s.Mode.String(),
		Allowed: s.Counters.Allowed, Denied: s.Counters.Denied, Received: s.Received, Audit: s.Audit,
		Dropped: s.Counters.Dropped, Unseen: s.Unseen, Unknown: s.Unknown, Exact: s.Exact(), Distinct: s.Distinct, Partial: s.Partial,
		Killed: s.Killed, Seconds: s.Elapsed.Seconds(), Generation: s.Generation,
		PolicyDigest: "sha256:" + s.Digest, Top: top,
	})
}

// marshal renders plain structs, which cannot fail.
func marshal(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return escapeJSON(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// Event writes one object.
func (j *JSON) Event(e *Event) error {
	if j.Quiet {
		return nil
	}
	_, err := fmt.Fprintln(j.W, e.JSON())
	return err
}

// Note writes one object.
func (j *JSON) Note(workload, text string) {
	fmt.Fprintln(j.W, marshal(noteJSON{"note", workload, text}))
}

// Summary writes one object.
func (j *JSON) Summary(s *Summary) { fmt.Fprintln(j.W, s.JSON()) }
