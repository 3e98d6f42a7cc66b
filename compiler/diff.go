package compiler

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/pattern"
	"github.com/stockade-dev/stockade/compiler/rule"
	"github.com/stockade-dev/stockade/compiler/table"
)

// Change is a set of requests whose verdict two plans differ in, all in the
// same way and under the same facts.
type Change struct {
	table.Difference
	// Globs are examples of the paths, where globs pick them: one for each
	// pattern that only one of the plans has, and that has some; without such,
	// for each pattern that matches the witness.
	Globs []Example
}

// Example is a path that changes, and a pattern that it matches.
type Example struct{ Pattern, Path string }

// Diff finds every request that two plans answer differently: the result is
// empty exactly if they answer all alike. A request has a valid path. What the
// agent answers where both plans ask is not compared: see DifferentAsks.
func Diff(old, now *Plan) ([]Change, error) {
	if old.Handled != now.Handled {
		return nil, fmt.Errorf("plans: one handles %s and the other %s: they are not compared; compile both with the same handled actions",
			old.Handled, now.Handled)
	}
	list, err := table.Compare(old.Table, now.Table)
	if err != nil {
		return nil, fmt.Errorf("plans: %w", err)
	}
	changes := make([]Change, len(list))
	for i, d := range list {
		changes[i].Difference = d
		if slices.ContainsFunc(d.Places, func(p table.Place) bool { return p.Some }) {
			changes[i].Globs = examples(d, old, now)
		}
	}
	return changes, nil
}

// Covers reports whether a request may be among those that changed: for
// certain, unless globs or facts matter too.
func (c *Change) Covers(r abi.Request) bool {
	return c.Actions[r.Kind].Has(r.Action) && slices.ContainsFunc(c.Places, func(p table.Place) bool { return p.Contains(r.Kind, r.Path) })
}

// maxExamples bounds the patterns that examples are looked for.
const maxExamples = 64

// examples finds a path of a difference for each pattern that may be its cause.
func examples(d table.Difference, old, now *Plan) []Example {
	before, after := old.globs(d.Witness), now.globs(d.Witness)
	var list []Example
	tried := 0
	for _, glob := range slices.Sorted(maps.Keys(merged(before, after))) {
		if before[glob] && after[glob] {
			continue
		}
		if tried++; tried > maxExamples {
			break
		}
		q := d.Witness
		var ok bool
		// The automaton does not know what other places there are: ask the plans.
		change := Change{Difference: d}
		if q.Path, ok = pathOf(glob, d); ok && change.Covers(q) && old.answers(q) == d.Old && now.answers(q) == d.New {
			list = append(list, Example{glob, q.Path})
		}
	}
	if list != nil {
		return list
	}
	for _, glob := range slices.Sorted(maps.Keys(merged(before, after))) {
		if rule.MatchLike(glob, d.Witness.Path) {
			list = append(list, Example{glob, d.Witness.Path})
		}
	}
	return list
}

func merged(a, b map[string]bool) map[string]bool {
	m := maps.Clone(a)
	maps.Copy(m, b)
	return m
}

// globs lists the patterns on paths of the rules about an action.
func (p *Plan) globs(q abi.Request) map[string]bool {
	set := map[string]bool{}
	for _, r := range p.Rules.Rules {
		if r.Actions>>q.Action&1 == 1 {
			atoms(r.Cond, func(c rule.Cond) {
				if like, ok := c.(rule.Like); ok && like.Field == rule.Path {
					set[like.Pattern] = true
				}
			})
		}
	}
	return set
}

// pathOf finds a path that matches a pattern, lies in a place of a difference
// where globs pick the paths, and has one of its classes.
func pathOf(glob string, d table.Difference) (string, bool) {
	var beneath []pattern.Language
	for _, p := range d.Places {
		if p.Some && len(beneath) < maxExamples {
			beneath = append(beneath, pattern.Like(rule.EscapeLike(strings.TrimSuffix(p.Path, "/"))+"/*"))
		}
	}
	language := pattern.And(pattern.Like(glob), pattern.Or(beneath...))
	set, err := pattern.Build([]pattern.Language{language}, pattern.Options{Automata: 1})
	if err != nil || len(set.Automata) == 0 {
		return "", false
	}
	for output := range set.Automata[0].Outputs {
		if set.Holds[0][output].Has(0) {
			return set.Automata[0].WitnessIn(output, d.Paths, d.Classes)
		}
	}
	return "", false
}

// DifferentAsks reports whether both plans ask the agent and may wait for
// different answers: what comes of that is not compared.
func DifferentAsks(old, now *Plan) bool {
	a, b := old.questions(), now.questions()
	return len(a) > 0 && len(b) > 0 && !slices.Equal(a, b)
}

// questions lists the rules that depend on the agent, by their text.
func (p *Plan) questions() []string {
	var list []string
	for _, r := range p.Rules.Rules {
		if r.Audited {
			continue // nothing waits for it
		}
		var exprs []string
		rule.Unknowns(r.Cond, func(i int) {
			exprs = append(exprs, fmt.Sprintf("%q %v", p.Rules.Residuals[i].Expr, p.Rules.Residuals[i].Error))
		})
		if exprs != nil {
			cond := rule.Renumber(r.Cond, func(int) int { return 0 })
			list = append(list, fmt.Sprint(r.Effect, r.Actions, cond, exprs))
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// answers is what the table says of a request.
func (p *Plan) answers(r abi.Request) table.Answer { return p.Table.Answer(r) }

// RequestText writes a request without its facts.
func RequestText(r abi.Request) string {
	return printable(fmt.Sprintf("%s %s %s", r.Action, strings.ToLower(r.Kind.String()), r.Path))
}

// Printable escapes what a policy or a path could do to a terminal.
func Printable(s string) string { return printable(s) }
