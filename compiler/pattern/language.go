// Package pattern compiles like patterns, and boolean formulas over them, into
// minimal automata over bytes.
//
//	Language   a formula over patterns         language.go, glob.go
//	machine    tracks: where patterns stand    machine.go
//	raw        reachable sets of positions     subset.go, formula.go
//	Automaton  minimal, canonical              minimise.go, automaton.go
//	Set        languages over few automata     build.go, split.go
//
// Every step is exact. A set of languages whose automata would be too large is
// refused with a TooLargeError.
package pattern

import (
	"slices"
	"strconv"
	"strings"
)

// Language is a set of byte strings: a boolean formula over patterns. It does
// not change. The zero Language is empty.
type Language struct{ n *node }

type kind uint8

const (
	isFalse kind = iota
	isTrue
	isLike
	isNot
	isAnd
	isOr
)

// node is a formula in normal form: operators are flattened, operands sorted
// and different, constants folded, and at most one operand of an operator is a
// negation.
type node struct {
	kind kind
	key  string
	glob glob
	of   []*node
}

var (
	falseNode = &node{kind: isFalse, key: "false"}
	trueNode  = &node{kind: isTrue, key: "true"}
)

// Like is the language of a like pattern: * stands for any bytes, \* for a
// star, \\ for a backslash, and every other byte for itself.
func Like(pattern string) Language {
	g := parse(pattern)
	if g.all() {
		return Language{trueNode}
	}
	return Language{like(g)}
}

func like(g glob) *node { return &node{kind: isLike, key: strconv.QuoteToASCII(g.String()), glob: g} }

// Not is every string that is not in l.
func Not(l Language) Language { return Language{negate(l.node())} }

// And is every string that is in all languages of list: without any, every
// string.
func And(list ...Language) Language { return join(list, isAnd) }

// Or is every string that is in a language of list.
func Or(list ...Language) Language { return join(list, isOr) }

// Match reports whether s is in l.
func (l Language) Match(s string) bool { return l.node().match(s) }

// Key is equal for languages that are written alike but for the order,
// grouping and repetition of operands. Languages with equal keys are equal;
// not every two equal languages have equal keys.
func (l Language) Key() string { return l.node().key }

// String returns the formula, for example ("*.c" | !"/a/*").
func (l Language) String() string { return l.node().key }

func (l Language) node() *node {
	if l.n == nil {
		return falseNode
	}
	return l.n
}

func negate(n *node) *node {
	switch n.kind {
	case isFalse:
		return trueNode
	case isTrue:
		return falseNode
	case isNot:
		return n.of[0]
	}
	return &node{kind: isNot, key: "!" + n.key, of: []*node{n}}
}

func join(list []Language, k kind) Language {
	of := make([]*node, len(list))
	for i, l := range list {
		of[i] = l.node()
	}
	return Language{combine(of, k)}
}

// combine brings an operator into normal form. Two negations or more become
// one, by De Morgan's law, so that unions of patterns grow as large as they can.
func combine(of []*node, k kind) *node {
	neutral, absorbing, dual := trueNode, falseNode, isOr
	if k == isOr {
		neutral, absorbing, dual = falseNode, trueNode, isAnd
	}
	seen := make(map[string]bool)
	var plain, negated []*node
	var add func([]*node)
	add = func(list []*node) {
		for _, n := range list {
			switch {
			case n.kind == k:
				add(n.of)
			case n.kind == neutral.kind || seen[n.key]:
			case n.kind == isNot:
				seen[n.key] = true
				negated = append(negated, n.of[0])
			default:
				seen[n.key] = true
				plain = append(plain, n)
			}
		}
	}
	add(of)
	if len(negated) > 0 {
		n := negate(combine(negated, dual))
		if n.kind == k { // a negation of the dual operator collapsed
			return combine(append(plain, n), k)
		}
		if n.kind != neutral.kind {
			plain = append(plain, n)
			seen[n.key] = true
		}
	}
	for _, n := range plain {
		if n.kind == absorbing.kind || seen[negate(n).key] {
			return absorbing
		}
	}
	return operator(plain, k, neutral)
}

func operator(of []*node, k kind, neutral *node) *node {
	switch len(of) {
	case 0:
		return neutral
	case 1:
		return of[0]
	}
	slices.SortFunc(of, func(a, b *node) int { return strings.Compare(a.key, b.key) })
	keys := make([]string, len(of))
	for i, n := range of {
		keys[i] = n.key
	}
	sign := " & "
	if k == isOr {
		sign = " | "
	}
	return &node{kind: k, key: "(" + strings.Join(keys, sign) + ")", of: of}
}

func (n *node) match(s string) bool {
	switch n.kind {
	case isTrue:
		return true
	case isLike:
		return n.glob.match(s)
	case isNot:
		return !n.of[0].match(s)
	case isAnd:
		return !slices.ContainsFunc(n.of, func(x *node) bool { return !x.match(s) })
	case isOr:
		return slices.ContainsFunc(n.of, func(x *node) bool { return x.match(s) })
	}
	return false
}

// union returns the patterns of a language that is a plain union of patterns.
func (n *node) union() ([]glob, bool) {
	switch n.kind {
	case isFalse:
		return nil, true
	case isLike:
		return []glob{n.glob}, true
	case isOr:
		list := make([]glob, len(n.of))
		for i, x := range n.of {
			if x.kind != isLike {
				return nil, false
			}
			list[i] = x.glob
		}
		return list, true
	}
	return nil, false
}
