package table

import (
	"fmt"
	"math"
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/pattern"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// formula is a condition with its patterns gathered into languages and, once
// linked, its paths resolved to trie nodes and all else to diagrams.
type formula struct {
	op   opcode
	args []formula

	kind abi.Kind // opKind

	path string // opEq, opBelow
	at   *node  // the same, linked

	field    rule.Field // opLanguage, opLess
	language pattern.Language
	bound    int64

	diagram ref // opDiagram
}

type opcode uint8

const (
	opDiagram opcode = iota // decided by the dimensions alone, or constant
	opKind
	opEq
	opBelow
	opLanguage
	opLess
	opNot
	opAnd
	opOr
)

// parse turns a condition into a formula. What is said of one string field by
// neighbours becomes one language: the automata see few languages, not many
// patterns.
func parse(c rule.Cond) formula {
	switch c := c.(type) {
	case rule.Const:
		if c {
			return formula{diagram: isTrue}
		}
	case rule.Unknown:
		return formula{diagram: isUnclear}
	case rule.Is:
		return formula{op: opKind, kind: c.Kind}
	case rule.PathEq:
		return formula{op: opEq, path: c.Path}
	case rule.PathBelow:
		return formula{op: opBelow, path: c.Path}
	case rule.Like:
		return formula{op: opLanguage, field: c.Field, language: pattern.Like(c.Pattern)}
	case rule.Less:
		return less(c)
	case rule.Not:
		x := parse(c.X)
		if x.op == opLanguage {
			x.language = pattern.Not(x.language)
			return x
		}
		return formula{op: opNot, args: []formula{x}}
	case rule.And:
		return gather(opAnd, c)
	case rule.Or:
		return gather(opOr, c)
	}
	return formula{diagram: isFalse}
}

// less folds bounds that the field cannot pass.
func less(c rule.Less) formula {
	f := c.Field.Fact()
	switch {
	case f.Clock && c.Bound > math.MinInt64:
	case c.Bound <= f.Least:
		return formula{diagram: isFalse}
	case c.Bound > f.Most:
		return formula{diagram: isTrue}
	}
	return formula{op: opLess, field: c.Field, bound: c.Bound}
}

// gather parses the operands of op and joins the languages of each field.
func gather(op opcode, list []rule.Cond) formula {
	f := formula{op: op}
	var languages [rule.NumFields][]pattern.Language
	for _, c := range list {
		x := parse(c)
		if x.op == opLanguage {
			languages[x.field] = append(languages[x.field], x.language)
			continue
		}
		f.args = append(f.args, x)
	}
	for field, l := range languages {
		if len(l) == 0 {
			continue
		}
		join := pattern.Or
		if op == opAnd {
			join = pattern.And
		}
		f.args = append(f.args, formula{op: opLanguage, field: rule.Field(field), language: join(l...)})
	}
	if len(f.args) == 1 {
		return f.args[0]
	}
	return f
}

// key is a text that equal formulas share.
func (f *formula) key(b *strings.Builder) {
	fmt.Fprintf(b, "%d(", f.op)
	switch f.op {
	case opDiagram:
		fmt.Fprint(b, f.diagram)
	case opKind:
		fmt.Fprint(b, uint8(f.kind))
	case opEq, opBelow:
		fmt.Fprintf(b, "%q", f.path)
	case opLanguage:
		fmt.Fprintf(b, "%d %q", f.field, f.language.Key())
	case opLess:
		fmt.Fprint(b, f.field, " ", f.bound)
	}
	for i := range f.args {
		f.args[i].key(b)
	}
	b.WriteByte(')')
}

// clause is a rule, or several that are as good as one.
type clause struct {
	policies               []int
	forbid, audited, trips bool
	actions                abi.ActionMask
	formula                formula
}

// clauses parses all rules and merges those that differ by one language only:
// a thousand globs with one effect are one language.
func clauses(rules []rule.Rule) []clause {
	list := make([]clause, len(rules))
	for i, r := range rules {
		list[i] = clause{[]int{r.Policy}, r.Effect == rule.Forbid, r.Audited, r.Trips && r.Effect == rule.Forbid && !r.Audited, r.Actions, parse(r.Cond)}
	}
	for _, field := range rule.Texts() {
		list = mergeBy(field, list)
	}
	return list
}

// mergeBy joins the clauses that are equal but for their language of field.
func mergeBy(field rule.Field, list []clause) []clause {
	out := list[:0]
	at := make(map[string]int)
	var unions [][]pattern.Language
	var merged []int // of out
	var owners []*formula
	for _, c := range list {
		mine := languageOf(&c.formula, field)
		if mine < 0 {
			out = append(out, c)
			continue
		}
		conjuncts := append([]formula(nil), conjunctsOf(&c.formula)...)
		language := conjuncts[mine].language
		conjuncts[mine].language = pattern.Or()
		var key strings.Builder
		fmt.Fprint(&key, c.forbid, c.audited, c.trips, uint64(c.actions))
		for i := range conjuncts {
			conjuncts[i].key(&key)
		}
		n, ok := at[key.String()]
		if !ok {
			n = len(unions)
			at[key.String()] = n
			unions = append(unions, nil)
			c.formula = formula{op: opAnd, args: conjuncts}
			owners = append(owners, &c.formula.args[mine])
			merged = append(merged, len(out))
			out = append(out, c)
		} else if first := &out[merged[n]]; first.policies[len(first.policies)-1] != c.policies[0] {
			first.policies = append(first.policies, c.policies...)
		}
		unions[n] = append(unions[n], language)
	}
	for i, f := range owners {
		f.language = pattern.Or(unions[i]...)
	}
	return out
}

func conjunctsOf(f *formula) []formula {
	if f.op == opAnd {
		return f.args
	}
	return []formula{*f}
}

// languageOf returns the index of the conjunct of f that is a language of
// field, or -1.
func languageOf(f *formula, field rule.Field) int {
	for i, c := range conjunctsOf(f) {
		if c.op == opLanguage && c.field == field {
			return i
		}
	}
	return -1
}

// place is a set of paths that no literal tells apart: the node's own path, or
// (below) every path under it that is in no child's subtree.
type place struct {
	at    *node
	below bool
}

// holds decides f at a place for a kind of resource.
func (f *formula) holds(l *logic, p place, k abi.Kind) ref {
	switch f.op {
	case opDiagram:
		return f.diagram
	case opKind:
		return truthOf(k == f.kind)
	case opEq:
		return truthOf(!p.below && f.at == p.at)
	case opBelow:
		if f.at == p.at {
			return truthOf(p.below)
		}
		return truthOf(f.at.pre < p.at.pre && p.at.pre <= f.at.post)
	case opNot:
		return l.not(f.args[0].holds(l, p, k))
	case opAnd:
		r := isTrue
		for i := range f.args {
			if r = l.and(r, f.args[i].holds(l, p, k)); r == isFalse {
				break
			}
		}
		return r
	case opOr:
		r := isFalse
		for i := range f.args {
			if r = l.or(r, f.args[i].holds(l, p, k)); r == isTrue {
				break
			}
		}
		return r
	}
	return isFalse
}

func truthOf(b bool) ref {
	if b {
		return isTrue
	}
	return isFalse
}
