package agent

import (
	"slices"

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
	words := plan.Table.Words()
	if e.Automaton == 0 || e.Automaton != words[headerExe] {
		return f
	}
	// The verdict knew the executable by its class when it was executed; its
	// name may have changed. Of the parent the event has the class alone.
	if plan.Table.ClassOf(abi.DimExe, &abi.Request{Facts: f}) != int(e.ExeClass) {
		f.Exe = exeOf(words, e.ExeClass)
	}
	f.Parent = exeOf(words, e.ParentClass)
	return f
}

// Words of a table's header, and sizes in an automaton; see
// docs/table-format.md.
const (
	headerExe        = 12
	headerDims       = 16
	automatonOutputs = 33
)

// exeOf returns a shortest path that a table's automaton of executables puts
// into a class: one name for all that the policies do not tell apart.
func exeOf(words []uint64, class uint16) string {
	at := words[headerDims+int(abi.DimExe)]
	if at == 0 {
		at = words[headerDims+int(abi.DimParent)]
	}
	a := words[uint32(at):]
	states, classes := int(uint32(a[0])), int(a[0]>>32)
	outputs := a[automatonOutputs:]
	next := outputs[(states+3)/4:]
	texts := map[uint16]string{0: ""}
	for queue := []uint16{0}; len(queue) > 0; queue = queue[1:] {
		state := queue[0]
		if get16(outputs, int(state)) == class {
			return texts[state]
		}
		for _, b := range legible {
			to := get16(next, int(state)*classes+int(a[1+b/8]>>(b%8*8)&0xff))
			if _, seen := texts[to]; !seen {
				texts[to] = texts[state] + string([]byte{b})
				queue = append(queue, to)
			}
		}
	}
	return ""
}

// get16 returns number i of numbers packed four a word.
func get16(words []uint64, i int) uint16 { return uint16(words[i/4] >> (i % 4 * 16)) }

// legible lists all bytes, those first that read well in a path.
var legible = func() []byte {
	list := []byte("/")
	for _, r := range [][2]int{{'a', 'z'}, {'0', '9'}, {' ', '~'}, {0, 255}} {
		for b := r[0]; b <= r[1]; b++ {
			if !slices.Contains(list, byte(b)) {
				list = append(list, byte(b))
			}
		}
	}
	return list
}()
