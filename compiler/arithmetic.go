package compiler

import (
	"math/big"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/stockade-dev/stockade/compiler/rule"
)

// computed is an arithmetic expression or a call of a function.
func (l *lowerer) computed(n node) symbol {
	switch n := n.(type) {
	case nodeNegate:
		return l.unary(n, n.Arg)
	case nodeAdd:
		return l.binary(n, n.Left, n.Right)
	case nodeSub:
		return l.binary(n, n.Left, n.Right)
	case nodeMult:
		return l.binary(n, n.Left, n.Right)
	case nodeCall:
		switch len(n.Args) {
		case 1:
			return l.unary(n, n.Args[0])
		case 2:
			return l.binary(n, n.Args[0], n.Args[1])
		}
	}
	l.blame(n)
	return broken
}

func (l *lowerer) unary(n, arg node) symbol {
	return l.mapped(l.value(arg), func(x term) symbol {
		if x.kind == termValue {
			return l.known(withOperands(n, nodeValue{Value: x.value}, nil))
		}
		if x.kind == termNumber {
			if s, ok := l.unaryNumber(n, x.number); ok {
				return s
			}
		}
		return l.uncomputed(n, x)
	})
}

func (l *lowerer) binary(n, left, right node) symbol {
	return l.combined(l.value(left), l.value(right), func(x, y term) symbol {
		if x.kind == termValue && y.kind == termValue {
			return l.known(withOperands(n, nodeValue{Value: x.value}, nodeValue{Value: y.value}))
		}
		if s, ok := l.binaryNumber(n, x, y); ok {
			return s
		}
		return l.uncomputed(n, x, y)
	})
}

// uncomputed is a computation that no table can hold.
func (l *lowerer) uncomputed(n node, operands ...term) symbol {
	reason := "this computation is not compiled"
	for _, t := range operands {
		if t.kind == termOpaque {
			reason = t.opaque.reason
		}
	}
	if total(n, operands) {
		return certain(opaqueTerm(reason))
	}
	return l.opaqueResult(n, reason)
}

// total reports the computations that cannot error on operands of their types.
func total(n node, operands []term) bool {
	switch n := n.(type) {
	case nodeAdd, nodeSub:
		if operands[0].kind != termNumber || operands[1].kind != termNumber {
			return false
		}
		a, b := operands[0].number, operands[1].number
		loA, hiA := a.bounds()
		loB, hiB := b.bounds()
		if _, sub := n.(nodeSub); sub {
			loB, hiB = new(big.Int).Neg(hiB), new(big.Int).Neg(loB)
		}
		return loB.Add(loB, loA).Cmp(minInt) >= 0 && hiB.Add(hiB, hiA).Cmp(maxInt) <= 0
	case nodeCall:
		switch n.Name {
		case "toDate", "toTime", "toDays", "toHours", "toMinutes", "toSeconds", "toMilliseconds",
			"isIpv4", "isIpv6", "isLoopback", "isMulticast", "isInRange",
			"lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual":
			return true
		}
	}
	return false
}

// stepped is a number after one more step, and its overflow.
func (l *lowerer) stepped(n node, x *number) symbol {
	return l.erring(n, certain(term{kind: termNumber, number: x}), l.overflow(x))
}

var units = map[types.Path]int64{"toDays": rule.Day, "toHours": 3_600_000, "toMinutes": 60_000, "toSeconds": 1000, "toMilliseconds": 1}

func (l *lowerer) unaryNumber(n node, x *number) (symbol, bool) {
	call, ok := n.(nodeCall)
	if !ok {
		return l.stepped(n, x.with(x.sort, stepMul, big.NewInt(-1))), x.sort == sortLong
	}
	if unit, ok := units[call.Name]; ok && x.sort == sortDuration {
		return l.stepped(n, x.with(sortLong, stepDiv, big.NewInt(unit))), true
	}
	switch {
	case call.Name == "toDate" && x.sort == sortDatetime:
		return l.stepped(n, x.with(sortDatetime, stepFloor, big.NewInt(rule.Day))), true
	case call.Name == "toTime" && x.sort == sortDatetime:
		return l.timeOfDay(x)
	}
	return symbol{}, false
}

// timeOfDay is x.toTime() where x is now plus a constant k. Before 1970, which
// a negative k can reach, it counts from midnight backwards.
func (l *lowerer) timeOfDay(x *number) (symbol, bool) {
	k := new(big.Int)
	for _, s := range x.steps {
		if s.kind != stepAdd {
			return symbol{}, false
		}
		k.Add(k, s.k)
	}
	if x.field != rule.Now {
		return symbol{}, false
	}
	day := big.NewInt(rule.Day)
	early := never
	out := symbol{e: never}
	if k.Sign() < 0 {
		if k.CmpAbs(day) >= 0 {
			return symbol{}, false
		}
		early = l.less(&number{field: rule.Now}, new(big.Int).Neg(k))
		before := &number{rule.Now, sortDuration, []step{{stepAdd, k}}}
		out.cases = append(out.cases, choice{early, term{kind: termNumber, number: before}})
	}
	shift := new(big.Int).Mod(k, day)
	clock := &number{field: rule.DayTime, sort: sortDuration}
	if shift.Sign() == 0 {
		out.cases = append(out.cases, choice{l.neg(early), term{kind: termNumber, number: clock}})
		return out, true
	}
	wraps := clock.atLeast(new(big.Int).Sub(day, shift))
	today := clock.with(sortDuration, stepAdd, shift)
	tomorrow := clock.with(sortDuration, stepAdd, new(big.Int).Sub(shift, day))
	out.cases = append(out.cases,
		choice{l.conj(l.neg(early), l.neg(wraps)), term{kind: termNumber, number: today}},
		choice{l.conj(l.neg(early), wraps), term{kind: termNumber, number: tomorrow}})
	return out, true
}

// binaryNumber computes with one number of the request and one constant.
func (l *lowerer) binaryNumber(n node, a, b term) (symbol, bool) {
	x, c, sortC, left := a.number, (*big.Int)(nil), sortLong, true
	var ok bool
	switch {
	case a.kind == termNumber && b.kind == termValue:
		c, sortC, ok = constantOf(b)
	case a.kind == termValue && b.kind == termNumber:
		x, left = b.number, false
		c, sortC, ok = constantOf(a)
	}
	if !ok {
		return symbol{}, false
	}
	longs := x.sort == sortLong && sortC == sortLong
	switch n := n.(type) {
	case nodeAdd:
		return l.stepped(n, x.with(sortLong, stepAdd, c)), longs
	case nodeSub:
		return l.difference(n, x, c, left, sortLong), longs
	case nodeMult:
		if c.Sign() == 0 {
			return certain(valueTerm(types.Long(0))), longs
		}
		return l.stepped(n, x.with(sortLong, stepMul, c)), longs
	case nodeCall:
		times := x.sort == sortDatetime && sortC == sortDatetime
		switch n.Name {
		case "offset":
			fits := left && x.sort == sortDatetime && sortC == sortDuration ||
				!left && x.sort == sortDuration && sortC == sortDatetime
			return l.stepped(n, x.with(sortDatetime, stepAdd, c)), fits
		case "durationSince":
			return l.difference(n, x, c, left, sortDuration), times
		}
	}
	return symbol{}, false
}

// difference is x - c or, if x is not on the left, c - x.
func (l *lowerer) difference(n node, x *number, c *big.Int, left bool, s unit) symbol {
	if left {
		return l.stepped(n, x.with(s, stepAdd, new(big.Int).Neg(c)))
	}
	return l.stepped(n, x.with(s, stepMul, big.NewInt(-1)).with(s, stepAdd, c))
}
