package table

import "github.com/stockade-dev/stockade/bpf/abi"

// ExeIdentity is the identity of the automaton that tells executables apart, and
// their parents; 0 where policies test neither.
func (t *Table) ExeIdentity() uint64 { return t.words[abi.HdrExe] }

// ExeOf returns a shortest path of an executable in a class of abi.DimExe: one name for
// all that the policies do not tell apart; "" for that of no path, and where there is no
// such class.
func (t *Table) ExeOf(class int) string {
	texts := t.exes.Load()
	if texts == nil {
		var list []string
		if a := t.Automaton(abi.DimExe); a != nil {
			list = a.PathWitnesses()
		}
		texts = &list
		t.exes.Store(texts)
	}
	if class < 0 || class >= len(*texts) {
		return ""
	}
	return (*texts)[class]
}
