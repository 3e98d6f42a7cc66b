// Package api is how verbs talk to the agent: HTTP and JSON on a unix socket,
// for root alone. `curl --unix-socket /run/stockade/agent.sock
// http://agent/v1/status` works as well.
package api

import "time"

// Status is what the agent says of itself and its workloads.
type Status struct {
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	// Adopted says that what an earlier agent pinned was taken over.
	Adopted bool   `json:"adopted"`
	Kernel  string `json:"kernel_side"` // identity of the programs
	Config  string `json:"config"`
	// Error is why the last reload changed nothing, or not all.
	Error     string     `json:"error,omitempty"`
	Notes     []string   `json:"notes,omitempty"` // the last few
	Workloads []Workload `json:"workloads"`
}

// Workload is one workload as it is now.
type Workload struct {
	Name       string   `json:"name"`
	Mode       string   `json:"mode"`
	Generation uint32   `json:"generation"`
	Digest     string   `json:"policy_digest,omitempty"`
	Origin     string   `json:"origin"` // config, applied, rolled back, or removed
	Principal  string   `json:"principal,omitempty"`
	Handled    []string `json:"handled,omitempty"`
	Cgroups    []string `json:"cgroups"` // the outermost
	Tasks      int      `json:"tasks"`
	// Allowed and Denied count operations. Of the Denied, Delivered were
	// written to the log, Dropped found no room on the ring, Lost could not be
	// written. What then remains is on its way, or was in the hands of an agent
	// that was killed.
	Allowed   uint64 `json:"allowed"`
	Denied    uint64 `json:"denied"`
	Delivered uint64 `json:"delivered"`
	Dropped   uint64 `json:"dropped"`
	Lost      uint64 `json:"lost"`
	Error     string `json:"error,omitempty"` // why the last change was refused
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

// failure is the body of an answer that is none.
type failure struct {
	Error string `json:"error"`
}
