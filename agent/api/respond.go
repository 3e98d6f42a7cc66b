package api

import (
	"context"
	"net/http"
	"time"
)

// What can be asked of a workload that misbehaves.
const (
	VerbLockdown = "lockdown"
	VerbFreeze   = "freeze"
	VerbThaw     = "thaw"
	VerbKill     = "kill"
	VerbUnlock   = "unlock"
)

// Respond asks for one of them.
type Respond struct {
	Verb string `json:"verb"`
	// Within is how long may be waited until it is verified, in nanoseconds; 0: some
	// seconds.
	Within time.Duration `json:"within,omitempty"`
}

// Response says what was done, and what of it was verified.
type Response struct {
	Workload string `json:"workload"`
	Verb     string `json:"verb"`
	Steps    []Step `json:"steps"`
	// Verified: of a kill, that no cgroup of the workload, nor one beneath, holds a
	// process, and that no living task bears its mark, whatever cgroup it is in.
	Verified bool `json:"verified"`
	// Processes counts those that were there when it began.
	Processes int `json:"processes,omitempty"`
	// Left are threads for which it does not hold, and Populated cgroups.
	Left      []Process `json:"left"`
	Populated []string  `json:"populated,omitempty"`
	// Zombies have ended; nobody has asked how.
	Zombies []Process `json:"zombies"`
}

// NewResponse returns one of which nothing was done yet.
func NewResponse(workload, verb string) *Response {
	return &Response{Workload: workload, Verb: verb, Steps: []Step{}, Left: []Process{}, Zombies: []Process{}}
}

// Outcome is what a reader wants to know first.
func (r *Response) Outcome() string {
	switch {
	case !r.Verified && r.Verb == VerbKill:
		return "NOT STOPPED"
	case !r.Verified:
		return "NOT VERIFIED"
	case r.Verb == VerbKill:
		return "verified: no process of it lives"
	case r.Verb == VerbFreeze:
		return "verified: every process of it stands still, and it is locked down"
	case r.Verb == VerbThaw:
		return "verified: its processes go on"
	case r.Verb == VerbUnlock:
		return "verified: its processes go on, under its policies"
	}
	return "all that policies could decide is denied from now on"
}

// Step is a part of it, in the order in which they were done.
type Step struct {
	Name    string    `json:"name"`
	At      time.Time `json:"at"`
	Seconds float64   `json:"seconds"`
	Error   string    `json:"error,omitempty"`
}

// Process is a thread. Its names are its own choice.
type Process struct {
	PID     int      `json:"pid"`
	TID     int      `json:"tid"`
	Command string   `json:"command"`
	State   string   `json:"state"` // a letter, as in /proc
	Wait    string   `json:"wait,omitempty"`
	Stack   []string `json:"stack,omitempty"` // of the kernel, of one that cannot be killed now
}

// Respond stops a workload, or undoes that.
func (c *Client) Respond(ctx context.Context, name string, r Respond) (response Response, err error) {
	return response, c.call(ctx, http.MethodPost, workloadPath(name, "respond"), r, &response)
}
