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
	if len(w) < abi.HdrWords || w[abi.HdrMagic] != abi.TableMagic || lo(w[abi.HdrSize]) != len(w) || len(w) > maxWords {
		return bad("no header, or of another format or of another size than %d words", len(w))
	}
	at := w[abi.HdrEnforced]
	if at == 0 {
		return verifyOne(w)
	}
	if at < abi.HdrWords || at > uint64(len(w)-abi.HdrWords) {
		return bad("the table of enforced policies stands at word %d of %d", at, len(w))
	}
	enforced := w[at:]
	if enforced[abi.HdrEnforced] != 0 || enforced[abi.HdrHandled] != w[abi.HdrHandled] || enforced[abi.HdrWanders] != w[abi.HdrWanders] || w[abi.HdrGains] != 0 {
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
	edges, buckets := lo(w[abi.HdrEdges]), hi(w[abi.HdrSize])
	meta := map[int]uint64{RootNode: w[abi.HdrRoot]}
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
		one, two := bucketsOf(hash(w[abi.HdrSeed], e.parent, len(name), nameWords(name)), buckets)
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
	size, buckets := len(w), hi(w[abi.HdrSize])
	edges, names := lo(w[abi.HdrEdges]), hi(w[abi.HdrEdges])
	rows, nrows := lo(w[abi.HdrRows]), hi(w[abi.HdrRows])
	subs, nsubs := lo(w[abi.HdrSubs]), hi(w[abi.HdrSubs])
	index, vertices := lo(w[abi.HdrNodes]), hi(w[abi.HdrNodes])
	bodies, data := lo(w[abi.HdrBodies]), lo(w[abi.HdrData])
	matrix, side := lo(w[abi.HdrGains]), hi(w[abi.HdrGains])
	switch {
	case buckets < 1 || buckets > maxWords/bucketWords || edges != abi.HdrWords:
		return bad("%d buckets at word %d", buckets, edges)
	case names != edges+buckets*bucketWords || rows < names:
		return bad("long names at word %d, rows at %d", names, rows)
	case nrows < 1 || nrows+vertices > abi.MaxClasses || subs != rows+nrows*abi.RowWords:
		return bad("%d rows at word %d, %d decision nodes", nrows, rows, vertices)
	case w[abi.HdrGains] != 0 && (matrix != subs+nsubs*abi.SumWords || side != nsubs+nrows+vertices || side > maxShapes):
		return bad("a gain matrix of side %d at word %d", side, matrix)
	case nsubs < 1 || nsubs > abi.MaxClasses || index != subs+nsubs*abi.SumWords+(side*side*gainBits+63)/64:
		return bad("%d subtree rows at word %d", nsubs, subs)
	case bodies != index+vertices || data != bodies+hi(w[abi.HdrBodies]) || size != data+hi(w[abi.HdrData]):
		return bad("decision nodes at word %d, dimensions at %d", bodies, data)
	case w[abi.HdrHandled]>>abi.MaxActions != 0 || w[abi.HdrWanders]&^w[abi.HdrHandled] != 0:
		return bad("handled actions %#x, and %#x that depend on the path", w[abi.HdrHandled], w[abi.HdrWanders])
	case w[abi.HdrKinds] != uint64(abi.NumKinds):
		return bad("%d kinds of resources of %d", w[abi.HdrKinds], abi.NumKinds)
	}
	for _, reserved := range [][2]int{{abi.HdrEverywhere + int(abi.NumKinds), abi.HdrWanders}, {abi.HdrDims + int(abi.NumDims), abi.HdrWords}} {
		for i := reserved[0]; i < reserved[1]; i++ {
			if w[i] != 0 {
				return bad("reserved word %d is %#x", i, w[i])
			}
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
	return verifyMeta(w, w[abi.HdrRoot])
}

// verifyRows checks that no row grants what is not handled, or says two things of an
// action, and that what is allowed everywhere is what the root's subtree says.
func verifyRows(w []uint64) error {
	rows, nrows, subs, nsubs := lo(w[abi.HdrRows]), hi(w[abi.HdrRows]), lo(w[abi.HdrSubs]), hi(w[abi.HdrSubs])
	for i := rows; i < subs+nsubs*abi.SumWords; i++ {
		if w[i]&^w[abi.HdrHandled] != 0 {
			return bad("word %d grants actions that are not handled", i)
		}
	}
	for i := range nrows * int(abi.NumKinds) {
		row := w[rows+i/int(abi.NumKinds)*abi.RowWords+i%int(abi.NumKinds):]
		granted, asked, reported, trips := row[abi.RowGranted], row[abi.RowAsked], row[abi.RowReported], row[abi.RowTrips]
		if granted&asked|granted&reported|asked&reported|trips&(granted|asked|reported) != 0 {
			return bad("row %d says two things of an action", i/int(abi.NumKinds))
		}
		if reported != 0 && w[abi.HdrEnforced] == 0 {
			return bad("row %d reports, and there is no table of enforced policies", i/int(abi.NumKinds))
		}
	}
	root := int(w[abi.HdrRoot] >> slotSub & 0xffff)
	if root >= nsubs {
		return bad("root has subtree row %d of %d", root, nsubs)
	}
	sum := w[subs+root*abi.SumWords:]
	for k := range int(abi.NumKinds) {
		if w[abi.HdrEverywhere+k] != sum[abi.SumAll+k] {
			return bad("word %d disagrees with the root's subtree", abi.HdrEverywhere+k)
		}
	}
	return nil
}

func verifyMeta(w []uint64, m uint64) error {
	nclasses, nsubs := uint64(hi(w[abi.HdrRows])+hi(w[abi.HdrNodes])), uint64(hi(w[abi.HdrSubs]))
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
		names, end := hi(w[abi.HdrEdges]), lo(w[abi.HdrRows])
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
