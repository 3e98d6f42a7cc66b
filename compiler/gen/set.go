package gen

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// Case is one policy set for one principal, and requests to try on it.
type Case struct {
	// Policies is Cedar text, Entities Cedar JSON.
	Policies  []byte
	Entities  []byte
	Principal string
	Requests  []abi.Request
	// Set and Data are what the text and the JSON were written from.
	Set  []Policy
	Data []Entity
	// Productions counts how often each production of the grammar was used.
	Productions map[string]int
}

// Write writes the text and the JSON anew, after a change of Set or Data.
func (c *Case) Write() {
	var b strings.Builder
	for _, p := range c.Set {
		b.WriteString(p.String())
	}
	c.Policies = []byte(b.String())
	var err error
	if c.Entities, err = json.Marshal(c.Data); err != nil { // strings, numbers, lists and maps of them
		panic(err)
	}
}

// String shows the whole case to a reader.
func (c *Case) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "principal %s\n%s", c.Principal, c.Policies)
	for _, e := range c.Data {
		text, err := json.Marshal(e)
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&b, "entity %s\n", text)
	}
	for _, r := range c.Requests {
		fmt.Fprintf(&b, "request %s\n", Show(r))
	}
	return b.String()
}

// Show writes a request without the facts that it does not have.
func Show(r abi.Request) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %q", r.Action, r.Kind, r.Path)
	for _, f := range abi.EachFact() {
		switch {
		case f.Flag == "":
		case f.Number && f.Value(&r) != 0:
			fmt.Fprintf(&b, " %s=%d", f.Flag, f.Value(&r))
		case !f.Number && f.Text(&r) != "":
			fmt.Fprintf(&b, " %s=%q", f.Flag, f.Text(&r))
		}
	}
	return b.String()
}

// Entity is one entity in Cedar JSON.
type Entity struct {
	UID     object         `json:"uid"`
	Attrs   map[string]any `json:"attrs"`
	Tags    map[string]any `json:"tags,omitempty"`
	Parents []object       `json:"parents"`
}

type object = map[string]any

// Policy is one policy.
type Policy struct {
	// ID is the @id annotation, if any.
	ID string
	// Audit puts the policy in audit.
	Audit bool
	// Respond is how what the policy denies is responded to, if at all.
	Respond                     string
	Effect                      string
	Principal, Action, Resource string
	Clauses                     []Clause
}

// Clause is one when or unless.
type Clause struct {
	Unless bool
	Body   *Expr
}

// Expr is an expression: its text with gaps between the parts, which the
// arguments fill.
type Expr struct {
	Parts []string
	Args  []*Expr
}

// String writes the policy as Cedar text.
func (p Policy) String() string {
	var b strings.Builder
	if p.ID != "" {
		fmt.Fprintf(&b, "@id(%s)\n", quote(p.ID))
	}
	if p.Respond != "" {
		fmt.Fprintf(&b, "@respond(%q)\n", p.Respond)
	}
	if p.Audit {
		b.WriteString("@mode(\"audit\")\n")
	}
	fmt.Fprintf(&b, "%s(%s, %s, %s)", p.Effect, p.Principal, p.Action, p.Resource)
	for _, c := range p.Clauses {
		word := "when"
		if c.Unless {
			word = "unless"
		}
		fmt.Fprintf(&b, "\n  %s { %s }", word, c.Body)
	}
	b.WriteString(";\n")
	return b.String()
}

// String writes the expression as Cedar text.
func (e *Expr) String() string {
	var b strings.Builder
	e.write(&b)
	return b.String()
}

func (e *Expr) write(b *strings.Builder) {
	for i, part := range e.Parts {
		b.WriteString(part)
		if i < len(e.Args) {
			e.Args[i].write(b)
		}
	}
}

// Leaf is an expression without arguments.
func Leaf(text string) *Expr { return &Expr{Parts: []string{text}} }

// Not, And, Or and If build expressions.
func Not(x *Expr) *Expr { return &Expr{[]string{"!(", ")"}, []*Expr{x}} }

// And is a && b.
func And(a, b *Expr) *Expr { return infix(a, " && ", b) }

// Or is a || b.
func Or(a, b *Expr) *Expr { return infix(a, " || ", b) }

// If is if c then a else b.
func If(c, a, b *Expr) *Expr {
	return &Expr{[]string{"if (", ") then (", ") else (", ")"}, []*Expr{c, a, b}}
}

func infix(a *Expr, op string, b *Expr) *Expr {
	return &Expr{[]string{"(", ")" + op + "(", ")"}, []*Expr{a, b}}
}
