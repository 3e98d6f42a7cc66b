package agent

import (
	"io"
	"os"

	"github.com/stockade-dev/stockade/agent/sink"
)

// Sink takes the denials and the summary of a run.
type Sink = sink.Output

// Output describes a sink that writes.
type Output struct {
	// JSON writes an object a line, for programs; else lines for a reader.
	JSON bool
	// Quiet leaves out the denials; the summary stays.
	Quiet bool
}

// To returns a sink that writes to w.
func (o Output) To(w io.Writer) Sink {
	if o.JSON {
		return &sink.JSON{W: w, Quiet: o.Quiet}
	}
	return &sink.Text{W: w, Quiet: o.Quiet}
}

// OpenLog opens a file to append to.
func OpenLog(name string) (*os.File, error) { return sink.Append(name) }

// SinkQueue is a sink with what waits for it.
type SinkQueue = sink.Queue

// OpenSink opens a sink of a kind; relative paths in its argument count from a folder.
func OpenSink(kind, argument, folder string) (*SinkQueue, error) {
	return sink.Open(kind, argument, folder)
}

// SinkKinds lists the kinds of sinks.
func SinkKinds() []string { return sink.Kinds() }
