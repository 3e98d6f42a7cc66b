package table

import (
	"fmt"
	"io"
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// Dump writes the table for a reader: the header's figures, the classes, then
// every node with its path and classes.
func (t *Table) Dump(out io.Writer) error {
	w := t.words
	everywhere := byKind(func(k abi.Kind) string { return k.Plural() + " " + list(t.Everywhere(k).String()) })
	_, err := fmt.Fprintf(out, "table: %d bytes, %d nodes, %d buckets, %d long names, %d rows, %d subtree rows, %d decision nodes, %d automata of %d states\nhandled: %s\neverywhere:%s\n",
		len(w)*8, t.Nodes, t.Buckets, t.LongNames, t.Rows, t.Subs, t.Decisions, t.Automata, t.States, t.Handled(), everywhere)
	if err != nil {
		return err
	}
	for i := range t.Rows {
		r := t.Row(i)
		if _, err := fmt.Fprintf(out, "class %d:%s\n", i, r.texts()); err != nil {
			return err
		}
	}
	if at := t.words[abi.HdrEnforced]; at != 0 {
		if _, err := fmt.Fprintf(out, "enforced policies: a table of their own of %d bytes, from word %d\n", len(t.Enforced().words)*8, at); err != nil {
			return err
		}
	}
	for i := t.Rows; i < t.Rows+t.Decisions; i++ {
		v := t.vertex(i)
		if _, err := fmt.Fprintf(out, "class %d: by %s:", i, v.dim()); err != nil {
			return err
		}
		for j := range v.kids() {
			if _, err := fmt.Fprintf(out, " %d", t.child(v, j)); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintln(out); err != nil {
			return err
		}
	}
	if err := t.dumpDims(out); err != nil {
		return err
	}
	return t.dumpNodes(out)
}

// dumpDims writes thresholds, and of an automaton the states with their
// outputs and what they read on the way to others.
func (t *Table) dumpDims(out io.Writer) error {
	for d := range abi.NumDims {
		classes := hi(t.words[abi.HdrDims+int(d)])
		var err error
		switch {
		case classes == 0 || d.Leader() != d:
		case d.Numeric():
			_, err = fmt.Fprintf(out, "%s: %d classes, from %d\n", d, classes, t.Thresholds(d))
		default:
			err = t.dumpAutomaton(out, d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func asSigned(w []uint64) []int64 {
	out := make([]int64, len(w))
	for i, v := range w {
		out[i] = int64(v)
	}
	return out
}

func (t *Table) dumpAutomaton(out io.Writer, d abi.Dim) error {
	a := t.automaton(d)
	if _, err := fmt.Fprintf(out, "%s: %d classes, automaton of %d states, %d byte classes\n",
		d, hi(t.words[abi.HdrDims+int(d)]), a.states(), hi(a[0])); err != nil {
		return err
	}
	var err error
	dumpStates(a.states(), a.output, func(s int, c byte) int { return a.run(s, string([]byte{c})) }, func(line string) {
		if err == nil {
			_, err = fmt.Fprintln(out, line)
		}
	})
	return err
}

// dumpStates writes the states of an automaton, a line each, with their outputs
// and what they read on the way to others.
func dumpStates(states int, output func(int) int, step func(int, byte) int, line func(string)) {
	for s := range states {
		var steps strings.Builder
		for c := 0; c < 256; {
			first, to := c, step(s, byte(c))
			for c < 256 && step(s, byte(c)) == to {
				c++
			}
			fmt.Fprintf(&steps, " %s→%d", span(first, c-1), to)
		}
		line(fmt.Sprintf("  state %d: class %d,%s", s, output(s), steps.String()))
	}
}

func span(first, last int) string {
	if first == last {
		return fmt.Sprintf("%q", []byte{byte(first)})
	}
	return fmt.Sprintf("%q…%q", []byte{byte(first)}, []byte{byte(last)})
}

func (t *Table) dumpNodes(out io.Writer) error {
	w := t.words
	type entry struct {
		parent int
		name   string
		meta   uint64
	}
	nodes := make([]entry, t.Nodes+RootNode)
	nodes[RootNode] = entry{meta: w[abi.HdrRoot]}
	for i := range t.Buckets * bucketSlots {
		slot := w[lo(w[abi.HdrEdges])+i*slotWords:][:slotWords]
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

// byKind writes something of each kind, with a space before it.
func byKind(text func(abi.Kind) string) string {
	texts := abi.Each(text)
	return " " + strings.Join(texts[:], "; ")
}

// texts writes a row.
func (r *Row) texts() string {
	return byKind(func(k abi.Kind) string { return strings.ToLower(k.String()) + " " + r.text(k) })
}

// text writes a row for a kind.
func (r *Row) text(k abi.Kind) string {
	s := fmt.Sprintf("allow=%s ask=%s", list(r.Allow[k].String()), list(r.Ask[k].String()))
	if r.Report[k] != 0 {
		s += " report=" + r.Report[k].String()
	}
	if r.Trip[k] != 0 {
		s += " trip=" + r.Trip[k].String()
	}
	return s
}

func list(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
