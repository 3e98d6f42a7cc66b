package agent

import (
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// factsOf returns the facts that the verdict behind an event knew.
func factsOf(plan *compiler.Plan, e *abi.Event) abi.Facts {
	f := abi.Facts{UID: e.EUID, GID: e.EGID, Now: e.Now, Xattr: e.Xattr}
	if e.DestStatus == abi.PathOK {
		f.Dest = e.Dest
	}
	if e.ExeStatus == abi.PathOK {
		f.Exe = e.Exe
	}
	if e.Automaton == 0 || e.Automaton != plan.Table.ExeIdentity() {
		return f
	}
	// The verdict knew the executable by its class when it was executed; its
	// name may have changed. Of the parent the event has the class alone.
	if plan.Table.ClassOf(abi.DimExe, &abi.Request{Facts: f}) != int(e.ExeClass) {
		f.Exe = plan.Table.ExeOf(int(e.ExeClass))
	}
	f.Parent = plan.Table.ExeOf(int(e.ParentClass))
	return f
}
