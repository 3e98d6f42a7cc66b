package inspect

import (
	"fmt"
	"io"
)

// Version is that of the form of a document: it grows when a field goes or gets another
// meaning; more fields do not change it.
const Version = 1

// document writes one JSON object that holds an array of records, one a line.
type document struct {
	w       io.Writer
	limit   int64
	n       int64 // bytes
	records int
}

// begin writes what comes before the records.
func (d *document) begin(collector string) error {
	array := Processes
	if collector == ControlGroup {
		array = ControlGroup
	}
	return d.write(fmt.Sprintf("{\n  \"type\": %q,\n  \"version\": %d,\n  %q: [", collector, Version, array))
}

// add writes a record, unless it is one too many bytes.
func (d *document) add(record []byte) error {
	const around = 6
	if d.n+int64(len(record))+around > d.limit {
		return fmt.Errorf("inspect: it is longer than %d bytes: what follows is left out; ask for fewer processes at a time", d.limit)
	}
	before := ",\n    "
	if d.records == 0 {
		before = before[1:]
	}
	d.records++
	return d.write(before + string(record))
}

// tail is what a document ends with.
type tail struct {
	Cut Cuts `json:"cut,omitempty"`
	// Incomplete says why records are missing.
	Incomplete string `json:"incomplete,omitempty"`
}

// end writes what comes after the records.
func (d *document) end(t tail) error {
	text := "\n  ]"
	if t.Cut != nil {
		text += ",\n  \"cut\": " + string(marshal(t.Cut))
	}
	if t.Incomplete != "" {
		text += ",\n  \"incomplete\": " + string(marshal(t.Incomplete))
	}
	return d.write(text + "\n}\n")
}

func (d *document) write(text string) error {
	n, err := io.WriteString(d.w, text)
	d.n += int64(n)
	if err != nil {
		return &writeError{err}
	}
	return nil
}

// writeError is a failure of the writer: there is no use in writing more to it.
type writeError struct{ error }

func (e *writeError) Error() string {
	return fmt.Sprintf("inspect: write: %v: the document is torn; mend what it is written to", e.error)
}

func (e *writeError) Unwrap() error { return e.error }
