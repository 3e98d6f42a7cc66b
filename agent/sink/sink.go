package sink

import "os"

// Sink takes events. One that is handed to a Queue is called by one goroutine at a
// time.
type Sink interface {
	// Event takes one; an error says that it is lost.
	Event(*Event) error
	// Close ends it, after all else.
	Close() error
}

// onFile is a sink that keeps a file. One that wraps a File embeds it, and is one, too.
type onFile interface {
	// Discard closes it before anything was handed over: a file that was made for it is
	// removed.
	Discard()
	// regular tells the file, if it is a regular one.
	regular() os.FileInfo
}

// Output takes what happens during a run. Calls come from one goroutine at a
// time.
type Output interface {
	// Event is called for every event, in order.
	Event(*Event) error
	// Note is called for what else a reader must know.
	Note(workload, text string)
	// Summary is called once, at the end.
	Summary(*Summary)
}
