package compiler

import "github.com/stockade-dev/stockade/compiler/rule"

// maxFormula bounds the size of one policy's formula, counted as a tree: what
// comes after the compiler walks it as one.
const maxFormula = 1 << 22

// formula is a condition and the number of its nodes.
type formula struct {
	cond rule.Cond
	size int
}

// ternary is the meaning of a Cedar expression: the condition under which it
// is true and the one under which its evaluation errors. They exclude each
// other; elsewhere the expression is false.
type ternary struct {
	t, e formula
}

var (
	never  = formula{rule.Const(false), 1}
	always = formula{rule.Const(true), 1}
)

func constant(b bool) formula { return formula{rule.Const(b), 1} }
func simple(c rule.Cond) formula {
	return formula{c, 1}
}

// known is an expression that cannot error.
func known(f formula) ternary { return ternary{f, never} }

// failing is an expression that always errors.
var failing = ternary{never, always}

func (f formula) is(b bool) bool {
	c, ok := f.cond.(rule.Const)
	return ok && bool(c) == b
}

// conj is the conjunction, within the limit.
func (l *lowerer) conj(list ...formula) formula { return l.join(rule.Conj, list) }

// disj is the disjunction, within the limit.
func (l *lowerer) disj(list ...formula) formula { return l.join(rule.Disj, list) }

func (l *lowerer) join(op func(...rule.Cond) rule.Cond, list []formula) formula {
	size := 1
	conds := make([]rule.Cond, len(list))
	for i, f := range list {
		conds[i] = f.cond
		size += f.size
	}
	if l.spent += size; size > maxFormula || l.spent > 4*maxFormula {
		l.tooLarge = true
		return never
	}
	cond := op(conds...)
	if _, ok := cond.(rule.Const); ok {
		size = 1
	}
	return formula{cond, size}
}

func (l *lowerer) neg(f formula) formula { return formula{rule.Neg(f.cond), f.size + 1} }

// falsity is the condition under which x is false.
func (l *lowerer) falsity(x ternary) formula { return l.neg(l.disj(x.t, x.e)) }

// not is Cedar's !x.
func (l *lowerer) not(x ternary) ternary { return ternary{l.falsity(x), x.e} }

// and is Cedar's && over any number of operands, evaluated in order and only
// as far as needed.
func (l *lowerer) and(operands ...func() ternary) ternary {
	var ts, es []formula
	for _, operand := range operands {
		x := operand()
		if !x.e.is(false) {
			es = append(es, l.conj(append(ts[:len(ts):len(ts)], x.e)...))
		}
		ts = append(ts, x.t)
		if x.t.is(false) || l.tooLarge {
			break
		}
	}
	return ternary{l.conj(ts...), l.disj(es...)}
}

// or is Cedar's || over any number of operands.
func (l *lowerer) or(operands ...func() ternary) ternary {
	var ts, es, before []formula
	for _, operand := range operands {
		x := operand()
		guards := make([]formula, 0, len(es)+1)
		for _, e := range es {
			guards = append(guards, l.neg(e))
		}
		if !x.e.is(false) {
			unmet := make([]formula, 0, len(before)+1)
			for _, t := range before {
				unmet = append(unmet, l.neg(t))
			}
			es = append(es, l.conj(append(unmet, x.e)...))
		}
		ts = append(ts, l.conj(append(guards, x.t)...))
		before = append(before, x.t)
		if x.t.is(true) || x.e.is(true) || l.tooLarge {
			break
		}
	}
	return ternary{l.disj(ts...), l.disj(es...)}
}

// choose is Cedar's if c then a else b; a and b are lowered only if needed.
func (l *lowerer) choose(c ternary, a, b func() ternary) ternary {
	no := l.falsity(c)
	then, other := ternary{never, never}, ternary{never, never}
	if !c.t.is(false) {
		then = a()
	}
	if !no.is(false) {
		other = b()
	}
	return ternary{
		l.disj(l.conj(c.t, then.t), l.conj(no, other.t)),
		l.disj(c.e, l.conj(c.t, then.e), l.conj(no, other.e)),
	}
}
