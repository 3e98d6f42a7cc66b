package compiler

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/gen"
)

// Policies written differently with equal meaning give equal tables, byte for
// byte. Two exceptions: where several automata read the path, and where
// conditions hang on the unknown, of which only the outlines are known.
func TestEqualMeaningGivesEqualTables(t *testing.T) {
	cases := 1500
	if testing.Short() {
		cases = 150
	}
	used := map[string]int{}
	counts := map[string]int{}
	for seed := range uint64(cases) {
		c := gen.New(seed, gen.Options{Requests: 200, Audits: true})
		one, err := Compile(caseInput(c))
		if err != nil {
			counts["refused"]++
			continue
		}
		rewritten := gen.Rewrite(c, seed, used)
		two, err := Compile(caseInput(rewritten))
		if err != nil { // an action of a list that does not apply to its resources
			counts["refused when rewritten"]++
			continue
		}
		residuals := len(one.Rules.Residuals)+len(two.Rules.Residuals) > 0
		for _, r := range c.Requests {
			if a, b := one.Decide(r), two.Decide(r); a != b && (!residuals || a != abi.Ask && b != abi.Ask) ||
				!residuals && one.Table.Reports(r) != two.Table.Reports(r) {
				t.Fatalf("seed %d: %s: %s, and %s when rewritten: the rewrite changes the meaning, or the compiler does\n%s\nrewritten\n%s", seed, gen.Show(r), a, b, c.Policies, rewritten.Policies)
			}
		}
		switch equal := bytes.Equal(one.Table.Bytes(), two.Table.Bytes()); {
		case equal:
			counts["equal"]++
			if one.Table.Decisions > 0 {
				counts["equal with decision nodes"]++
			}
			if one.Table.Automata > 0 {
				counts["equal with automata"]++
			}
			if one.Table.Enforced() != one.Table {
				counts["equal and reporting"]++
			}
		case residuals:
			counts["different with residuals"]++
		case automataOfPaths(one) > 1 || automataOfPaths(two) > 1:
			counts["different with several automata"]++
		default:
			t.Errorf("seed %d: two tables\n%s\nrewritten\n%s\n%v\n%v", seed, c.Policies, rewritten.Policies, one.Rules.Rules, two.Rules.Rules)
		}
	}
	showCounts(t, "rewrites", used, gen.Rewrites())
	showCounts(t, "tables", counts, nil)
	if n := counts["equal with automata"]; n*10 < cases {
		t.Errorf("%d of %d tables have automata: the test proves little", n, cases)
	}
	if n := counts["equal and reporting"]; n*20 < cases {
		t.Errorf("%d of %d tables report: the test proves little", n, cases)
	}
	if n := counts["refused"] + counts["refused when rewritten"]; n*10 > cases {
		t.Errorf("%d of %d cases are refused: the test proves little", n, cases)
	}
}

// automataOfPaths counts the automata that read the resource's path: the format
// keeps their places in words 16 to 19.
func automataOfPaths(p *Plan) int {
	n := 0
	for i := range 4 {
		if binary.LittleEndian.Uint64(p.Table.Bytes()[8*(16+i):]) != 0 {
			n++
		}
	}
	return n
}
