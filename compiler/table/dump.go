package table

import (
	"fmt"
	"io"
	"strings"
)

// Dump writes the table for a reader: the header's figures, the classes, then
// every node with its path and classes.
func (t *Table) Dump(out io.Writer) error {
	w := t.words
	_, err := fmt.Fprintf(out, "table: %d bytes, %d nodes, %d buckets, %d long names, %d classes, %d subtree rows\nhandled: %s\neverywhere: files %s; directories %s\n",
		len(w)*8, t.Nodes, t.Buckets, t.LongNames, t.Classes, t.Subs, t.Handled(), list(t.Everywhere(0).String()), list(t.Everywhere(1).String()))
	if err != nil {
		return err
	}
	for i := range t.Classes {
		r := t.Row(i)
		if _, err := fmt.Fprintf(out, "class %d: file allow=%s ask=%s; dir allow=%s ask=%s\n", i,
			list(r.Allow[0].String()), list(r.Ask[0].String()), list(r.Allow[1].String()), list(r.Ask[1].String())); err != nil {
			return err
		}
	}
	return t.dumpNodes(out)
}

func (t *Table) dumpNodes(out io.Writer) error {
	w := t.words
	type entry struct {
		parent int
		name   string
		meta   uint64
	}
	nodes := make([]entry, t.Nodes+RootNode)
	nodes[RootNode] = entry{meta: w[hdrRoot]}
	for i := range t.Buckets * bucketSlots {
		slot := w[lo(w[hdrEdges])+i*slotWords:][:slotWords]
		if slot[0] == 0 {
			continue
		}
		name, err := verifySlot(w, slot)
		if err != nil {
			return err
		}
		nodes[hi(slot[0])] = entry{lo(slot[0]), name, slot[1]}
	}
	for id := RootNode; id < len(nodes); id++ {
		var parts []string
		for n := id; n > RootNode; n = nodes[n].parent {
			parts = append([]string{nodes[n].name}, parts...)
		}
		m := nodes[id].meta
		if _, err := fmt.Fprintf(out, "node %d: %q class %d, below %d, subtree %d\n",
			id, "/"+strings.Join(parts, "/"), m&0xffff, m>>slotBelow&0xffff, m>>slotSub&0xffff); err != nil {
			return err
		}
	}
	return nil
}

func list(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
