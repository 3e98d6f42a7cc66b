package table

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// verifyDims checks the data of every dimension: that its parts follow each
// other, that automata stay within their states and outputs within their
// classes, and that thresholds ascend.
func verifyDims(w []uint64) error {
	at := lo(w[abi.HdrData])
	for d := range abi.NumDims {
		begin, classes := lo(w[abi.HdrDims+int(d)]), hi(w[abi.HdrDims+int(d)])
		if lead := d.Leader(); lead != d {
			if w[abi.HdrDims+int(d)] != w[abi.HdrDims+int(lead)] {
				return bad("dimensions %s and %s differ", lead, d)
			}
			continue
		}
		if classes == 0 {
			if begin != 0 {
				return bad("dimension %s has data and no classes", d)
			}
			continue
		}
		if begin != at || at >= len(w) {
			return bad("dimension %s begins at word %d of %d", d, begin, len(w))
		}
		var used int
		var err error
		if d.Numeric() {
			used, err = verifyThresholds(w[at:], classes)
		} else {
			used, err = verifyAutomaton(w[at:], classes)
		}
		if err != nil {
			return err
		}
		at += used
	}
	switch {
	case at != len(w):
		return bad("dimensions end at word %d of %d", at, len(w))
	case w[abi.HdrExe] != exeIdentity(w):
		return bad("word %d is not the identity of the automaton of executables", abi.HdrExe)
	}
	return nil
}

func verifyThresholds(w []uint64, classes int) (used int, err error) {
	n := int(uint32(w[0]))
	if w[0]>>32 != 0 || n < 1 || n > abi.MaxThresholds || n >= len(w) || classes != n+1 {
		return 0, bad("%d thresholds for %d classes", w[0], classes)
	}
	for i := 1; i < n; i++ {
		if int64(w[i]) >= int64(w[i+1]) {
			return 0, bad("thresholds do not ascend")
		}
	}
	return n + 1, nil
}

func verifyAutomaton(w []uint64, classes int) (used int, err error) {
	states, bytes := lo(w[0]), hi(w[0])
	if states < 1 || states > 65535 || bytes < 1 || bytes > 256 || classes > states {
		return 0, bad("an automaton of %d states, %d byte classes and %d outputs", states, bytes, classes)
	}
	next := automatonHead + (states+3)/4
	used = next + (states*bytes+3)/4
	if used > len(w) {
		return 0, bad("an automaton of %d words in %d", used, len(w))
	}
	for i := range 256 {
		if int(w[1+i/8]>>(i%8*8)&0xff) >= bytes {
			return 0, bad("byte %d is in no class", i)
		}
	}
	if !packed(w[automatonHead:next], states, classes) || !packed(w[next:used], states*bytes, states) {
		return 0, bad("an automaton leads out of itself")
	}
	return used, nil
}

// packed checks n packed numbers: each below limit, and nothing after them.
func packed(w []uint64, n, limit int) bool {
	for i := range 4 * len(w) {
		if v := int(get16(w, i)); v >= limit && i < n || v != 0 && i >= n {
			return false
		}
	}
	return true
}

// exeIdentity tells the automata of executables of two tables apart.
func exeIdentity(w []uint64) uint64 {
	begin := lo(w[abi.HdrDims+int(abi.DimExe)])
	if begin == 0 {
		return 0
	}
	a := automaton(w[begin:])
	n := automatonHead + (a.states()+3)/4 + (a.states()*hi(a[0])+3)/4
	h := sha256.New()
	var buf [8]byte
	for _, word := range a[:n] {
		binary.LittleEndian.PutUint64(buf[:], word)
		h.Write(buf[:])
	}
	return max(binary.LittleEndian.Uint64(h.Sum(nil)), 1)
}

// verifyVertices checks that every decision node has a child for each class of
// its dimension, that children are rows or nodes of greater dimensions, and
// that its sums are right.
func verifyVertices(w []uint64) error {
	t := &Table{words: w}
	index, n := lo(w[abi.HdrNodes]), hi(w[abi.HdrNodes])
	at, end := lo(w[abi.HdrBodies]), lo(w[abi.HdrData])
	for i := range n {
		if w[index+i] != uint64(at) || at+vertexWords > end {
			return bad("decision node %d stands at word %d", i, w[index+i])
		}
		v := decision(w[at:end])
		if d := v.dim(); uint32(v[0]) >= uint32(abi.NumDims) || hi(w[abi.HdrDims+int(d)]) != v.kids() || v.kids() < 2 {
			return bad("decision node %d has %d children in dimension %d", i, v.kids(), uint32(v[0]))
		}
		used := vertexWords + (v.kids()+3)/4
		if used > len(v) || !packed(v[vertexWords:used], v.kids(), hi(w[abi.HdrRows])+n) {
			return bad("decision node %d leads out of the table", i)
		}
		at += used
	}
	if at != end {
		return bad("decision nodes end at word %d, not %d", end, at)
	}
	for i := range n {
		v := t.vertex(t.rows() + i)
		sum := everything()
		for j := range v.kids() {
			k := t.child(v, j)
			if k >= t.rows() && t.vertex(k).dim() <= v.dim() {
				return bad("decision node %d goes back", i)
			}
			sum = sum.join(t.sumOf(k))
		}
		if getSub(v[1:]) != sum {
			return bad("decision node %d sums up wrongly", i)
		}
	}
	return nil
}
