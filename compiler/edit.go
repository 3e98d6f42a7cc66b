package compiler

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/stockade-dev/stockade/compiler/rule"
)

// EditKind is what an edit does.
type EditKind uint8

// The kinds.
const (
	Exclude EditKind = iota // takes a request out of a policy that forbids it
	Widen                   // adds an action to those of a policy
	Add                     // adds a policy
)

// String names the kind, for programs.
func (k EditKind) String() string {
	return [...]string{Exclude: "exclude", Widen: "widen", Add: "add"}[k]
}

// Edit is a change of the text of one source.
type Edit struct {
	Does EditKind
	// Policy is the one that changes; nil where one is added.
	Policy *rule.Policy
	// At is where the change begins. Without a file it is a source of its own.
	At Position
	// Insert comes in place of the bytes of the source from Start to End, counted
	// before any edit is done.
	Start, End int
	Insert     string
}

// Text is what the edit inserts, without the space around it.
func (e *Edit) Text() string { return strings.TrimSpace(e.Insert) }

// addedSource names a source that an edit makes.
const addedSource = "the added policy"

// Apply returns sources with edits done, which do not overlap.
func Apply(sources []Source, edits []Edit) ([]Source, error) {
	sources, edits = slices.Clone(sources), slices.Clone(edits)
	slices.SortStableFunc(edits, func(a, b Edit) int { return cmp.Compare(b.Start, a.Start) }) // from the end
	done := make(map[string]int)                                                               // from which byte on
	for _, e := range edits {
		name := e.At.File
		if name == "" {
			sources = append(sources, Source{addedSource, []byte(e.Insert)})
			continue
		}
		i := slices.IndexFunc(sources, func(s Source) bool { return s.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("edit of %s: no such source: nothing is edited; give the sources that were explained", name)
		}
		text := sources[i].Text
		limit, edited := done[name]
		if !edited {
			limit = len(text)
		}
		if e.Start < 0 || e.Start > e.End || e.End > limit {
			return nil, fmt.Errorf("edit of %s: bytes %d to %d: not there, or edited twice: nothing is edited; give the sources that were explained", name, e.Start, e.End)
		}
		done[name] = e.Start
		sources[i].Text = slices.Concat(text[:e.Start], []byte(e.Insert), text[e.End:])
	}
	return sources, nil
}

// spans are the parts of a policy's text: from its effect, its action scope, and
// its semicolon.
type spans struct{ effect, action, actionEnd, end int }

// spans finds the parts of the text.
func (p *policy) spans() spans {
	text := p.source.text
	s := scanner{text: text, pos: p.offset}
	x := spans{effect: -1}
	depth, commas := 0, 0
	before := ""
	last := p.offset
	for t := s.next(); t.kind != tokenEOF; t = s.next() {
		word := string(text[t.start:t.end])
		switch {
		case x.effect < 0:
			if depth == 0 && before != "@" && (word == "permit" || word == "forbid") {
				x.effect = t.start
			}
		case depth == 1 && word == "," && x.actionEnd == 0:
			if commas++; commas == 2 {
				x.actionEnd = last
			}
		case depth == 1 && commas == 1 && word == "action" && x.action == 0:
			x.action = t.start
		}
		if t.kind == tokenOperator {
			switch word {
			case "(", "[", "{":
				depth++
			case ")", "]", "}":
				depth--
			case ";":
				x.end = t.start
				return x
			}
		}
		before, last = word, t.end
	}
	x.end = len(text)
	return x
}

// text returns the policy without its annotations.
func (p *policy) text() string {
	x := p.spans()
	return string(p.source.text[x.effect:min(x.end+1, len(p.source.text))])
}
