package compiler

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

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

// Heading says what changes: the verdict, and of which actions.
func (c *Change) Heading() string {
	return fmt.Sprintf("newly %s (was %s): %s", past(c.New), past(c.Old), actionsText(c.Actions))
}

func past(a table.Answer) string {
	word := [...]string{abi.Deny: "denied", abi.Allow: "allowed", abi.Ask: "asked"}[a.Verdict]
	if a.Reported {
		word += " and reported by policies in audit"
	}
	return word
}

// answers is what the table says of a request.
func (p *Plan) answers(r abi.Request) table.Answer { return p.Table.Answer(r) }

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

// Lines describes where and when, a line each, with at most limit places and as
// many exceptions of each; 0 is no limit.
func (c *Change) Lines(limit int) []string {
	var lines []string
	for i, p := range c.Places {
		if limit > 0 && i == limit {
			lines = append(lines, fmt.Sprintf("and %d more places", len(c.Places)-i))
			break
		}
		lines = append(lines, printable(c.placeText(p)))
		for j, x := range p.Except {
			if limit > 0 && j == limit {
				lines = append(lines, fmt.Sprintf("    and %d more exceptions", len(p.Except)-j))
				break
			}
			lines = append(lines, "    except "+printable(c.placeText(x)))
		}
	}
	for i, g := range c.Globs {
		if limit > 0 && i == limit {
			lines = append(lines, fmt.Sprintf("and by %d more patterns", len(c.Globs)-i))
			break
		}
		lines = append(lines, printable("by pattern "+g.Pattern+", such as "+g.Path))
	}
	example := "for example " + RequestText(c.Witness)
	if len(c.Needs) > 0 {
		var facts []string
		for _, d := range c.Needs {
			facts = append(facts, FactText(d, c.Witness.Facts))
		}
		example += " if " + strings.Join(facts, ", ")
	}
	return append(lines, example)
}

// placeText writes a place; /a/** is what lies beneath /a.
func (c *Change) placeText(p table.Place) string {
	beneath := strings.TrimSuffix(p.Path, "/") + "/**"
	if p.Some {
		return "some of " + beneath
	}
	var self string
	for k := range abi.NumKinds {
		if p.Self[k] && c.Actions[k] != 0 {
			self += " or " + strings.ToLower(k.String())
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

// RequestText writes a request without its facts.
func RequestText(r abi.Request) string {
	return printable(fmt.Sprintf("%s %s %s", r.Action, strings.ToLower(r.Kind.String()), r.Path))
}

// FactNames are the names of the facts that may matter to a verdict, as flags
// and JSON write them.
var FactNames = func() map[abi.Dim]string {
	names := map[abi.Dim]string{}
	for _, f := range abi.EachFact() {
		if f.Flag != "" {
			names[f.Dim] = f.Flag
		}
	}
	return names
}()

// FactValue returns the fact of a dimension.
func FactValue(d abi.Dim, f abi.Facts) any {
	r, fact := abi.Request{Facts: f}, d.Fact()
	switch {
	case fact.Clock:
		return time.UnixMilli(fact.Value(&r)).UTC().Format("2006-01-02T15:04:05.999Z07:00")
	case fact.Number:
		return fact.Value(&r)
	}
	return fact.Text(&r)
}

// FactText writes the fact of a dimension.
func FactText(d abi.Dim, f abi.Facts) string {
	v := FactValue(d, f)
	switch {
	case v == "" && !d.Fact().Path:
		return FactNames[d] + " is empty"
	case v == "":
		return FactNames[d] + " is not known"
	}
	return printable(fmt.Sprintf("%s is %v", FactNames[d], v))
}

// Printable escapes what a policy or a path could do to a terminal.
func Printable(s string) string { return printable(s) }
