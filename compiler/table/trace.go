package table

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/pattern"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// What the stages before the table leave, for a reader.

// eachDump writes what a step has left of all builders.
func eachDump(dump func(*builder, *tracer)) func(*Building, io.Writer) error {
	return func(b *Building, out io.Writer) error {
		w := &tracer{out: out}
		dump(b.enforced, w)
		if b.audits != nil {
			w.line("with the forbids in audit:")
			dump(b.audits, w)
		}
		return w.err
	}
}

func (b *Building) dumpTable(out io.Writer) error { return b.table.Dump(out) }

// tracer writes lines and remembers the first error.
type tracer struct {
	out io.Writer
	err error
}

func (w *tracer) line(format string, args ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.out, format+"\n", args...)
	}
}

func (b *builder) dumpClauses(w *tracer) {
	for i := range b.clauses {
		c := &b.clauses[i]
		does := rule.Rule{Audited: c.audited, Trips: c.trips}
		if c.forbid {
			does.Effect = rule.Forbid
		}
		names := make([]string, len(c.policies))
		for i, p := range c.policies {
			names[i] = fmt.Sprintf("%q", b.rules.Policies[p].ID)
		}
		w.line("%s %s when %s, of %s", does.Does(), c.actions, c.formula.text(), strings.Join(names, ", "))
	}
}

// text writes a formula that is not linked yet.
func (f *formula) text() string {
	switch f.op {
	case opDiagram:
		return map[ref]string{isTrue: "true", isFalse: "false", isUnclear: "ask"}[f.diagram]
	case opKind:
		return rule.Is{Kind: f.kind}.String()
	case opEq:
		return rule.PathEq{Path: f.path}.String()
	case opBelow:
		return rule.PathBelow{Path: f.path}.String()
	case opLanguage:
		return f.field.String() + " like " + f.language.String()
	case opLess:
		return rule.Less{Field: f.field, Bound: f.bound}.String()
	case opNot:
		return "!" + f.args[0].text()
	}
	parts := make([]string, len(f.args))
	for i := range f.args {
		parts[i] = f.args[i].text()
	}
	return "(" + strings.Join(parts, map[opcode]string{opAnd: " & ", opOr: " | "}[f.op]) + ")"
}

// dumpClasses writes how each dimension sorts values, and of its automaton in
// which languages its classes are.
func (b *builder) dumpClasses(w *tracer) {
	if b.dims.classes == [abi.NumDims]int{} {
		w.line("no classes: literal paths alone tell requests apart")
	}
	for dim := range abi.NumDims {
		d, classes := b.dims, b.dims.classes[dim]
		switch {
		case classes == 0 || dim.Leader() != dim: // sorted as its leader is
		case d.automata[dim] == nil:
			w.line("%s: %d classes, from %d", dim, classes, d.thresholds[dim])
		default:
			w.line("%s: %d classes, automaton of %d states", dim, classes, d.automata[dim].States())
			for class, held := range d.holds[dim] {
				w.line("  class %d: in %s", class, list(strings.Join(d.in(dim, held), ", ")))
			}
			w.states(d.automata[dim])
		}
	}
}

// in lists the languages of a dimension that a set holds.
func (d *dims) in(dim abi.Dim, held pattern.Bits) []string {
	var texts []string
	for _, field := range rule.Texts() {
		if !slices.Contains(dimsOf(field), dim) {
			continue
		}
		languages := d.languages[leader(field)]
		for _, text := range slices.Sorted(maps.Keys(languages)) {
			if held.Has(languages[text]) {
				texts = append(texts, text)
			}
		}
	}
	return texts
}

func (w *tracer) states(a *pattern.Automaton) {
	dumpStates(a.States(), func(s int) int { return int(a.Out[s]) }, func(s int, c byte) int { return int(a.Step(uint16(s), c)) },
		func(line string) { w.line("%s", line) })
}

// dumpTrie writes the verdicts, the diagrams over them and the nodes.
func (b *builder) dumpTrie(w *tracer) {
	used := map[ref]bool{}
	b.root.each(func(n *node) {
		for _, r := range []ref{n.exactly, n.beneath} {
			b.reached(r, used)
		}
	})
	refs := slices.Sorted(maps.Keys(used))
	for _, r := range slices.Backward(refs[:leaves(refs)]) {
		if v := b.verdicts.value(r); v.free {
			w.line("%s: no request comes to it", name(r))
		} else {
			w.line("%s:%s", name(r), v.texts())
		}
	}
	for _, r := range refs[leaves(refs):] {
		v := b.verdicts.vertices[r]
		kids := make([]string, len(v.kids))
		for i, k := range v.kids {
			kids[i] = name(k)
		}
		w.line("%s: by %s: %s", name(r), v.dim, strings.Join(kids, ", "))
	}
	b.root.each(func(n *node) { w.line("%q: %s, beneath %s", n.path(), name(n.exactly), name(n.beneath)) })
}

func (b *builder) dumpMerged(w *tracer) {
	b.dumpClasses(w)
	b.dumpTrie(w)
}

// reached notes r and all that it leads to.
func (b *builder) reached(r ref, seen map[ref]bool) {
	if seen[r] {
		return
	}
	seen[r] = true
	if r >= 0 {
		for _, k := range b.verdicts.vertices[r].kids {
			b.reached(k, seen)
		}
	}
}

// leaves counts those at the beginning of a sorted list.
func leaves(refs []ref) int {
	n, _ := slices.BinarySearch(refs, 0)
	return n
}

// name is that of a verdict or a diagram.
func name(r ref) string {
	if r < 0 {
		return fmt.Sprintf("verdict %d", -1-r)
	}
	return fmt.Sprintf("diagram %d", r)
}

// path is the absolute path of a node.
func (n *node) path() string {
	if n.parent == nil {
		return "/"
	}
	return strings.TrimSuffix(n.parent.path(), "/") + "/" + n.name
}
