package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/stockade-dev/stockade/agent/evidence"
	"github.com/stockade-dev/stockade/agent/label"
	"github.com/stockade-dev/stockade/agent/lock"
	"github.com/stockade-dev/stockade/agent/socket"
)

// What can be asked of a workload that misbehaves.
const (
	VerbLockdown = "lockdown"
	VerbFreeze   = "freeze"
	VerbThaw     = "thaw"
	VerbKill     = "kill"
	VerbUnlock   = "unlock"
)

// VerbLock is that of a response which tells that a lock could not be noted.
const VerbLock = "lock"

// Respond asks for one of them.
type Respond struct {
	Verb string `json:"verb"`
	// Within is how long may be waited until it is verified, in nanoseconds; 0: some
	// seconds. What is to be killed is killed by then, whatever evidence is missing; as
	// long again is waited until that is verified.
	Within time.Duration `json:"within,omitempty"`
	// Evidence is the file, with its whole path, for what is known of a workload that is
	// killed; "" is one that the agent names. NoEvidence takes none, which is faster.
	Evidence   string `json:"evidence,omitempty"`
	NoEvidence bool   `json:"no_evidence,omitempty"`
	// Values has the evidence tell the values of environments, too: they often are secrets.
	Values bool `json:"values,omitempty"`
}

// RespondMany asks for one of them of each workload that is selected.
type RespondMany struct {
	label.Selection
	Respond
}

// LockRequest asks that workloads like these are locked down, and no new ones start.
type LockRequest struct {
	label.Selection
	Reason string `json:"reason,omitempty"`
}

// Responses are those to each workload that was selected, sorted by name.
type Responses struct {
	Responses []Response `json:"responses"`
	// Lock is that which was asked for, or was there already; Ended are those that were
	// ended.
	Lock *lock.Lock `json:"lock,omitempty"`
	// LockedBefore: it was there already, and stays as it is, with its reason.
	LockedBefore bool        `json:"locked_before,omitempty"`
	Ended        []lock.Lock `json:"ended,omitempty"`
}

// LockedBy notes which lock holds once one was asked for.
func (r *Responses) LockedBy(holds *lock.Lock, asked lock.Lock) {
	r.Lock = holds
	r.LockedBefore = holds != nil && !(holds.At.Equal(asked.At) && holds.By == asked.By)
}

// Locks are those that hold.
type Locks struct {
	Locks []lock.Lock `json:"locks"`
}

// Response says what was done, and what of it was verified.
type Response struct {
	Workload string      `json:"workload"`
	Verb     string      `json:"verb"`
	By       *lock.Actor `json:"by,omitempty"`
	// Before is what was done to it since it was last unlocked, the oldest first, as far as
	// who does this one remembers.
	Before []Past `json:"before,omitempty"`
	// ModeBefore is the mode before it was locked down: the kernel's when this one began, or
	// of what was locked down by then that which its keeper knows; "": not known, or this
	// one locks nothing down.
	ModeBefore string `json:"mode_before,omitempty"`
	Steps      []Step `json:"steps"`
	// Verified: of a kill, that no cgroup of the workload, nor one beneath, holds a
	// process, that no living task bears its mark, whatever cgroup it is in, and that no
	// socket of it is left in any network namespace.
	Verified bool `json:"verified"`
	// Standing is for who asked: evidence does not have it.
	Standing `json:"standing,omitzero"`
	// Needless: there was nothing to undo.
	Needless bool `json:"needless,omitempty"`
	// Processes counts those that were there when it began.
	Processes int `json:"processes,omitempty"`
	// Left are threads for which it does not hold, and Populated cgroups.
	Left      []Process `json:"left"`
	Populated []string  `json:"populated,omitempty"`
	// Zombies have ended; nobody has asked how.
	Zombies []Process `json:"zombies"`
	// Sockets are those for which it does not hold, Destroyed counts those that the kernel
	// was told to end, and Handed are others that its processes had: who else has a
	// descriptor keeps them.
	Sockets   []socket.Socket `json:"sockets,omitempty"`
	Destroyed int             `json:"destroyed,omitempty"`
	Handed    []HeldSocket    `json:"handed,omitempty"`
	// Returned are processes that had left its cgroups, and were brought back beneath one, so
	// that a freeze holds them.
	Returned []Returned `json:"returned,omitempty"`
	// Rings are those of io_uring that its processes had: what the kernel had begun by them
	// it may still finish.
	Rings []socket.Ring `json:"rings,omitempty"`
	// Unattended: no agent, or no run, answered, and it was done without, on what is pinned.
	Unattended bool `json:"unattended,omitempty"`
	// Evidence is the bundle of a kill.
	Evidence *evidence.Summary `json:"evidence,omitempty"`
}

// Returned is a process that was brought back, and the cgroup in which it was, below the
// mount of cgroup2.
type Returned struct {
	Process
	Cgroup string `json:"cgroup"`
}

// Standing is what a workload was when a response to it began.
type Standing struct {
	// Already is what had locked it down, or frozen it, as is asked for; nil: nothing had.
	Already *Past `json:"already,omitempty"`
	// Run: it is a `stockade run`, OwnSet: one that has a set of its own.
	Run    bool `json:"run,omitempty"`
	OwnSet bool `json:"own_set,omitempty"`
	// Locks are those on it, the oldest first: they hold its lockdown.
	Locks []lock.Lock `json:"locks,omitempty"`
}

// NewResponse returns one of which nothing was done yet.
func NewResponse(workload, verb string) *Response {
	return &Response{Workload: workload, Verb: verb, Steps: []Step{}, Left: []Process{}, Zombies: []Process{}}
}

// FailedResponse returns one that came to nothing but an error.
func FailedResponse(workload, verb string, err error) *Response {
	r := NewResponse(workload, verb)
	r.Steps = append(r.Steps, Step{Name: verb, At: time.Now().UTC(), Error: err.Error()})
	return r
}

// Past is a response that was made to a workload, and was not undone.
type Past struct {
	Verb     string     `json:"verb"`
	By       lock.Actor `json:"by"` // its name is that of a policy or budget that tripped
	At       time.Time  `json:"at"`
	Verified bool       `json:"verified"`
	// Unattended: nobody answered for the workload then.
	Unattended bool `json:"unattended,omitempty"`
	// Evidence is the file of a kill; Incomplete: parts are missing in it.
	Evidence   string `json:"evidence,omitempty"`
	Incomplete bool   `json:"incomplete,omitempty"`
	// Unfinished: it was begun, and who did it is not at its end yet, or was killed.
	Unfinished bool `json:"unfinished,omitempty"`
}

// String tells what was done, who did it and when.
func (p *Past) String() string {
	text := fmt.Sprintf("%s by %s on %s", p.Verb, p.By, p.At.UTC().Format(time.RFC3339))
	if p.Unattended {
		text += ", when nobody answered for it"
	}
	if p.Unfinished {
		text += ", begun and not ended"
	}
	switch {
	case p.Evidence != "" && p.Incomplete:
		text += ", evidence INCOMPLETE in " + p.Evidence
	case p.Evidence != "":
		text += ", evidence in " + p.Evidence
	}
	return text
}

// LockedDown reports whether it locked the workload down, to stay so.
func (r *Response) LockedDown() bool {
	down := false
	for _, s := range r.Steps {
		switch s.Name {
		case StepLockdown:
			down = s.Error == ""
		case StepKeep: // it is told only if it failed
			return false
		}
	}
	return down
}

// Outcome is what a reader wants to know first.
func (r *Response) Outcome() string {
	switch {
	case !r.Verified && r.Verb == VerbKill:
		return "NOT STOPPED"
	case !r.Verified && r.Verb == VerbUnlock && r.failed(StepUnlock) != "":
		return "NOT UNLOCKED"
	case !r.Verified && r.Verb == VerbLockdown && r.failed(StepLockdown) != "":
		return "NOT LOCKED DOWN"
	case !r.Verified && r.Verb == VerbLock:
		return "NOT LOCKED: what is like it can start"
	case !r.Verified:
		return "NOT VERIFIED"
	case r.failed(r.Verb) != "" && len(r.Steps) == 1:
		return "verified: it is over"
	case r.Verb == VerbKill:
		return "verified: no process of it lives, and no socket of it is left"
	case r.Verb == VerbFreeze:
		return "verified: every process of it stands still, and it is locked down"
	case r.Verb == VerbThaw && r.Needless:
		return "verified: it was not frozen"
	case r.Verb == VerbUnlock && r.Needless:
		return "verified: it was neither locked down nor frozen"
	case r.Verb == VerbThaw:
		return "verified: nothing of it stands still"
	case r.Verb == VerbUnlock:
		return "verified: it is under its policies again, and nothing of it stands still"
	}
	return "verified: all that policies could decide is denied from now on"
}

// failed is the error of a step, "" if it has none.
func (r *Response) failed(step string) string {
	for _, s := range r.Steps {
		if s.Name == step {
			return s.Error
		}
	}
	return ""
}

// Inspection is what can be known of a workload now. What its processes say of themselves
// is their own choice.
type Inspection struct {
	Taken    time.Time `json:"taken"`
	Workload Workload  `json:"workload"`
	// Processes is the document of agent/inspect about them.
	Processes json.RawMessage `json:"processes"`
	// Outside are those of them that are in no cgroup of the workload.
	Outside []Outside `json:"outside"`
	// Denials are the last ones, the oldest first, each as in a log.
	Denials []json.RawMessage `json:"denials"`
}

// Outside is a process that left the cgroups of its workload, or was moved out.
type Outside struct {
	PID int `json:"pid"`
	// Cgroup is where it is now, below the mount of cgroup2.
	Cgroup string `json:"cgroup"`
}

// About says what a reader of a log wants to know: the outcome, why it is none, and where
// the evidence is.
func (r *Response) About() string {
	text := r.Outcome()
	told := map[string]bool{}
	for _, s := range r.Steps {
		if fresh, _ := s.News(told); len(fresh) > 0 && !r.Verified {
			text += fmt.Sprintf("; %s: %s", s.Name, strings.Join(fresh, "\n"))
		}
	}
	switch e := r.Evidence; {
	case r.NoEvidence():
		text += "; NO EVIDENCE was kept"
	case e != nil && len(e.Missing) > 0:
		text += fmt.Sprintf("; evidence INCOMPLETE (missing: %s) %s, SHA-256 %s", strings.Join(e.Missing, " "), e.Path, e.SHA256)
	case e != nil:
		text += fmt.Sprintf("; evidence %s, SHA-256 %s", e.Path, e.SHA256)
	}
	return text
}

// NoEvidence reports whether evidence was to be kept, and none is.
func (r *Response) NoEvidence() bool {
	return r.Evidence == nil && slices.ContainsFunc(r.Steps, func(s Step) bool { return s.Name == StepEvidence })
}

// Names of steps that say whether a workload is locked down, and stays so; and of that which
// takes evidence.
const (
	StepEvidence = "evidence"
	StepLockdown = "lockdown"
	StepKeep     = "keep the lockdown"
	StepUnlock   = "unlock"
)

// Note is About, with what was done, and who did it.
func (r *Response) Note() string { return fmt.Sprintf("%s by %s: %s", r.Verb, r.By, r.About()) }

// Step is a part of it, in the order in which they were done.
type Step struct {
	Name    string    `json:"name"`
	At      time.Time `json:"at"`
	Seconds float64   `json:"seconds"`
	Error   string    `json:"error,omitempty"`
}

// News are the lines of a step's error that were not told yet; again: others were. Several
// steps meet the same.
func (s *Step) News(told map[string]bool) (fresh []string, again bool) {
	if s.Error == "" {
		return nil, false
	}
	for _, line := range strings.Split(s.Error, "\n") {
		if told[line] {
			again = true
			continue
		}
		told[line] = true
		fresh = append(fresh, line)
	}
	return fresh, again
}

// HeldSocket is a socket that a process has a descriptor of.
type HeldSocket struct {
	Process
	Socket socket.Socket `json:"socket"`
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

// Responder is the part of a backend that stops workloads.
type Responder interface {
	Status() (Status, error)
	Respond(by Peer, name string, r Respond) (Response, error)
	Inspect(ctx context.Context, name string) (Inspection, error)
}

// Locker is the part that selects them, and locks.
type Locker interface {
	RespondMany(by Peer, r RespondMany) (Responses, error)
	Lock(by Peer, r LockRequest) (Responses, error)
	// Unlock ends the lock on a selection, if there is one, and unlocks what it selects,
	// but for what another lock holds.
	Unlock(by Peer, r label.Selection) (Responses, error)
	Locks() (Locks, error)
}

// routeResponder adds what is asked of one workload by its name.
func routeResponder(mux *http.ServeMux, b Responder) {
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		status, err := b.Status()
		answer(w, status, err)
	})
	mux.HandleFunc("POST /v1/workloads/{name}/respond", asked(func(r *http.Request, ask Respond) (any, error) {
		return b.Respond(peerIn(r), r.PathValue("name"), ask)
	}))
	mux.HandleFunc("GET /v1/workloads/{name}/inspect", func(w http.ResponseWriter, r *http.Request) {
		inspection, err := b.Inspect(r.Context(), r.PathValue("name"))
		answer(w, inspection, err)
	})
}

// routeLocker adds what is asked of several.
func routeLocker(mux *http.ServeMux, b Locker) {
	mux.HandleFunc("POST /v1/respond", asked(func(r *http.Request, ask RespondMany) (any, error) {
		return b.RespondMany(peerIn(r), ask)
	}))
	mux.HandleFunc("GET /v1/locks", func(w http.ResponseWriter, r *http.Request) {
		locks, err := b.Locks()
		answer(w, locks, err)
	})
	mux.HandleFunc("POST /v1/locks", asked(func(r *http.Request, ask LockRequest) (any, error) {
		return b.Lock(peerIn(r), ask)
	}))
	mux.HandleFunc("POST /v1/locks/remove", asked(func(r *http.Request, ask label.Selection) (any, error) {
		return b.Unlock(peerIn(r), ask)
	}))
}

// NewResponder returns a server for a unix socket that answers for one workload alone.
// allow is as for NewServer.
func NewResponder(b Responder, allow func(Peer) error) *http.Server {
	mux := http.NewServeMux()
	routeResponder(mux, b)
	return serverOf(mux, allow)
}

// Respond stops a workload, or undoes that.
func (c *Client) Respond(ctx context.Context, name string, r Respond) (response Response, err error) {
	return response, c.call(ctx, http.MethodPost, workloadPath(name, "respond"), r, &response)
}

// Inspect tells what can be known of a workload now.
func (c *Client) Inspect(ctx context.Context, name string) (i Inspection, err error) {
	return i, c.call(ctx, http.MethodGet, workloadPath(name, "inspect"), nil, &i)
}

// RespondMany does it to each workload that is selected.
func (c *Client) RespondMany(ctx context.Context, r RespondMany) (all Responses, err error) {
	return all, c.call(ctx, http.MethodPost, "/v1/respond", r, &all)
}

// Lock locks workloads down, and has no new ones like them start.
func (c *Client) Lock(ctx context.Context, r LockRequest) (all Responses, err error) {
	return all, c.call(ctx, http.MethodPost, "/v1/locks", r, &all)
}

// Unlock ends that.
func (c *Client) Unlock(ctx context.Context, s label.Selection) (all Responses, err error) {
	return all, c.call(ctx, http.MethodPost, "/v1/locks/remove", s, &all)
}

// Locks lists what is locked.
func (c *Client) Locks(ctx context.Context) (l Locks, err error) {
	return l, c.call(ctx, http.MethodGet, "/v1/locks", nil, &l)
}
