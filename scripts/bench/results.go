//go:build linux

package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// result is one benchmark: its name without "Benchmark" and the processor
// count, the least of its runs (others on the machine only add), and what else
// it reports.
type result struct {
	name  string
	ns    float64
	other map[string]float64 // by unit
}

type results []result

var benchLine = regexp.MustCompile(`(?m)Benchmark(\S+?)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op(.*)$`)

// parse finds the benchmark lines of go test.
func parse(text string) results {
	var list results
	runs := map[string][]float64{}
	for _, m := range benchLine.FindAllStringSubmatch(text, -1) {
		ns, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			continue
		}
		if runs[m[1]] == nil {
			other := map[string]float64{}
			fields := strings.Fields(m[3])
			for i := 0; i+1 < len(fields); i += 2 {
				if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
					other[fields[i+1]] = v
				}
			}
			list = append(list, result{name: m[1], other: other})
		}
		runs[m[1]] = append(runs[m[1]], ns)
	}
	for i := range list {
		all := runs[list[i].name]
		slices.Sort(all)
		list[i].ns = all[0]
	}
	slices.SortStableFunc(list, func(a, b result) int { return strings.Compare(a.key(), b.key()) })
	return list
}

var (
	openHead = regexp.MustCompile(`(?m)^bench: open\+close.* depth \[([\d ]+)\]$`)
	openLine = regexp.MustCompile(`(?m)^bench: (.*?)\s{2,}(\d.*)$`)
	openCell = regexp.MustCompile(`(\d+)(?: x[\d.]+)? \(\+-?\d+\)`)
)

// parseOpen reads the table of TestBenchOpen: a line a case, a figure a depth.
func parseOpen(text string) results {
	head := openHead.FindStringSubmatchIndex(text)
	if head == nil {
		return nil
	}
	depths := strings.Fields(text[head[2]:head[3]])
	var list results
	for _, m := range openLine.FindAllStringSubmatch(text[head[1]:], -1) {
		name, cells := m[1], m[2]
		for i, cell := range openCell.FindAllStringSubmatch(cells, -1) {
			if n, err := strconv.ParseFloat(cell[1], 64); err == nil && i < len(depths) {
				list = append(list, result{name: "depth " + depths[i] + ", " + name, ns: n})
			}
		}
	}
	return list
}

var number = regexp.MustCompile(`\d+`)

// key sorts numbers by value.
func (r result) key() string {
	return number.ReplaceAllStringFunc(r.name, func(n string) string { return fmt.Sprintf("%012s", n) })
}

func (r results) find(name string) *result {
	for i := range r {
		if r[i].name == name {
			return &r[i]
		}
	}
	return nil
}

// table says how results are shown: the unit, and which result each is
// compared with.
type table struct {
	title, unit, against string
	base                 func(name string) string
}

func (r results) print(out io.Writer, t table) {
	fmt.Fprintf(out, "\n%s\n\n  %-34s %12s   %s\n", t.title, "", t.unit, t.against)
	for _, x := range r {
		ratio := ""
		if base := r.find(t.base(x.name)); base != nil && base.ns > 0 {
			ratio = fmt.Sprintf("× %.2f", x.ns/base.ns)
		}
		fmt.Fprintf(out, "  %-34s %12.0f   %-8s", x.name, x.ns, ratio)
		units := make([]string, 0, len(x.other))
		for unit := range x.other {
			units = append(units, unit)
		}
		slices.Sort(units)
		for _, unit := range units {
			if unit != "B/op" && unit != "allocs/op" {
				fmt.Fprintf(out, " %.0f %s", x.other[unit], unit)
			}
		}
		fmt.Fprintln(out)
	}
}

// target is a promise: this result is at most max times that one, or, without
// that one, its figure in unit is at most max.
type target struct {
	what, this, that, unit string
	max                    float64
	goal                   bool // to strive for; to miss it is no failure
}

// judge prints which targets are met, and returns how many are missed.
func (r results) judge(out io.Writer, where string, targets []target) int {
	missed := 0
	fmt.Fprintln(out)
	for _, t := range targets {
		this, that := r.find(t.this), r.find(t.that)
		var got float64
		switch {
		case this == nil || t.that != "" && that == nil:
			fmt.Fprintf(out, "  ?       %s: not measured (%s)\n", t.what, where)
			continue
		case t.that != "":
			got = this.ns / that.ns
		default:
			got = this.other[t.unit]
		}
		word := "met"
		if got > t.max {
			word = "MISSED"
			if t.goal {
				word = "not yet"
			} else {
				missed++
			}
		}
		fmt.Fprintf(out, "  %-7s %s: %.2f, at most %.2f%s\n", word, t.what, got, t.max, strings.TrimRight(" "+t.unit, " "))
	}
	return missed
}
