package rule

import (
	"math/rand/v2"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
)

func TestComplementsFold(t *testing.T) {
	a := And{PathEq{"/a"}, Less{UID, 3}}
	for _, c := range []struct{ got, want Cond }{
		{Disj(Unknown{1}, Not{Unknown{1}}), Const(true)},
		{Conj(Unknown{1}, PathEq{"/a"}, Not{Unknown{1}}), Const(false)},
		{Conj(Is{abi.Dir}, Is{abi.Dir}), Is{abi.Dir}},
		{Conj(Is{abi.Dir}, Not{Is{abi.Dir}}), Const(false)},
		{Disj(a, Not{a}), Const(true)},
		{Disj(PathEq{"/b"}, Not{a}, a), Const(true)},
	} {
		if c.got.String() != c.want.String() {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
	if c := Disj(Unknown{1}, Not{Unknown{2}}); c.String() != "(ask#1 | !ask#2)" {
		t.Errorf("different unknowns fold to %s", c)
	}
}

// random writes a formula without folding it.
func random(g *rand.Rand, depth int) Cond {
	if depth == 0 {
		return []Cond{Is{abi.Dir}, PathEq{"/a"}, PathBelow{"/a"}, Like{Exe, "/b*"}, Less{UID, 5}, Unknown{g.IntN(2)}, Const(g.IntN(2) == 0)}[g.IntN(7)]
	}
	x, y := random(g, depth-1), random(g, depth-1)
	switch g.IntN(4) {
	case 0:
		return Not{x}
	case 1:
		return Or{x, y, Not{x}}
	case 2:
		return Or{x, y}
	}
	return And{x, y}
}

// folded builds a formula again, with folding.
func folded(c Cond) Cond {
	switch c := c.(type) {
	case Not:
		return Neg(folded(c.X))
	case And:
		list := make([]Cond, len(c))
		for i, x := range c {
			list[i] = folded(x)
		}
		return Conj(list...)
	case Or:
		list := make([]Cond, len(c))
		for i, x := range c {
			list[i] = folded(x)
		}
		return Disj(list...)
	}
	return c
}

// Folding may know more than Eval, never something else.
func TestFoldingKeepsTheMeaning(t *testing.T) {
	requests := []*abi.Request{{Path: "/a"}, {Kind: abi.Dir, Path: "/a/b", Facts: abi.Facts{Exe: "/bin", UID: 9}},
		{Kind: abi.Dir, Path: "/a", Facts: abi.Facts{Exe: "/b"}}, {Path: "/c", Facts: abi.Facts{UID: 5}}}
	definite := 0
	for seed := range uint64(20_000) {
		c := random(rand.New(rand.NewPCG(seed, 1)), int(seed%5))
		f := folded(c)
		for _, r := range requests {
			before, after, known := Eval(c, r), Eval(f, r), Known(c, r)
			if before != Unclear && (after != before || known != Const(before == True)) {
				t.Fatalf("%s is %d, folded %s is %d, known %s", c, before, f, after, known)
			}
			if after != Unclear {
				definite++
			}
			if again := Eval(Renumber(f, func(i int) int { return i + 7 }), r); again != after {
				t.Fatalf("renumbered %s is %d, was %d", f, again, after)
			}
		}
	}
	if definite < 40_000 {
		t.Errorf("%d definite values: the comparison proves little", definite)
	}
}
