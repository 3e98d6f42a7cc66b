// Package api is how verbs talk to the agent: HTTP and JSON on a unix socket,
// for root alone. `curl --unix-socket /run/stockade/agent.sock
// http://agent/v1/status` works as well.
package api

import (
	"time"

	"github.com/stockade-dev/stockade/agent/label"
	"github.com/stockade-dev/stockade/agent/lock"
)

// Status is what the agent says of itself and its workloads.
type Status struct {
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	// Adopted says that what an earlier agent pinned was taken over.
	Adopted bool   `json:"adopted"`
	Kernel  string `json:"kernel_side"` // identity of the programs
	Config  string `json:"config"`
	// Error is why the last reload changed nothing, or not all.
	Error string `json:"error,omitempty"`
	// Disarmed is since when nothing but lockdown is done by itself, until a reload; nil:
	// more is.
	Disarmed  *time.Time `json:"disarmed,omitempty"`
	Notes     []string   `json:"notes,omitempty"` // the last few
	Workloads []Workload `json:"workloads"`
}

// Workload is one workload as it is now.
type Workload struct {
	Name string `json:"name"`
	// Frozen: a cgroup of it is frozen.
	Frozen     bool      `json:"frozen,omitempty"`
	Mode       string    `json:"mode"`
	Generation uint32    `json:"generation"`
	Digest     string    `json:"policy_digest,omitempty"`
	Origin     string    `json:"origin"` // config, container, applied, answered, rolled back, run, removed, or OriginUnknown
	Principal  string    `json:"principal,omitempty"`
	Labels     label.Set `json:"labels,omitempty"`
	Handled    []string  `json:"handled,omitempty"`
	Cgroups    []string  `json:"cgroups"` // the outermost
	Tasks      int       `json:"tasks"`
	// Allowed and Denied count operations. Of the Denied, Delivered were
	// written to the log, Dropped found no room on the ring, Lost could not be
	// written. What then remains is on its way.
	Allowed   uint64 `json:"allowed"`
	Denied    uint64 `json:"denied"`
	Delivered uint64 `json:"delivered"`
	Dropped   uint64 `json:"dropped"`
	Lost      uint64 `json:"lost"`
	// Withheld counts capabilities and signals that were refused without a denial.
	Withheld uint64 `json:"withheld"`
	Error    string `json:"error,omitempty"` // why the last change was refused
	// Locked says who locked it, and workloads like it.
	Locked *lock.Lock `json:"locked,omitempty"`
	// Responses are those to it since it was last unlocked, the oldest first, as far as this
	// agent or run made them.
	Responses []Past `json:"responses,omitempty"`
	// Held is about asked operations that wait for the agent's answer.
	Held *Held `json:"held,omitempty"`
	// Sinks are those beside the log.
	Sinks []Sink `json:"sinks,omitempty"`
	// Container is what it is; nil: it is none.
	Container *Container `json:"container,omitempty"`
}

// Container says which container a workload is, as its engine knows it.
type Container struct {
	Template string `json:"template"`
	ID       string `json:"id"`
	Name     string `json:"name,omitempty"`
	Image    string `json:"image,omitempty"`
	Pod      string `json:"pod,omitempty"` // NAMESPACE/NAME/UID
	PID      int    `json:"pid"`           // of its first process
}

// OriginUnknown is that of a workload of which its keeper, who knows, does not answer, and
// left nothing that could be remembered: its principal and labels are not known either.
const OriginUnknown = "?"

// OriginRun is that of a workload that a `stockade run` asked for.
const OriginRun = "run"

// Sink is a sink beside the log. Of what it was to get, Taken was taken by it, Lost
// found no room before it or was refused by it; what remains waits.
type Sink struct {
	Name  string `json:"name"`
	Taken uint64 `json:"taken"`
	Lost  uint64 `json:"lost"`
	Error string `json:"error,omitempty"` // the last one
}

// Held counts the asked operations that waited for the agent. Asked are all; of
// them it allowed and denied some by the policies, had no certain answer to some,
// and was late with others: those two were refused, and became tickets.
type Held struct {
	Actions    []string `json:"actions"` // those that wait now
	Asked      uint64   `json:"asked"`
	Allowed    uint64   `json:"allowed"`
	Denied     uint64   `json:"denied"`
	Unanswered uint64   `json:"unanswered"`
	Late       uint64   `json:"late"`
}

// Source is one file of policies.
type Source struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// Policy is a policy set to apply. What is nil stays as it is.
type Policy struct {
	Sources   []Source `json:"sources"`
	Entities  *Source  `json:"entities,omitempty"`
	Principal *string  `json:"principal,omitempty"`
	Baseline  *string  `json:"baseline,omitempty"`
	Handle    []string `json:"handle,omitempty"`
}

// Change says what a change came to.
type Change struct {
	Name       string   `json:"name"`
	Generation uint32   `json:"generation"`
	Digest     string   `json:"policy_digest"`
	Warnings   []string `json:"warnings,omitempty"`
}

// Mode asks for a mode: enforce, audit or lockdown.
type Mode struct {
	Mode string `json:"mode"`
}

// Ask is a question: what was denied because a policy asks about it.
type Ask struct {
	ID       string    `json:"id"`
	Workload string    `json:"workload"`
	Actions  []string  `json:"actions"`
	Kind     string    `json:"kind"`
	Path     string    `json:"path"`
	Exe      string    `json:"exe,omitempty"` // who was denied last
	Waits    []Wait    `json:"waits_for"`
	Count    int       `json:"count"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
}

// Wait is what a policy cannot decide by itself.
type Wait struct {
	Policy     string `json:"policy"`
	Expression string `json:"expression"`
	Reason     string `json:"reason"`
}

// Asks are the questions that wait for an answer. Forgotten counts those that
// had to make room.
type Asks struct {
	Asks      []Ask  `json:"asks"`
	Forgotten uint64 `json:"forgotten"`
}

// Answer settles a question. Scope is file (that path, the default), dir
// (everything in its directory) or policy (every path); 0 seconds last until a
// rollback.
type Answer struct {
	Allow   bool   `json:"allow"`
	Seconds int64  `json:"seconds,omitempty"`
	Scope   string `json:"scope,omitempty"`
	// Times is how many operations it holds for, of those that wait for the
	// agent; 0 is no limit.
	Times int `json:"times,omitempty"`
}

// Uninstall asks for the end of all enforcement.
type Uninstall struct {
	// Force kills the tasks of all workloads first; without it their presence
	// is a refusal.
	Force bool `json:"force"`
}

// Removed says what an uninstall removed.
type Removed struct {
	Killed    int      `json:"killed"`
	Workloads []string `json:"workloads"`
}
