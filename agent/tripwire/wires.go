package tripwire

import (
	"fmt"
	"sync"
	"time"

	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// DefaultDisarm is beyond how many workloads responses other than lockdown end: a policy
// that trips everywhere is more probably wrong than right.
var DefaultDisarm = Rate{N: 10, In: 5 * time.Minute}

// Response is one that a denial asks for.
type Response struct {
	Workload, Verb string
	// Why names the policy or the budget, for a reader, and as what it is: it stands where
	// else the name of a user does.
	Why string
}

// Wires decide which denials are responded to: once each, not once a denial.
type Wires struct {
	// Respond does it; it must not wait for it.
	Respond func(Response)
	// Alarm is told when the wires are disarmed.
	Alarm func(text string)
	// Rearmed, if there is one, is told of who was unlocked, or is over.
	Rearmed func(workload string)

	mu       sync.Mutex
	disarm   Rate
	armed    map[string]*wire // by workload
	tripped  window           // times at which another workload was responded to
	disarmed bool
	since    time.Time
}

// wire is that of one workload.
type wire struct {
	denials window
	rate    Rate
	done    int // the strength of the strongest response
	seen    bool
}

// SetDisarm changes the limit of the disarmer, and arms the wires again.
func (w *Wires) SetDisarm(r Rate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.disarm, w.disarmed, w.tripped = r, false, window{}
}

// Disarmed reports whether they are disarmed, and since when.
func (w *Wires) Disarmed() (since time.Time, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.since, w.disarmed
}

// Denied is told of each denial, with the policies that it rests on, and of the budget of
// its workload, nil for none. What audit reports was allowed; who is locked down is denied
// whatever it does, and has been responded to; and what is unsure may not have failed.
func (w *Wires) Denied(e *sink.Event, budget *Budget) {
	if e.Mode != abi.Enforce || e.Unsure {
		return
	}
	verb, why := "", ""
	for _, p := range e.Policies {
		if strength(p.Respond) > strength(verb) {
			verb, why = p.Respond, "policy "+sink.Token(p.ID)
		}
	}
	if verb == "" && e.Trips { // the rule of moves asks what no event names
		verb, why = verbs[0], "a tripwire"
	}
	if verb == "" && budget == nil {
		return
	}
	w.mu.Lock()
	one := w.of(e.Workload)
	if budget != nil {
		if one.rate != budget.Rate {
			one.denials, one.rate = window{}, budget.Rate
		}
		if one.denials.full(e.Wall, budget.Rate) && strength(budget.Respond) > strength(verb) {
			verb, why = budget.Respond, fmt.Sprintf("budget (more than %s)", budget.of("denial"))
		}
	}
	alarm := ""
	if strength(verb) > one.done {
		alarm = w.count(one, e.Wall)
	}
	if w.disarmed && verb != "" {
		verb = verbs[0]
	}
	if strength(verb) <= one.done {
		verb = ""
	} else {
		one.done = strength(verb)
	}
	w.mu.Unlock()
	if alarm != "" {
		w.Alarm(alarm)
	}
	if verb != "" {
		w.Respond(Response{e.Workload, verb, why})
	}
}

func (w *Wires) of(name string) *wire {
	if w.armed == nil {
		w.armed = map[string]*wire{}
	}
	one := w.armed[name]
	if one == nil {
		one = &wire{}
		w.armed[name] = one
	}
	return one
}

// count counts a workload that is responded to, and returns the alarm if it is one too
// many.
func (w *Wires) count(one *wire, at time.Time) string {
	if one.seen || w.disarmed {
		return ""
	}
	one.seen = true
	limit := w.disarm
	if limit.N == 0 {
		limit = DefaultDisarm
	}
	if !w.tripped.full(at, limit) {
		return ""
	}
	w.disarmed, w.since = true, at
	return fmt.Sprintf("ALARM: responses: more than %s: from now on policies and budgets lock down, and freeze and kill nobody; look at the policies, then reload to arm them again", Rate{limit.N, limit.In}.of("workload"))
}

// of says a rate of something.
func (r Rate) of(word string) string {
	return sink.Plural(uint64(r.N), word) + fmt.Sprintf(" in %v", r.In)
}

// Rearm has the wires of a workload respond again: it was unlocked, or is over.
func (w *Wires) Rearm(name string) {
	w.mu.Lock()
	delete(w.armed, name)
	w.mu.Unlock()
	if w.Rearmed != nil {
		w.Rearmed(name)
	}
}
