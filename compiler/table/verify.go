package table

import (
	"fmt"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// Verify checks that a walk of w stays inside w and ends, whatever is asked:
// sizes, offsets, classes, dimensions and decision nodes (verify_dims.go), and
// that each edge stands in a bucket where the walker looks, under a parent that
// exists and has a smaller id. A table that reports ends with another one.
func Verify(w []uint64) error {
	if len(w) < headerWords || w[hdrMagic] != Magic || lo(w[hdrSize]) != len(w) || len(w) > maxWords {
		return bad("no header, or of another format or of another size than %d words", len(w))
	}
	at := w[hdrEnforced]
	if at == 0 {
		return verifyOne(w)
	}
	if at < headerWords || at > uint64(len(w)-headerWords) {
		return bad("the table of enforced policies stands at word %d of %d", at, len(w))
	}
	enforced := w[at:]
	if enforced[hdrEnforced] != 0 || enforced[hdrHandled] != w[hdrHandled] || w[hdrGains] != 0 {
		return bad("the table of enforced policies is of another kind")
	}
	if err := Verify(enforced); err != nil {
		return err
	}
	return verifyOne(w[:at])
}

// verifyOne checks a table without the one that follows it.
func verifyOne(w []uint64) error {
	if err := verifyHeader(w); err != nil {
		return err
	}
	edges, buckets := lo(w[hdrEdges]), hi(w[hdrSize])
	meta := map[int]uint64{RootNode: w[hdrRoot]}
	type edge struct {
		parent int
		slot   []uint64
		bucket int
	}
	var all []edge
	for i := range buckets * bucketSlots {
		slot := w[edges+i*slotWords:][:slotWords]
		if slot[0] == 0 {
			if slot[1]|slot[2]|slot[3] != 0 {
				return bad("slot %d is empty but not zero", i)
			}
			continue
		}
		id := hi(slot[0])
		if _, twice := meta[id]; twice || id <= lo(slot[0]) || lo(slot[0]) < RootNode {
			return bad("slot %d has node %d under %d", i, id, lo(slot[0]))
		}
		meta[id] = slot[1]
		all = append(all, edge{lo(slot[0]), slot, i / bucketSlots})
	}
	seen := make(map[string]bool, len(all))
	for _, e := range all {
		parent, ok := meta[e.parent]
		if !ok || parent&slotChildren == 0 {
			return bad("node %d has parent %d, which has no children", hi(e.slot[0]), e.parent)
		}
		name, err := verifySlot(w, e.slot)
		if err != nil {
			return err
		}
		one, two := bucketsOf(hash(w[hdrSeed], e.parent, len(name), nameWords(name)), buckets)
		if e.bucket != one && e.bucket != two {
			return bad("node %d stands where no walk looks", hi(e.slot[0]))
		}
		key := fmt.Sprintf("%d/%s", e.parent, name)
		if seen[key] {
			return bad("two nodes for one path component under node %d", e.parent)
		}
		seen[key] = true
	}
	return nil
}

func verifyHeader(w []uint64) error {
	size, buckets := len(w), hi(w[hdrSize])
	edges, names := lo(w[hdrEdges]), hi(w[hdrEdges])
	rows, nrows := lo(w[hdrRows]), hi(w[hdrRows])
	subs, nsubs := lo(w[hdrSubs]), hi(w[hdrSubs])
	index, vertices := lo(w[hdrIndex]), hi(w[hdrIndex])
	bodies, data := lo(w[hdrVertex]), lo(w[hdrData])
	matrix, side := lo(w[hdrGains]), hi(w[hdrGains])
	switch {
	case buckets < 1 || buckets > maxWords/bucketWords || edges != headerWords:
		return bad("%d buckets at word %d", buckets, edges)
	case names != edges+buckets*bucketWords || rows < names:
		return bad("long names at word %d, rows at %d", names, rows)
	case nrows < 1 || nrows+vertices > abi.MaxClasses || subs != rows+nrows*rowWords:
		return bad("%d rows at word %d, %d decision nodes", nrows, rows, vertices)
	case w[hdrGains] != 0 && (matrix != subs+nsubs*rowWords || side != nsubs+nrows+vertices || side > maxShapes):
		return bad("a gain matrix of side %d at word %d", side, matrix)
	case nsubs < 1 || nsubs > abi.MaxClasses || index != subs+nsubs*rowWords+(side*side*gainBits+63)/64:
		return bad("%d subtree rows at word %d", nsubs, subs)
	case bodies != index+vertices || data != bodies+hi(w[hdrVertex]) || size != data+hi(w[hdrData]):
		return bad("decision nodes at word %d, dimensions at %d", bodies, data)
	case w[hdrHandled]>>32&^(w[hdrHandled]&0xffffffff) != 0:
		return bad("handled actions %#x", w[hdrHandled])
	}
	for i := hdrGains + 1; i < headerWords; i++ {
		if w[i] != 0 && i != hdrEnforced && (i < hdrDims || i >= hdrDims+int(abi.NumDims)) {
			return bad("reserved word %d is %#x", i, w[i])
		}
	}
	if err := verifyDims(w); err != nil {
		return err
	}
	if err := verifyVertices(w); err != nil {
		return err
	}
	if err := verifyRows(w); err != nil {
		return err
	}
	return verifyMeta(w, w[hdrRoot])
}

// verifyRows checks that no row grants what is not handled, and that the
// everywhere word is what the root's subtree says.
func verifyRows(w []uint64) error {
	rows, nrows, subs, nsubs := lo(w[hdrRows]), hi(w[hdrRows]), lo(w[hdrSubs]), hi(w[hdrSubs])
	handled := w[hdrHandled]&0xffffffff | w[hdrHandled]<<32
	for i := rows; i < subs+nsubs*rowWords; i++ {
		if w[i]&^handled != 0 {
			return bad("word %d grants actions that are not handled", i)
		}
	}
	for i := rows; i < rows+nrows*rowWords; i++ {
		if uint32(w[i])&uint32(w[i]>>32) != 0 && w[hdrEnforced] == 0 {
			return bad("word %d reports, and there is no table of enforced policies", i)
		}
	}
	root := int(w[hdrRoot] >> slotSub & 0xffff)
	if root >= nsubs {
		return bad("root has subtree row %d of %d", root, nsubs)
	}
	row := w[subs+root*rowWords:]
	if w[hdrFile] != row[0]>>32|row[1]>>32<<32 {
		return bad("word %d disagrees with the root's subtree", hdrFile)
	}
	return nil
}

func verifyMeta(w []uint64, m uint64) error {
	nclasses, nsubs := uint64(hi(w[hdrRows])+hi(w[hdrIndex])), uint64(hi(w[hdrSubs]))
	if m&0xffff >= nclasses || m>>slotBelow&0xffff >= nclasses || m>>slotSub&0xffff >= nsubs || m>>57 != 0 {
		return bad("meta word %#x is out of range", m)
	}
	return nil
}

// verifySlot checks one slot and returns its name.
func verifySlot(w, slot []uint64) (string, error) {
	if err := verifyMeta(w, slot[1]); err != nil {
		return "", err
	}
	length := int(slot[1] >> slotLen & 0xff)
	words := []uint64{slot[2], slot[3]}
	if length > abi.InlineName {
		rest := (length+7)/8 - 1
		names, end := hi(w[hdrEdges]), lo(w[hdrRows])
		if slot[3] > uint64(end-names-rest) || end-names < rest {
			return "", bad("long name at %d runs out of %d words", slot[3], end-names)
		}
		words = append(words[:1], w[names+int(slot[3]):][:rest]...)
	}
	name := unpack(words)
	for i, c := range name {
		if (i < length) != (c != 0) || c == '/' {
			return "", bad("name of node %d is not %d bytes", hi(slot[0]), length)
		}
	}
	if length == 0 {
		return "", bad("node %d has no name", hi(slot[0]))
	}
	return string(name[:length]), nil
}

func unpack(words []uint64) []byte {
	t := Table{words: words}
	return t.Bytes()
}

func bad(format string, args ...any) error {
	return fmt.Errorf("policy table: "+format+": it is not installed; compile the policy again with this version", args...)
}
