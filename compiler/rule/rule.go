// Package rule is the intermediate representation between Cedar text and
// tables: one Rule a policy, its condition a boolean formula over the type and
// the path of the resource and the facts of the context. It is pure data; kinds,
// actions and facts are those of package abi.
package rule

import (
	"fmt"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// Effect is what a policy does when its condition holds.
type Effect uint8

// Permit and Forbid are Cedar's effects.
const (
	Permit Effect = iota
	Forbid
)

// String returns "permit" or "forbid".
func (e Effect) String() string {
	if e == Forbid {
		return "forbid"
	}
	return "permit"
}

// Policy says where a rule comes from.
type Policy struct {
	// ID is the @id annotation, else FILE#N with N counted from 0.
	ID string
	// File, Line and Column locate the policy's first byte; lines and columns
	// count from 1, columns in bytes.
	File         string
	Line, Column int
	Effect       Effect
	// Annotations are the policy's annotations without their @.
	Annotations map[string]string
}

// Audited reports whether the policy is in audit (@mode("audit")): it takes no
// part in verdicts, and what it would change is reported.
func (p *Policy) Audited() bool { return p.Annotations["mode"] == "audit" }

// Respond returns the @respond annotation of a forbid that denies, or "": who permits, or is
// in audit, asks for no response.
func (p *Policy) Respond() string {
	if p.Effect != Forbid || p.Audited() {
		return ""
	}
	return p.Annotations["respond"]
}

// Reason returns the @reason annotation, or "".
func (p *Policy) Reason() string { return p.Annotations["reason"] }

// Position returns FILE:LINE:COLUMN.
func (p *Policy) Position() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Rule is one policy seen by one principal for a set of actions.
type Rule struct {
	// Policy indexes Set.Policies.
	Policy int
	Effect Effect
	// Audited says that the rule takes no part in verdicts: where the others
	// allow and it would forbid, that is reported.
	Audited bool
	// Trips says that what it denies is responded to at once: a tripwire.
	Trips bool
	// Actions has bit N set for the action with code N.
	Actions abi.ActionMask
	// Cond holds where the policy is satisfied. Where evaluation of the
	// policy errors, Cond is false: such a policy does not apply. Where it
	// depends on an Unknown, the agent has to be asked.
	Cond Cond
}

// String renders the rule for a dump.
func (r Rule) String() string {
	return fmt.Sprintf("%s policy=%d actions=%08x when %s", r.Does(), r.Policy, uint64(r.Actions), r.Cond)
}

// Does is the effect of the rule, with a word before it where it is audited.
func (r Rule) Does() string {
	switch {
	case r.Audited:
		return "audited " + r.Effect.String()
	case r.Trips:
		return "tripwire " + r.Effect.String()
	}
	return r.Effect.String()
}

// Set is everything that the table builder needs for one principal.
type Set struct {
	Policies []Policy
	Rules    []Rule
	// Unenforced lists, sorted, what policies name and no kernel hook
	// decides, for example sysctl::Action::"load".
	Unenforced []string
	// Residuals are the conditions that no table can hold.
	Residuals []Residual
}

// Residual is a sub-expression that only the agent can evaluate.
type Residual struct {
	// Policy indexes Set.Policies.
	Policy int
	// Expr is the Cedar text, Reason says why no table holds it.
	Expr, Reason string
	// Line and Column locate it in the policy's file.
	Line, Column int
	// Error says that the unknown is whether Expr errors, not whether it holds.
	Error bool
	// Resource says that Expr depends on the resource: the answer for one path
	// says nothing about another.
	Resource bool
	// Uses are the facts that Expr may depend on; none that it does is missing.
	Uses Uses
}
