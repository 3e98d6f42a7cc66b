package compiler

import (
	"math"
	"math/big"
	"slices"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/stockade-dev/stockade/compiler/rule"
)

// unit is the Cedar type of a number.
type unit uint8

const (
	sortLong unit = iota
	sortDatetime
	sortDuration
)

// number is a field of the request and what was computed from it. Every step
// is monotone, so a comparison with a constant is one with the field.
type number struct {
	field rule.Field
	sort  unit
	steps []step
}

// stepKind is the sort of a step.
type stepKind uint8

const (
	stepAdd   stepKind = iota // + k
	stepMul                   // * k, k not 0
	stepDiv                   // / k towards zero, k > 0
	stepFloor                 // the multiple of k next to it, towards zero
)

type step struct {
	kind stepKind
	k    *big.Int
}

var (
	minInt = big.NewInt(math.MinInt64)
	maxInt = big.NewInt(math.MaxInt64)
	one    = big.NewInt(1)
)

// with returns the number after one more step.
func (x *number) with(s unit, kind stepKind, k *big.Int) *number {
	return &number{x.field, s, append(slices.Clip(x.steps), step{kind, k})}
}

// equal reports whether two numbers are the same for every request.
func (x *number) equal(y *number) bool {
	return x.field == y.field && x.sort == y.sort &&
		slices.EqualFunc(x.steps, y.steps, func(a, b step) bool { return a.kind == b.kind && a.k.Cmp(b.k) == 0 })
}

// domain returns the least and the greatest value of a field that a request
// can have.
func domain(f rule.Field) (lo, hi int64) {
	return f.Fact().Least, f.Fact().Most
}

// bounds returns the least and the greatest value of a number.
func (x *number) bounds() (lo, hi *big.Int) {
	least, greatest := domain(x.field)
	lo, hi = x.apply(big.NewInt(least)), x.apply(big.NewInt(greatest))
	if lo.Cmp(hi) > 0 {
		lo, hi = hi, lo
	}
	return lo, hi
}

// apply computes the number for one value of its field.
func (x *number) apply(v *big.Int) *big.Int {
	v = new(big.Int).Set(v)
	for _, s := range x.steps {
		switch s.kind {
		case stepAdd:
			v.Add(v, s.k)
		case stepMul:
			v.Mul(v, s.k)
		case stepDiv:
			v.Quo(v, s.k)
		case stepFloor:
			v.Mul(v.Quo(v, s.k), s.k)
		}
	}
	return v
}

// atLeast returns where x >= c.
func (x *number) atLeast(c *big.Int) formula {
	c = new(big.Int).Set(c)
	holds := true
	for _, s := range slices.Backward(x.steps) {
		switch s.kind {
		case stepAdd:
			c.Sub(c, s.k)
		case stepMul:
			if s.k.Sign() > 0 {
				c = ceilDiv(c, s.k)
				break
			}
			// k·y >= c where y <= floor(c/k), that is not y >= floor(c/k)+1.
			c = new(big.Int).Neg(ceilDiv(c, new(big.Int).Neg(s.k)))
			c.Add(c, one)
			holds = !holds
		case stepDiv:
			c = quotientAtLeast(c, s.k)
		case stepFloor:
			c = quotientAtLeast(ceilDiv(c, s.k), s.k)
		}
	}
	f := fieldAtLeast(x.field, c)
	if !holds {
		return formula{rule.Neg(f.cond), f.size}
	}
	return f
}

// ceilDiv is a/b rounded up, b > 0.
func ceilDiv(a, b *big.Int) *big.Int {
	q, m := new(big.Int), new(big.Int)
	if q.DivMod(a, b, m); m.Sign() > 0 {
		q.Add(q, one)
	}
	return q
}

// quotientAtLeast returns the least v whose quotient by d, towards zero, is at
// least c.
func quotientAtLeast(c, d *big.Int) *big.Int {
	v := new(big.Int).Mul(c, d)
	if c.Sign() > 0 {
		return v
	}
	return v.Add(v.Sub(v, d), one)
}

// fieldAtLeast returns where a field is at least c. What a clock shows is compared
// as it is; of other numbers the range is known.
func fieldAtLeast(f rule.Field, c *big.Int) formula {
	lo, hi := int64(math.MinInt64), int64(math.MaxInt64)
	if !f.Fact().Clock {
		lo, hi = domain(f)
	}
	switch {
	case c.Cmp(big.NewInt(lo)) <= 0:
		return always
	case c.Cmp(big.NewInt(hi)) > 0:
		return never
	}
	return formula{rule.Neg(rule.Less{Field: f, Bound: c.Int64()}), 2}
}

// equals returns where x equals c.
func (l *lowerer) equals(x *number, c *big.Int) formula {
	return l.conj(x.atLeast(c), l.neg(x.atLeast(new(big.Int).Add(c, one))))
}

// less returns where x < c.
func (l *lowerer) less(x *number, c *big.Int) formula { return l.neg(x.atLeast(c)) }

// overflow returns where x does not fit into 64 bits.
func (l *lowerer) overflow(x *number) formula {
	if lo, hi := x.bounds(); lo.Cmp(minInt) >= 0 && hi.Cmp(maxInt) <= 0 {
		return never
	}
	return l.disj(l.neg(x.atLeast(minInt)), x.atLeast(new(big.Int).Add(maxInt, one)))
}

// constantOf returns the number of a value, and its type.
func constantOf(t term) (c *big.Int, s unit, ok bool) {
	switch v := t.value.(type) {
	case types.Long:
		return big.NewInt(int64(v)), sortLong, true
	case types.Datetime:
		return big.NewInt(v.Milliseconds()), sortDatetime, true
	case types.Duration:
		return big.NewInt(v.ToMilliseconds()), sortDuration, true
	}
	return nil, 0, false
}
