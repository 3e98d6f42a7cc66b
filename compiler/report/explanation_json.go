package report

import (
	"fmt"
	"io"

	"github.com/stockade-dev/stockade/compiler"
)

type object = map[string]any

// ExplanationJSON writes it as one JSON object.
func ExplanationJSON(w io.Writer, e *compiler.Explanation) error {
	out := object{"verdict": e.Verdict.String(), "action": e.Request.Action.String(),
		"type": e.Request.Kind.Type(), "path": e.Request.Path, "policies": clausesJSON(e.Policies)}
	if len(e.Audited) > 0 {
		out["audit"] = object{"verdict": e.Would.String(), "policies": clausesJSON(e.Audited)}
	}
	if len(e.Matters) > 0 {
		facts := object{}
		for _, d := range e.Matters {
			facts[factName(d)] = factValue(d, e.Request.Facts)
		}
		out["depends_on"] = facts
	}
	var asks, suggestions []object
	for _, q := range e.Asks {
		asks = append(asks, object{"policy": q.Policy.ID, "position": fmt.Sprintf("%s:%d:%d", q.Policy.File, q.Line, q.Column),
			"expression": q.Expr, "reason": q.Reason, "error": q.Error})
	}
	for _, s := range e.Suggestions {
		var edits []object
		for i := range s.Edits {
			edits = append(edits, editJSON(&s.Edits[i]))
		}
		suggestions = append(suggestions, object{"edits": edits, "only": s.Only, "changes": changesJSON(s.Changes)})
	}
	for name, list := range map[string][]object{"waits_for": asks, "suggestions": suggestions} {
		if list != nil {
			out[name] = list
		}
	}
	for name, text := range map[string]string{"boundary": e.Boundary, "nothing_proposed": e.Dead} {
		if text != "" {
			out[name] = text
		}
	}
	return writeJSON(w, out)
}

func clausesJSON(list []compiler.Clause) []object {
	policies := []object{}
	for _, p := range list {
		x := object{"id": p.ID, "position": p.Position(), "effect": p.Effect.String(), "text": p.Text}
		if p.Reason() != "" {
			x["reason"] = p.Reason()
		}
		if p.Respond() != "" {
			x["respond"] = p.Respond()
		}
		policies = append(policies, x)
	}
	return policies
}

// editJSON is an edit as people read it and, in edit, as programs do it: the bytes
// of file from start to end, before any edit, become insert. Without a file it is
// one of its own.
func editJSON(e *compiler.Edit) object {
	x := object{"what": whatToDo(e), "text": e.Text()}
	if e.Policy != nil {
		x["policy"], x["position"] = e.Policy.ID, e.Policy.Position()
	}
	edit := object{"does": e.Does.String(), "insert": e.Insert}
	if e.At.File != "" {
		edit["file"], edit["line"], edit["column"], edit["start"], edit["end"] = e.At.File, e.At.Line, e.At.Column, e.Start, e.End
	}
	x["edit"] = edit
	return x
}
