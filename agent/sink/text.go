package sink

import (
	"fmt"
	"io"
)

// Text writes lines for a reader.
type Text struct {
	W io.Writer
	// Quiet leaves out the denials; the summary stays.
	Quiet bool
	// Named has each denial name its workload.
	Named bool
}

// Event writes one line.
func (t *Text) Event(e *Event) error {
	if t.Quiet {
		return nil
	}
	line := e.Line()
	if t.Named {
		line = fmt.Sprintf("stockade: %s: %s", e.Workload, e.text())
	}
	_, err := fmt.Fprintln(t.W, line)
	return err
}

// Note writes one line.
func (t *Text) Note(workload, text string) {
	fmt.Fprintf(t.W, "stockade: %s: %s\n", workload, text)
}

// Summary writes the totals and, where there were many denials, the most
// frequent ones.
func (t *Text) Summary(s *Summary) { fmt.Fprint(t.W, s.Text()) }
