package compiler

import (
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// Why parts of the context are in no table.
const (
	reasonUser        = "user names are known to the agent only"
	reasonGroup       = "group names are known to the agent only"
	reasonArguments   = "the arguments of a program are known to the agent only"
	reasonEnvironment = "the environment of a program is known to the agent only"
	reasonNamespace   = "the namespace that a program enters is known to the agent only"
)

// context returns the variable context for the action at hand: what
// contextOf (facts.go) fills in, as terms.
func (l *lowerer) context() term {
	if known, ok := l.contexts[l.action]; ok {
		return known
	}
	a, _ := abi.ParseAction(string(l.action.Type), string(l.action.ID))
	record := knownOf(a)
	if l.workload != nil {
		record = append(record, attribute{"workload", always, certain(valueTerm(l.workload.record()))})
	}
	if a == abi.Execute {
		arguments, environment := opaqueTerm(reasonArguments), opaqueTerm(reasonEnvironment)
		arguments.opaque.typ, arguments.opaque.attributes = argumentsUID.Type, []types.String{"keys", "flags", "positional_values"}
		environment.opaque.typ, environment.opaque.attributes = environmentUID.Type, []types.String{"names"}
		namespace := term{kind: termRecord, record: []attribute{{"target_process_id", always, certain(opaqueTerm(reasonNamespace))}}}
		record = append(record,
			attribute{"arguments", always, certain(arguments)},
			attribute{"environment", always, certain(environment)})
		// The residual is the policy's: this term is not kept.
		present := l.unknown(has("context", "namespace"), reasonNamespace, false)
		return term{kind: termRecord, record: append(record, attribute{"namespace", present, certain(namespace)})}
	}
	l.contexts[l.action] = term{kind: termRecord, record: record}
	return l.contexts[l.action]
}

// knownOf are the attributes that facts fill in, in the order of the table of facts,
// with the others of their records.
func knownOf(a abi.Action) []attribute {
	var list []attribute
	for _, f := range abi.EachFact() {
		if f.Attribute != "" && f.Only.Has(a) {
			list = put(list, f.Attribute, factTerm(f))
		}
	}
	list = put(list, "user.username", opaqueTerm(reasonUser))
	return put(list, "group.groupname", opaqueTerm(reasonGroup))
}

// put adds a term at an attribute, or at one of an attribute's record.
func put(list []attribute, name string, t term) []attribute {
	outer, inner, nested := strings.Cut(name, ".")
	if !nested {
		return append(list, attribute{types.String(outer), always, certain(t)})
	}
	i := slices.IndexFunc(list, func(a attribute) bool { return a.name == types.String(outer) })
	if i < 0 {
		i = len(list)
		list = append(list, attribute{types.String(outer), always, certain(term{kind: termRecord})})
	}
	record := &list[i].symbol.cases[0].term.record
	*record = append(*record, attribute{types.String(inner), always, certain(t)})
	return list
}

// factTerm is a fact as a term.
func factTerm(f *abi.Fact) term {
	switch {
	case f.Clock:
		return numberTerm(rule.Field(f.Dim), sortDatetime)
	case f.Number:
		return numberTerm(rule.Field(f.Dim), sortLong)
	}
	return textTerm(rule.Field(f.Dim))
}

// contextGroups splits actions by what their context holds.
func contextGroups(mask abi.ActionMask) []abi.ActionMask {
	var groups []abi.ActionMask
	alone := abi.MaskOf(abi.Execute)
	for _, f := range abi.EachFact() {
		if f.Only != ^abi.ActionMask(0) {
			alone |= f.Only
		}
	}
	if rest := mask &^ alone; rest != 0 {
		groups = append(groups, rest)
	}
	for _, a := range (mask & alone).Actions() {
		groups = append(groups, abi.MaskOf(a))
	}
	slices.SortFunc(groups, func(a, b abi.ActionMask) int { return int(a.Actions()[0]) - int(b.Actions()[0]) })
	return groups
}

// residualKey tells the residuals of one policy apart.
type residualKey struct {
	text   string
	errors bool
}

// unknown is the condition that n holds or, with errors, that its evaluation
// errors: the agent has to find out. Equal expressions share one residual.
func (l *lowerer) unknown(n node, reason string, errors bool) formula {
	key := residualKey{fullText(n), errors}
	i, ok := l.shared[key]
	if !ok {
		i = len(l.residuals)
		l.shared[key] = i
		pos := l.policy.expression(n)
		l.residuals = append(l.residuals, rule.Residual{Policy: l.index, Expr: shortened(key.text), Reason: reason,
			Line: pos.Line, Column: pos.Column, Error: errors, Resource: mentions(n, "resource"), Uses: usesOf(n)})
	}
	return simple(rule.Unknown{Residual: i})
}

// prune drops the residuals that no rule depends on, and numbers the others in
// the order of their use.
func prune(set *rule.Set) {
	if len(set.Residuals) == 0 {
		return
	}
	number := make(map[int]int)
	var kept []rule.Residual
	for i := range set.Rules {
		set.Rules[i].Cond = rule.Renumber(set.Rules[i].Cond, func(old int) int {
			n, ok := number[old]
			if !ok {
				n = len(kept)
				number[old] = n
				kept = append(kept, set.Residuals[old])
			}
			return n
		})
	}
	set.Residuals = kept
}
