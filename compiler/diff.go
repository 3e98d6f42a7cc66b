package compiler

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
	"github.com/stockade-dev/stockade/compiler/table"
)

// Change is a set of requests whose verdict two plans differ in, all in the
// same way and under the same facts.
type Change struct {
	table.Difference
	// Globs are patterns of policies that match the witness, where globs pick
	// the paths.
	Globs []string
}

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
			changes[i].Globs = globsOf(d.Witness, old, now)
		}
	}
	return changes, nil
}

// Covers reports whether a request may be among those that changed: for
// certain, unless globs or facts matter too.
func (c *Change) Covers(r abi.Request) bool {
	return c.Actions[r.Kind].Has(r.Action) && slices.ContainsFunc(c.Places, func(p table.Place) bool { return p.Contains(r.Kind, r.Path) })
}

// globsOf lists the patterns on paths that match a request.
func globsOf(q abi.Request, plans ...*Plan) []string {
	var list []string
	for _, p := range plans {
		for _, r := range p.Rules.Rules {
			if r.Actions>>q.Action&1 == 0 {
				continue
			}
			atoms(r.Cond, func(c rule.Cond) {
				if like, ok := c.(rule.Like); ok && like.Field == rule.Path && rule.MatchLike(like.Pattern, q.Path) {
					list = append(list, like.Pattern)
				}
			})
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
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

func past(v abi.Verdict) string {
	return [...]string{abi.Deny: "denied", abi.Allow: "allowed", abi.Ask: "asked"}[v]
}

// actionsText lists actions, and kinds where they matter.
func actionsText(m [abi.NumKinds]abi.ActionMask) string {
	both := m[abi.File] & m[abi.Dir]
	var parts []string
	for _, p := range []struct {
		mask abi.ActionMask
		kind string
	}{{both, ""}, {m[abi.File] &^ both, " (files)"}, {m[abi.Dir] &^ both, " (directories)"}} {
		if p.mask != 0 {
			parts = append(parts, strings.ReplaceAll(p.mask.String(), ",", ", ")+p.kind)
		}
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
	if len(c.Globs) > 0 {
		shown := c.Globs
		if limit > 0 {
			shown = shown[:min(limit, len(shown))]
		}
		lines = append(lines, printable("by pattern "+strings.Join(shown, ", ")))
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
var FactNames = map[abi.Dim]string{abi.DimUID: "uid", abi.DimGID: "gid", abi.DimNow: "now", abi.DimExe: "exe",
	abi.DimParent: "parent-exe", abi.DimXattr: "xattr", abi.DimDestPath: "dest"}

// FactValue returns the fact of a dimension.
func FactValue(d abi.Dim, f abi.Facts) any {
	switch d {
	case abi.DimUID:
		return f.UID
	case abi.DimGID:
		return f.GID
	case abi.DimNow:
		return time.UnixMilli(f.Now).UTC().Format("2006-01-02T15:04:05.999Z07:00")
	case abi.DimExe:
		return f.Exe
	case abi.DimParent:
		return f.Parent
	case abi.DimXattr:
		return f.Xattr
	}
	return f.Dest
}

// FactText writes the fact of a dimension.
func FactText(d abi.Dim, f abi.Facts) string {
	v := FactValue(d, f)
	switch {
	case v == "" && d == abi.DimXattr:
		return "xattr is empty"
	case v == "":
		return FactNames[d] + " is not known"
	}
	return printable(fmt.Sprintf("%s is %v", FactNames[d], v))
}

// Printable escapes what a policy or a path could do to a terminal.
func Printable(s string) string { return printable(s) }
