package compiler

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/stockade-dev/stockade/compiler/rule"
)

// Annotate returns a source whose policies have the annotations that with returns of each, in
// place of their own of those names; n counts the policies from 0. The rest of the text stays
// as it is, line for line. A source with a syntax error is an error.
func Annotate(s Source, with func(p *rule.Policy, n int) map[string]string) (Source, error) {
	var errs collector
	list := parse([]Source{s}, &errs)
	if err := errs.err(); err != nil {
		return s, err
	}
	var edits []Edit // in the order of the text
	var ids []string
	for n, p := range list {
		set := with(&p.meta, n)
		var text strings.Builder
		for _, key := range slices.Sorted(maps.Keys(set)) {
			fmt.Fprintf(&text, "@%s(%s) ", key, types.String(set[key]).MarshalCedar())
		}
		edits = append(edits, Edit{Start: p.offset, End: p.offset, Insert: text.String()})
		edits = append(edits, p.withoutAnnotations(set)...)
		ids = append(ids, cmp.Or(set["id"], p.meta.ID))
	}
	for _, e := range slices.Backward(edits) {
		s.Text = slices.Concat(s.Text[:e.Start], []byte(e.Insert), s.Text[e.End:])
	}
	return s, hasIDs(s, ids)
}

// withoutAnnotations are the edits that take the annotations of some names out of the text.
func (p *policy) withoutAnnotations(names map[string]string) (edits []Edit) {
	sc := scanner{text: p.source.text, pos: p.offset}
	next := func() (token, string) {
		t := sc.next()
		return t, string(p.source.text[t.start:t.end])
	}
	for t, word := next(); word == "@"; {
		start := t.start
		key, name := next()
		end := key.end
		if t, word = next(); word == "(" {
			next() // the value
			t, _ = next()
			end = t.end
			t, word = next()
		}
		if _, gone := names[name]; gone {
			edits = append(edits, Edit{Start: start, End: end})
		}
	}
	return edits
}

// hasIDs makes sure that a text which was edited has the policies that it should.
func hasIDs(s Source, want []string) error {
	var errs collector
	var got []string
	for _, p := range parse([]Source{s}, &errs) {
		got = append(got, p.meta.ID)
	}
	if err := errs.err(); err != nil || !slices.Equal(got, want) {
		return fmt.Errorf("%s: its annotations cannot be set (%w): nothing is compiled; write them before each policy, without comments among them", s.Name, cmp.Or(err, fmt.Errorf("policies %q, not %q", got, want)))
	}
	return nil
}
