// Package tripwire responds to denials: to those that a policy says to respond to, and to
// too many of them.
package tripwire

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// Verbs that can be a response, the weakest first: a stronger one includes it.
var verbs = []string{"lockdown", "freeze", "kill"}

// strength is 0 for what is no response.
func strength(verb string) int {
	for i, v := range verbs {
		if v == verb {
			return i + 1
		}
	}
	return 0
}

// Limits on a budget.
const (
	maxDenials = 100_000 // each is remembered
	maxWindow  = 24 * time.Hour
)

// Rate is a number of things in a time.
type Rate struct {
	N  int           `json:"n"`
	In time.Duration `json:"in"` // in nanoseconds
}

var ratePattern = regexp.MustCompile(`^\s*([0-9]+)\s*(?:in|/)\s*([0-9a-zµ.]+)\s*$`)

// ParseRate reads a rate, as "1000 in 10s" or "1000/10s".
func ParseRate(text string) (r Rate, err error) {
	m := ratePattern.FindStringSubmatch(text)
	if m == nil {
		return r, fmt.Errorf("%q: not a number in a time: for example 1000 in 10s, or 1000/10s", text)
	}
	if r.N, err = strconv.Atoi(m[1]); err == nil {
		r.In, err = time.ParseDuration(m[2])
	}
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return Rate{}, fmt.Errorf("%q: %w", text, err)
	}
	return r, nil
}

func (r Rate) check() error {
	if r.N < 1 || r.N > maxDenials || r.In < time.Millisecond || r.In > maxWindow {
		return fmt.Errorf("not 1 to %d in 1ms to %v", maxDenials, maxWindow)
	}
	return nil
}

func (r Rate) String() string { return fmt.Sprintf("%d in %v", r.N, r.In) }

// Budget says how many denials a workload may have before it is responded to.
type Budget struct {
	Rate
	Respond string `json:"respond"` // lockdown, freeze or kill
}

// Check is for a budget that came in another way than as text.
func (b *Budget) Check() error {
	if b == nil {
		return nil
	}
	if strength(b.Respond) == 0 {
		return fmt.Errorf("response %q: unknown: use lockdown, freeze or kill", b.Respond)
	}
	return b.Rate.check()
}

var errBudget = errors.New("not a budget: write it as 1000/10s=freeze")

// ParseBudget reads a budget, as "1000/10s=freeze".
func ParseBudget(text string) (*Budget, error) {
	at := len(text)
	for i, c := range text {
		if c == '=' {
			at = i
		}
	}
	if at == len(text) {
		return nil, fmt.Errorf("%q: %w", text, errBudget)
	}
	rate, err := ParseRate(text[:at])
	if err != nil {
		return nil, err
	}
	b := &Budget{Rate: rate, Respond: text[at+1:]}
	return b, b.Check()
}

// window remembers the last times of something, as many as a rate has.
type window struct {
	times []time.Time
	next  int
}

// full notes one, and reports whether there have been more than the rate's number in its
// time, this one included.
func (w *window) full(at time.Time, r Rate) bool {
	if len(w.times) <= r.N {
		w.times = append(w.times, at)
		if len(w.times) <= r.N {
			return false
		}
		w.next = 0
	} else {
		w.times[w.next] = at
		w.next = (w.next + 1) % len(w.times)
	}
	return at.Sub(w.times[w.next]) <= r.In
}
