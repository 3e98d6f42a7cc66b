package agent

import (
	"io"

	"github.com/stockade-dev/stockade/agent/sink"
)

// Sink takes the denials and the summary of a run.
type Sink = sink.Output

// Format is how a sink writes.
type Format = sink.Format

// OutputTo returns the sink of a run that writes to what stays open, or to a file.
func OutputTo(w io.Writer, format Format) *sink.File { return sink.NewFile(w, format) }

// OpenOutput is OutputTo for a file, to which it appends.
func OpenOutput(name string, format Format) (*sink.File, error) { return sink.OpenFile(name, format) }

// SinkQueues are sinks with what waits for them.
type SinkQueues = sink.Queues

// OpenSink opens a sink of a kind; relative paths in its argument count from a folder.
func OpenSink(kind, argument, folder string) (*sink.Queue, error) {
	return sink.Open(kind, argument, folder)
}

// SinkKinds lists the kinds of sinks.
func SinkKinds() []string { return sink.Kinds() }
