package hold

import (
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// askedBy returns what can be asked of operations that wait.
func askedBy(which bpf.Hold) abi.ActionMask {
	var m abi.ActionMask
	if which&bpf.HoldExec != 0 {
		m |= abi.MaskOf(abi.Execute)
	}
	if which&bpf.HoldOpen != 0 {
		m |= abi.MaskOf(abi.Open, abi.Read, abi.Write)
	}
	return m
}
