package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
	"github.com/stockade-dev/stockade/compiler/table"
)

// Limits of what Changes writes, unless all is wanted.
const (
	maxChanges = 20
	maxPlaces  = 6
)

// Changes writes what a change of policies changes, for a reader: at most so
// many changes and places, or all of them. open says that answers of the agent
// were not compared.
func Changes(to io.Writer, changes []compiler.Change, open, all bool) error {
	w := &writer{w: to}
	places, shown := maxPlaces, changes[:min(len(changes), maxChanges)]
	if all {
		places, shown = 0, changes
	}
	for i := range shown {
		w.change(0, &shown[i], places)
	}
	if n := len(changes) - len(shown); n > 0 {
		w.add(0, "%s: use --all", more(n, "change"))
	}
	if open {
		w.add(0, "not compared: what the agent answers where both ask it: the conditions that it evaluates differ")
	}
	return w.err
}

// change writes one change, with at most so many places; 0 is no limit.
func (l *writer) change(depth int, c *compiler.Change, places int) {
	l.add(depth, "%s", heading(c))
	for _, line := range placesOf(c, places) {
		l.add(depth+1, "%s", line)
	}
}

// heading says what changes: the verdict, or what comes with it, and of which actions.
func heading(c *compiler.Change) string {
	if c.New.Verdict == c.Old.Verdict {
		return fmt.Sprintf("%s as before, %s: %s", verdictText(c.New), besides(c.Old, c.New), actionsText(c.Actions))
	}
	return fmt.Sprintf("newly %s (was %s): %s", past(c.New), past(c.Old), actionsText(c.Actions))
}

func verdictText(a table.Answer) string {
	return [...]string{abi.Deny: "denied", abi.Allow: "allowed", abi.Ask: "asked"}[a.Verdict]
}

// besides says what changes where the verdict does not.
func besides(old, now table.Answer) string {
	var parts []string
	add := func(was, is bool, word string) {
		switch {
		case is && !was:
			parts = append(parts, "newly "+word)
		case was && !is:
			parts = append(parts, "no longer "+word)
		}
	}
	add(old.Reported, now.Reported, "reported by policies in audit")
	add(old.Tripped, now.Tripped, "responded to (@respond)")
	return strings.Join(parts, ", ")
}

func past(a table.Answer) string {
	word := verdictText(a)
	if a.Reported {
		word += " and reported by policies in audit"
	}
	if a.Tripped {
		word += " and responded to"
	}
	return word
}

// actionsText lists actions, and kinds where they matter.
func actionsText(m abi.Masks) string {
	all := m.All()
	var parts []string
	add := func(mask abi.ActionMask, kind string) {
		if mask != 0 {
			parts = append(parts, strings.ReplaceAll(mask.String(), ",", ", ")+kind)
		}
	}
	add(all, "")
	for k := range abi.NumKinds {
		add(m[k]&^all, " ("+k.Plural()+")")
	}
	return strings.Join(parts, "; ")
}

// placesOf describes where and when, a line each, with at most limit places and as
// many exceptions of each; 0 is no limit.
func placesOf(c *compiler.Change, limit int) []string {
	var lines []string
	for i, p := range c.Places {
		if limit > 0 && i == limit {
			lines = append(lines, fmt.Sprintf("and %d more places", len(c.Places)-i))
			break
		}
		lines = append(lines, compiler.Printable(placeText(c, p)))
		for j, x := range p.Except {
			if limit > 0 && j == limit {
				lines = append(lines, fmt.Sprintf("    and %d more exceptions", len(p.Except)-j))
				break
			}
			lines = append(lines, "    except "+compiler.Printable(placeText(c, x)))
		}
	}
	for i, g := range c.Globs {
		if limit > 0 && i == limit {
			lines = append(lines, fmt.Sprintf("and by %d more patterns", len(c.Globs)-i))
			break
		}
		lines = append(lines, compiler.Printable("by pattern "+g.Pattern+", such as "+g.Path))
	}
	example := "for example " + compiler.RequestText(c.Witness)
	if len(c.Needs) > 0 {
		var facts []string
		for _, d := range c.Needs {
			facts = append(facts, factText(d, c.Witness.Facts))
		}
		example += " if " + strings.Join(facts, ", ")
	}
	return append(lines, example)
}

// placeText writes a place; /a/** is what lies beneath /a.
func placeText(c *compiler.Change, p table.Place) string {
	beneath := strings.TrimSuffix(p.Path, "/") + "/**"
	if p.Some {
		return "some of " + beneath
	}
	var self string
	for k := range abi.NumKinds {
		if p.Self[k] && c.Actions[k] != 0 {
			self += " or as a " + [...]string{abi.File: "file", abi.Dir: "directory"}[k]
		}
	}
	switch {
	case self == "":
		return beneath
	case strings.Count(self, " or ") == 2 || c.Actions[abi.File] == 0 || c.Actions[abi.Dir] == 0:
		self = p.Path
	default:
		self = p.Path + " (" + strings.TrimPrefix(self, " or ") + ")"
	}
	if p.Beneath {
		return self + ", " + beneath
	}
	return self
}
