//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// timesFile holds how long each part of a run took when it last ran whole, in seconds.
const timesFile = work + "/times"

// times are those, by what the summary calls the parts.
type times map[string]float64

// lastTimes reads them; where nothing has run yet they are empty.
func lastTimes() times {
	t := times{}
	if text, err := os.ReadFile(timesFile); err == nil && json.Unmarshal(text, &t) != nil {
		return times{}
	}
	return t
}

// keepTimes adds those of this run for the next one. Parts of which something failed
// may have ended early.
func (r *report) keepTimes(o options) error {
	if !o.whole() {
		return nil
	}
	t := lastTimes()
	for _, s := range r.runs {
		if s.failed == 0 && s.took > 0 {
			t[s.where] = s.took.Seconds()
		}
	}
	text, err := json.MarshalIndent(t, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(timesFile), 0o755); err != nil {
		return err
	}
	return os.WriteFile(timesFile, append(text, '\n'), 0o644)
}

// whole says that nothing was asked for but the kernels: what it takes is comparable.
func (o options) whole() bool {
	return o.run == "" && !o.quick && os.Getenv("STOCKADE_ALL")+os.Getenv("STOCKADE_FAULTS")+os.Getenv("STOCKADE_FUZZ")+os.Getenv("STOCKADE_RACES") == ""
}

// printExpected says what the run will take on this machine.
func (o options) printExpected() {
	if !o.whole() {
		return
	}
	t := lastTimes()
	var machines []time.Duration
	var all time.Duration
	for where, s := range t {
		took := time.Duration(s * float64(time.Second))
		_, kernel, inVM := strings.Cut(where, " on ")
		kernel, _, _ = strings.Cut(kernel, ",")
		switch {
		case inVM && slices.Contains(o.kernels, kernel), strings.HasPrefix(where, native+",") && o.native:
			machines = append(machines, took)
		case !inVM && o.native:
			all += took
		}
	}
	all += makespan(machines, o.jobs)
	if len(machines) == 0 && len(o.kernels) > 0 || all == 0 {
		fmt.Printf("verify: about %d minutes for each of %d kernels with two processors; nothing has run here yet that would tell more\n", guessed, len(o.kernels))
		return
	}
	fmt.Printf("verify: about %.0f minutes, as the last times of each part tell\n", all.Minutes())
}

// guessed is what one kernel takes, in minutes, with its part of the native tests.
const guessed = 12

// makespan is how long parts take of which so many run at once, the longest first.
func makespan(parts []time.Duration, jobs int) (most time.Duration) {
	slices.SortFunc(parts, func(a, b time.Duration) int { return int(b - a) })
	busy := make([]time.Duration, max(1, jobs))
	for _, p := range parts {
		i := slices.Index(busy, slices.Min(busy))
		busy[i] += p
	}
	return slices.Max(busy)
}
