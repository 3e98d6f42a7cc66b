package table

import (
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// Gains reports whether moving or linking a resource from one path to another
// could grant it, or anything beneath it, an action that it lacks at from: the
// no-gain rule. Where the table does not tell the answer is true. Policies in
// audit do not count.
func (t *Table) Gains(k abi.Kind, from, to string) bool {
	t = t.Enforced()
	old, now := t.Find(from), t.Find(to)
	if t.gainsItself(k, t.bind(old.Class, from), t.bind(now.Class, to)) {
		return true
	}
	return k == abi.Dir && t.beneath(old, now, from, to)&gainBeneath != 0
}

// Loses reports whether moving a directory could bring along what may be made or
// written beneath from, and not beneath to: the no-loss rule. Where the table does
// not tell the answer is true. Policies in audit do not count.
func (t *Table) Loses(from, to string) bool {
	t = t.Enforced()
	return t.beneath(t.Find(from), t.Find(to), from, to)&lostBeneath != 0
}

// gainsItself judges the resource without what is beneath it.
func (t *Table) gainsItself(k abi.Kind, old, now int) bool {
	if subs := hi(t.words[abi.HdrSubs]); t.words[abi.HdrGains] != 0 {
		return t.gain(subs+old, subs+now)&(gainItself<<k) != 0
	}
	return (old != now || t.wanders()) && t.sumOf(now).Any[k]&^t.sumOf(old).All[k] != 0
}

// wanders reports that what is asked may depend on the path.
func (t *Table) wanders() bool { return t.words[abi.HdrWanders] != 0 }

// beneath judges what is beneath a directory: gainBeneath and lostBeneath.
func (t *Table) beneath(old, now Match, from, to string) (bits uint64) {
	if t.sameStates(from, to) {
		if t.words[abi.HdrGains] != 0 {
			return t.gain(t.shape(old), t.shape(now))
		}
		if old.Sub < 0 && now.Sub < 0 && old.Class == now.Class && !t.wanders() {
			return 0
		}
	}
	a, b := t.SubOf(old), t.SubOf(now)
	for k := range abi.NumPaths {
		if b.Any[k]&^a.All[k] != 0 {
			bits |= gainBeneath
		}
		if a.Any[k]&^b.All[k]&lost != 0 {
			bits |= lostBeneath
		}
	}
	return bits
}

// Guards reports whether a place is one that policy sets apart: at or beneath it
// some of the actions are not allowed, and that is for its own name, or so for
// everything there. What patterns forbid under any name does not count: in that, no
// place differs from another beside it. Policies in audit do not count.
func (t *Table) Guards(path string, need abi.ActionMask) bool {
	t = t.Enforced()
	need &= t.Handled()
	m := t.Find(path)
	s := t.SubOf(m)
	if need&^s.All.All() == 0 {
		return false
	}
	if m.Sub >= 0 || need&^s.Any.All() != 0 {
		return true
	}
	return !t.sameStates(path, path[:strings.LastIndexByte(path, '/')+1]+nameless)
}

// nameless stands for a name that no policy knows; no file has it.
const nameless = "\x00"

// shape is the place of a match in the gain matrix.
func (t *Table) shape(m Match) int {
	if m.Sub >= 0 {
		return m.Sub
	}
	return hi(t.words[abi.HdrSubs]) + m.Class
}

// gain returns the bits of a pair of the gain matrix.
func (t *Table) gain(old, now int) uint64 {
	at := (old*hi(t.words[abi.HdrGains]) + now) * gainBits
	return t.words[lo(t.words[abi.HdrGains])+at/64] >> (at % 64)
}

// sameStates reports that the automata which read paths have the same to come
// beneath two directories.
func (t *Table) sameStates(from, to string) bool {
	for d := range abi.DimUID {
		if hi(t.words[abi.HdrDims+int(d)]) > 0 {
			a := t.automaton(d)
			if a.run(0, slashed(from)) != a.run(0, slashed(to)) {
				return false
			}
		}
	}
	return true
}

// slashed is a directory's path as the beginning of the paths beneath it.
func slashed(dir string) string { return strings.TrimSuffix(dir, "/") + "/" }
