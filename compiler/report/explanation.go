package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/stockade-dev/stockade/compiler"
)

// Explanation writes why a request is answered as it is, for a reader.
func Explanation(to io.Writer, e *compiler.Explanation) error {
	w := &writer{w: to}
	w.add(0, "%s: %s", e.Verdict, compiler.RequestText(e.Request))
	w.grounds(e)
	if len(e.Matters) > 0 {
		var facts []string
		for _, d := range e.Matters {
			facts = append(facts, factText(d, e.Request.Facts))
		}
		w.add(0, "it could be otherwise with other facts; here %s", strings.Join(facts, ", "))
	}
	if e.Boundary != "" {
		w.add(0, "boundary: %s", e.Boundary)
	}
	if e.Dead != "" {
		w.add(0, "nothing proposed: %s", compiler.Printable(e.Dead))
	}
	for i, s := range e.Suggestions {
		w.add(0, "%s", [...]string{"to allow it:", "or:"}[min(i, 1)])
		w.suggestion(&s)
	}
	return w.err
}

// grounds writes what the verdict rests on.
func (l *writer) grounds(e *compiler.Explanation) {
	if len(e.Policies) == 0 && len(e.Asks) == 0 {
		l.add(0, "no policy permits it")
	}
	for _, p := range e.Policies {
		reason := ""
		if p.Reason() != "" {
			reason = fmt.Sprintf(" (%q)", p.Reason())
		}
		l.add(0, "%s: policy %s%s", compiler.Printable(p.Position()), compiler.Printable(p.ID), reason)
		if p.Respond() != "" {
			l.add(1, "%s", responseText(p.Respond()))
		}
		l.block(1, p.Text)
	}
	for _, q := range e.Asks {
		what := "whether it holds"
		if q.Error {
			what = "whether it errors"
		}
		l.add(0, "%s:%d:%d: the agent finds out, for policy %s, %s: %s", compiler.Printable(q.Policy.File), q.Line, q.Column,
			compiler.Printable(q.Policy.ID), what, q.Reason)
		l.block(1, q.Expr)
	}
	for i, p := range e.Audited {
		if i == 0 {
			l.add(0, "if policies in audit were enforced: %s", e.Would)
		}
		l.add(0, "%s: in audit: policy %s", compiler.Printable(p.Position()), compiler.Printable(p.ID))
		l.block(1, p.Text)
	}
}

// responseText says what follows a denial by a policy.
func responseText(verb string) string {
	text := "who is denied by it is locked down with that"
	if verb != "lockdown" {
		text += ", and then answered by a " + verb
	}
	return text
}

// suggestion writes a change that would allow the request, and what else it does.
func (l *writer) suggestion(s *compiler.Suggestion) {
	for i := range s.Edits {
		edit := &s.Edits[i]
		if edit.Policy == nil {
			l.add(1, "%s", whatToDo(edit))
		} else {
			l.add(1, "in policy %s (%s), %s", compiler.Printable(edit.Policy.ID), compiler.Printable(edit.Policy.Position()), whatToDo(edit))
		}
		l.block(2, edit.Text())
	}
	if s.Only {
		l.add(1, "this allows nothing else")
		return
	}
	l.add(1, "in all, this makes")
	for i := range s.Changes {
		if i == maxPlaces {
			l.add(2, "%s", more(len(s.Changes)-i, "change"))
			break
		}
		l.change(2, &s.Changes[i], maxPlaces)
	}
}

// whatToDo says what to do with the text of an edit.
func whatToDo(e *compiler.Edit) string {
	switch e.Does {
	case compiler.Exclude:
		return "before its semicolon, add"
	case compiler.Widen:
		return "make its actions"
	}
	return "add"
}
