package sink

import (
	"fmt"
	"strings"
	"time"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// Summary is the outcome of a run.
type Summary struct {
	Workload string
	ExitCode int
	Mode     abi.Mode
	Counters abi.Counters
	Received uint64 // events read from the ring
	Audit    uint64 // those of them that denied nothing
	Unseen   uint64 // events that an agent which ended had, of a run that it held
	// Unknown says that how many were denied is not known: Counters has what was seen.
	Unknown    bool
	Killed     int // processes that were left and killed
	Elapsed    time.Duration
	Digest     string
	Generation uint32
	Distinct   int
	// Partial says that there were more distinct denials than were kept.
	Partial bool
	Top     []Group
}

// Group is a set of equal denials.
type Group struct {
	Count uint64 `json:"count"`
	What  string `json:"what"` // actions, path and executable
	Why   string `json:"why"`
}

// topThreshold is the number of denials above which a reader wants groups.
const topThreshold = 10

// Exact reports whether every denial is accounted for: seen or counted as
// dropped.
func (s *Summary) Exact() bool {
	return !s.Unknown && s.Received+s.Counters.Dropped == s.Counters.Denied
}

// Text renders the summary as lines.
func (s *Summary) Text() string {
	var b strings.Builder
	word, more, denied, audit := "denied", "", s.Counters.Denied, ""
	if s.Mode == abi.Audit {
		word = "would be denied"
		if hard := s.Received - min(s.Audit, s.Received); hard > 0 { // the boundary is in force in every mode
			denied -= min(hard, denied)
			audit = fmt.Sprintf(", %d were denied at the boundary", hard)
			if hard == 1 {
				audit = ", 1 was denied at the boundary"
			}
		}
	} else if s.Audit > 0 { // by policies in audit
		denied -= min(s.Audit, denied)
		audit = fmt.Sprintf(", %d would be denied by policies in audit", s.Audit)
	}
	if s.Partial {
		more = " or more"
	}
	fmt.Fprintf(&b, "stockade: %s: exit %d, %s %s%s (%d%s distinct), %s dropped, %d allowed, %.1f s; policy sha256:%s generation %d\n",
		s.Workload, s.ExitCode, Plural(denied, "operation"), word, audit, s.Distinct, more,
		Plural(s.Counters.Dropped, "event"), s.Counters.Allowed, s.Elapsed.Seconds(), short(s.Digest), s.Generation)
	if s.Killed > 0 {
		fmt.Fprintf(&b, "stockade: %s: %s left after the command ended: killed\n", s.Workload, Plural(s.Killed, "process"))
	}
	if s.Received > topThreshold {
		for _, g := range s.Top {
			fmt.Fprintf(&b, "stockade: %s: %6d x %s: %s\n", s.Workload, g.Count, g.What, g.Why)
		}
		if rest := s.Distinct - len(s.Top); rest > 0 {
			fmt.Fprintf(&b, "stockade: %s: and %d others%s, each less often or as often as the last\n", s.Workload, rest, more)
		}
	}
	if !s.Exact() && s.Unseen == 0 && !s.Unknown {
		fmt.Fprintf(&b, "stockade: %s: error: %s seen and %d dropped, but %s counted: the record above is not complete; please report it\n",
			s.Workload, Plural(s.Received, "event"), s.Counters.Dropped, Plural(s.Counters.Denied, "denial"))
	}
	return b.String()
}

func short(digest string) string {
	if len(digest) > 12 {
		return digest[:12] + "…"
	}
	return digest
}

// Plural counts things, of which word names one.
func Plural[N int | uint32 | uint64](n N, word string) string {
	stem, y := strings.CutSuffix(word, "y")
	switch {
	case n == 1:
	case y:
		word = stem + "ies"
	case strings.HasSuffix(word, "s"):
		word += "es"
	default:
		word += "s"
	}
	return fmt.Sprintf("%d %s", n, word)
}
