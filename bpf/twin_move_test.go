package bpf

import (
	"fmt"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/table"
)

// SameMove compares what the two walkers say of a move.
func SameMove(w *Walker, tab *table.Table, r abi.Request, to string, need abi.ActionMask) (Moved, error) {
	want := Moved{Gains: tab.Gains(r.Kind, r.Path, to), Loses: r.Kind == abi.Dir && tab.Loses(r.Path, to),
		Guarded: tab.Guards(r.Path, need), GuardTo: tab.Guards(to, need)}
	got, err := w.Move(r.Kind, r.Path, to, need)
	if err == nil && got != want {
		err = fmt.Errorf("moving %s %q to %q, guarded for %s: Go walker %+v, BPF walker %+v", r.Kind, r.Path, to, need, want, got)
	}
	return got, err
}
