package compiler

import (
	"slices"

	"github.com/cedar-policy/cedar-go/types"
)

// atom is a literal or a name in a policy's text: one token, or a whole entity
// or type name.
type atom struct {
	start, end int
	// dotted says that a dot follows.
	dotted bool
	// member says that the atom names an attribute: after a dot, a bracket of
	// an access or has.
	member bool
}

// outline is the sequence of atoms of one policy. The syntax tree's leaves
// come in the same order, which is how an expression finds its place.
type outline struct {
	text  []byte
	atoms []atom
	// conditions holds the index of each condition's first atom.
	conditions []int
}

func newOutline(p *policy) *outline {
	o := &outline{text: p.source.text}
	s := scanner{text: o.text, pos: p.offset}
	depth := 0
	var before token
	for t := s.next(); t.kind != tokenEOF; t = s.next() {
		word := string(o.text[t.start:t.end])
		switch {
		case t.kind == tokenOperator:
			switch word {
			case ";":
				return o
			case "(", "[", "{":
				depth++
			case ")", "]", "}":
				depth--
			case ".":
				if len(o.atoms) > 0 && o.atoms[len(o.atoms)-1].end == before.end {
					o.atoms[len(o.atoms)-1].dotted = true
				}
			}
		case t.kind == tokenIdent && isKeyword([]byte(word)):
		case depth == 0 && (word == "permit" || word == "forbid") && o.at(before) != "@":
			o.atoms = nil
		case depth == 0 && (word == "when" || word == "unless") && o.at(before) != "@":
			o.conditions = append(o.conditions, len(o.atoms))
		default:
			o.append(t, before)
		}
		before = t
	}
	return o
}

func (o *outline) at(t token) string { return string(o.text[t.start:t.end]) }

// append adds a token, or joins it to the name that it continues.
func (o *outline) append(t, before token) {
	if n := len(o.atoms); n > 0 && o.at(before) == "::" {
		o.atoms[n-1].end = t.end
		return
	}
	after := o.at(before)
	o.atoms = append(o.atoms, atom{start: t.start, end: t.end, member: after == "." || after == "[" || after == "has"})
}

// word returns an atom's text.
func (o *outline) word(a atom) string { return string(o.text[a.start:a.end]) }

// find returns the first atom that satisfies the test.
func (o *outline) find(test func(a atom) bool) (offset int, ok bool) {
	if i := slices.IndexFunc(o.atoms, test); i >= 0 {
		return o.atoms[i].start, true
	}
	return 0, false
}

// entity returns the place of an entity literal.
func (o *outline) entity(uid types.EntityUID) (int, bool) {
	return o.find(func(a atom) bool {
		var literal types.EntityUID
		return literal.UnmarshalCedar(o.text[a.start:a.end]) == nil && literal == uid
	})
}

// entityType returns the place of a type name or of an entity of that type.
func (o *outline) entityType(t types.EntityType) (int, bool) {
	return o.find(func(a atom) bool {
		var literal types.EntityUID
		return o.word(a) == string(t) && !a.member ||
			literal.UnmarshalCedar(o.text[a.start:a.end]) == nil && literal.Type == t
	})
}

// attribute returns the place of an attribute's name.
func (o *outline) attribute(name string) (int, bool) {
	quoted := string(types.String(name).MarshalCedar())
	return o.find(func(a atom) bool {
		return a.member && (o.word(a) == name || o.word(a) == quoted)
	})
}

// expression returns the place of the first sub-expression that equals n: of
// its leftmost atom.
func (p *policy) expression(n node) Position {
	o := newOutline(p)
	w := walker{outline: o, target: n, found: -1}
	for i, c := range p.conditions {
		if i < len(o.conditions) {
			w.cursor = o.conditions[i]
			w.visit(c.body)
		}
	}
	if w.found < 0 {
		return p.position()
	}
	return p.source.position(w.found)
}

// walker visits a condition's tree and its atoms side by side.
type walker struct {
	*outline
	target node
	cursor int
	found  int
}

func (w *walker) visit(n node) {
	if w.found < 0 && w.cursor < len(w.atoms) && equalNodes(n, w.target) {
		w.found = w.atoms[w.cursor].start
	}
	switch n := n.(type) {
	case nodeValue, nodeVariable:
		w.cursor++
	case nodeAnd:
		w.visit(n.Left)
		if has, ok := n.Right.(nodeHas); ok && w.cursor > 0 && w.cursor <= len(w.atoms) && w.atoms[w.cursor-1].dotted {
			// `x has a.b` is parsed as `x has a && x.a has b`.
			if w.found < 0 && equalNodes(has, w.target) {
				w.found = w.atoms[w.cursor-1].start
			}
			w.cursor++
			return
		}
		w.visit(n.Right)
	case nodeNot:
		w.visit(n.Arg)
	case nodeNegate:
		w.visit(n.Arg)
	case nodeIf:
		w.all(n.If, n.Then, n.Else)
	case nodeHas:
		w.named(n.Arg)
	case nodeAccess:
		w.named(n.Arg)
	case nodeLike:
		w.named(n.Arg)
	case nodeIsEmpty:
		w.named(n.Arg)
	case nodeIs:
		w.named(n.Left)
	case nodeIsIn:
		w.named(n.Left, n.Entity)
	case nodeSet:
		w.all(n.Elements...)
	case nodeRecord:
		for _, e := range n.Elements {
			w.cursor++
			w.visit(e.Value)
		}
	case nodeCall:
		w.call(n)
	default:
		w.binary(n)
	}
}

func (w *walker) all(list ...node) {
	for _, n := range list {
		w.visit(n)
	}
}

// named visits an expression, a name or literal after it, and the rest.
func (w *walker) named(first node, rest ...node) {
	w.visit(first)
	w.cursor++
	w.all(rest...)
}

func (w *walker) call(n nodeCall) {
	switch n.Name {
	case "ip", "decimal", "datetime", "duration":
		w.cursor++
		w.all(n.Args...)
	default:
		w.named(n.Args[0], n.Args[1:]...)
	}
}

func (w *walker) binary(n node) {
	switch n := n.(type) {
	case nodeContains:
		w.named(n.Left, n.Right)
	case nodeAll:
		w.named(n.Left, n.Right)
	case nodeAny:
		w.named(n.Left, n.Right)
	case nodeHasTag:
		w.named(n.Left, n.Right)
	case nodeGetTag:
		w.named(n.Left, n.Right)
	case nodeOr:
		w.all(n.Left, n.Right)
	case nodeEqual:
		w.all(n.Left, n.Right)
	case nodeUnequal:
		w.all(n.Left, n.Right)
	case nodeLess:
		w.all(n.Left, n.Right)
	case nodeLessEq:
		w.all(n.Left, n.Right)
	case nodeMore:
		w.all(n.Left, n.Right)
	case nodeMoreEq:
		w.all(n.Left, n.Right)
	case nodeIn:
		w.all(n.Left, n.Right)
	case nodeAdd:
		w.all(n.Left, n.Right)
	case nodeSub:
		w.all(n.Left, n.Right)
	case nodeMult:
		w.all(n.Left, n.Right)
	}
}
