package compiler

import (
	"slices"

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
	record := []attribute{
		{"process", always, certain(recordTerm(textTerm(rule.Exe), "exe", textTerm(rule.Parent), "parent_exe"))},
		{"user", always, certain(recordTerm(numberTerm(rule.UID, sortLong), "uid", opaqueTerm(reasonUser), "username"))},
		{"group", always, certain(recordTerm(numberTerm(rule.GID, sortLong), "gid", opaqueTerm(reasonGroup), "groupname"))},
		{"now", always, certain(numberTerm(rule.Now, sortDatetime))},
	}
	if l.workload != nil {
		record = append(record, attribute{"workload", always, certain(valueTerm(l.workload.record()))})
	}
	switch a, _ := abi.ParseAction(string(l.action.Type), string(l.action.ID)); a {
	case abi.Move:
		record = append(record, attribute{"destination", always, certain(term{kind: termRecord, record: []attribute{
			{"path", always, certain(textTerm(rule.DestPath))},
			{"name", always, certain(textTerm(rule.DestName))},
			{"parent_path", always, certain(textTerm(rule.DestDir))},
		}})})
	case abi.SetXattr:
		record = append(record, attribute{"xattr", always, certain(term{kind: termRecord, record: []attribute{
			{"name", always, certain(textTerm(rule.Xattr))}}})})
	case abi.Execute:
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

func recordTerm(a term, nameA types.String, b term, nameB types.String) term {
	return term{kind: termRecord, record: []attribute{{nameA, always, certain(a)}, {nameB, always, certain(b)}}}
}

// contextGroups splits actions by what their context holds.
func contextGroups(mask abi.ActionMask) []abi.ActionMask {
	var groups []abi.ActionMask
	alone := abi.MaskOf(abi.Move, abi.SetXattr, abi.Execute)
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
