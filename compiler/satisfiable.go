package compiler

import (
	"fmt"
	"path"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// maxTries bounds the search of satisfiable.
const maxTries = 1 << 16

// satisfiable reports whether a condition holds for some request, to the best
// of a bounded search: where that ends, it says yes.
func satisfiable(cond rule.Cond) bool {
	tries := maxTries
	globs := false
	atoms(cond, func(c rule.Cond) {
		like, ok := c.(rule.Like)
		globs = globs || ok && like.Field == rule.Path
	})
	if globs { // then what is said of the path is not told apart
		return holdsSomewhere(cond, &tries)
	}
	for _, p := range witnesses(cond) {
		for k := range abi.NumKinds {
			if holdsSomewhere(rule.Bind(cond, k, p), &tries) {
				return true
			}
		}
	}
	return false
}

// witnesses lists one path of every sort that the literal paths of a condition
// tell apart: each of them, and something new below each.
func witnesses(cond rule.Cond) []string {
	seen := map[string]bool{}
	var list []string
	add := func(p string) {
		for _, p := range []string{p, path.Join(p, "\xff")} {
			if !seen[p] {
				seen[p] = true
				list = append(list, p)
			}
		}
	}
	add("/")
	atoms(cond, func(c rule.Cond) {
		switch c := c.(type) {
		case rule.PathEq:
			add(c.Path)
		case rule.PathBelow:
			add(c.Path)
		}
	})
	return list
}

// atoms visits what a condition tests.
func atoms(cond rule.Cond, visit func(rule.Cond)) {
	switch c := cond.(type) {
	case rule.Not:
		atoms(c.X, visit)
	case rule.And:
		for _, x := range c {
			atoms(x, visit)
		}
	case rule.Or:
		for _, x := range c {
			atoms(x, visit)
		}
	case rule.Const:
	default:
		visit(c)
	}
}

// holdsSomewhere searches values of the atoms that are left, which may depend
// on each other only as given fields tell.
func holdsSomewhere(cond rule.Cond, tries *int) bool {
	if c, ok := cond.(rule.Const); ok {
		return bool(c)
	}
	if *tries--; *tries < 0 {
		return true
	}
	var first rule.Cond
	atoms(cond, func(c rule.Cond) {
		if first == nil {
			first = c
		}
	})
	return holdsSomewhere(assume(cond, first, true), tries) || holdsSomewhere(assume(cond, first, false), tries)
}

// assume decides the atoms of a condition that follow from one.
func assume(cond, atom rule.Cond, value bool) rule.Cond {
	switch c := cond.(type) {
	case rule.Const:
		return c
	case rule.Not:
		return rule.Neg(assume(c.X, atom, value))
	case rule.And:
		list := make([]rule.Cond, len(c))
		for i, x := range c {
			list[i] = assume(x, atom, value)
		}
		return rule.Conj(list...)
	case rule.Or:
		list := make([]rule.Cond, len(c))
		for i, x := range c {
			list[i] = assume(x, atom, value)
		}
		return rule.Disj(list...)
	}
	if cond == atom {
		return rule.Const(value)
	}
	switch a := atom.(type) {
	case rule.Less:
		if b, ok := cond.(rule.Less); ok && a.Field == b.Field && (value && a.Bound <= b.Bound || !value && a.Bound >= b.Bound) {
			return rule.Const(value)
		}
	case rule.Like:
		b, ok := cond.(rule.Like)
		chunks := literals(a.Pattern)
		if ok && value && a.Field == b.Field && len(chunks) == 1 {
			return rule.Const(rule.MatchLike(b.Pattern, chunks[0]))
		}
	}
	return cond
}

// failingForbids warns of forbids whose evaluation can error: they do not apply
// then, and what they are about may be permitted.
func failingForbids(failures []failure) []string {
	var list []string
	for _, f := range failures {
		if f.policy.meta.Effect != rule.Forbid {
			continue
		}
		for _, where := range f.where {
			if satisfiable(where) {
				list = append(list, f.warning())
				break
			}
		}
	}
	return list
}

func (f *failure) warning() string {
	pos, what := f.policy.position(), "a condition"
	mend := "test with `has` first"
	if len(f.culprits) > 0 {
		n := f.smallest(f.culprits[0])
		pos, what = f.policy.expression(n), "`"+cedarText(n)+"`"
		switch n.(type) {
		case nodeAdd, nodeSub, nodeMult, nodeNegate, nodeCall:
			mend = "compute with less, or permit less"
		case nodeGetTag:
			mend = "test with `hasTag` first"
		}
	}
	return printable(fmt.Sprintf("%s: forbid %s: %s can error, and a policy that errors does not apply: it does not forbid there; %s", pos, f.policy.meta.ID, what, mend))
}

// smallest returns the part of an expression that errors, as far as nothing of
// the request is needed to tell.
func (f *failure) smallest(n node) node {
	found := n
	inspect(n, func(part node) bool {
		if depends(part) || part == nil {
			return true
		}
		if _, err := evaluate(part, f.env); err != nil {
			found = part
			return true
		}
		return false
	})
	return found
}
