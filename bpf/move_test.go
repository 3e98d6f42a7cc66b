package bpf_test

import (
	"fmt"
	"strings"

	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/gen"
)

// move compares the rules of moves, and samples what they promise.
func (a *arena) move(r abi.Request, to string) error {
	if to == "/" {
		return nil
	}
	need := abi.MaskOf(abi.Create, abi.Write)
	if len(r.Path)%2 == 0 {
		need = abi.MaskOf(abi.Move, abi.Delete)
	}
	r.Kind %= abi.NumPaths // no other moves
	m, err := bpf.SameMove(a.walker, a.plan.Table, r, to, need)
	if err != nil {
		return err
	}
	if m.Guarded {
		a.total.guarded++
	}
	if m.Loses {
		a.total.loses++
	}
	if m.Gains {
		a.total.gains++
	} else {
		a.total.kept++
	}
	if (len(r.Path)+len(to))%sampled != 0 { // the same in a shrunk case
		return nil
	}
	return a.keeps(r, to, m)
}

// keeps samples a move: one that gains nothing allows and asks no action at the new
// place that was less at the old one, nor beneath; of one that loses nothing, what is
// beneath a directory may be made and written as before.
func (a *arena) keeps(r abi.Request, to string, m bpf.Moved) error {
	old, now := r, r
	now.Path = to
	beneath := r.Kind == abi.Dir && a.random.IntN(2) == 0
	if beneath {
		name := []string{"a", "b", "c", "ab", ".env"}[a.random.IntN(5)]
		old.Path, now.Path = strings.TrimSuffix(old.Path, "/")+"/"+name, now.Path+"/"+name
		old.Kind = abi.Kind(a.random.IntN(2))
		now.Kind = old.Kind
	}
	for i := range 6 {
		old.Action = abi.EnforcedActions.Actions()[a.random.IntN(len(abi.EnforcedActions.Actions()))]
		fills := i > 3
		if fills {
			old.Action = []abi.Action{abi.Create, abi.Write}[i%2]
		}
		now.Action = old.Action
		before, after := a.plan.Decide(old), a.plan.Decide(now)
		if !m.Gains && before != after && before != abi.Allow && after != abi.Deny {
			return fmt.Errorf("moving %s %q to %q gains nothing, but %s is %s; it was %s", r.Kind, r.Path, to, gen.Show(now), after, before)
		}
		if beneath && fills && !m.Loses && before != after && before != abi.Deny && after != abi.Allow {
			return fmt.Errorf("moving %s %q to %q loses nothing, but %s is %s; it was %s", r.Kind, r.Path, to, gen.Show(now), after, before)
		}
	}
	return nil
}
