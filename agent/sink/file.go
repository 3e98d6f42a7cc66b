package sink

import (
	"fmt"
	"io"
	"os"
	"sync"
)

// File appends events to a file, or to what stands in for one. Several goroutines may
// use it.
type File struct {
	mu   sync.Mutex
	file *os.File // nil: not its own
	out  Output
}

// OpenFile opens a file to append to, with lines for a reader or JSON objects.
func OpenFile(name string, json bool) (*File, error) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: nothing is changed; name another file, or make its folder", err)
	}
	f := NewFile(file, json)
	f.file = file
	return f, nil
}

// NewFile appends to w, which stays open.
func NewFile(w io.Writer, json bool) *File {
	if json {
		return &File{out: &JSON{W: w}}
	}
	return &File{out: &Text{W: w}}
}

// Event writes one line.
func (f *File) Event(e *Event) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.out.Event(e)
}

// Close closes the file, if it was opened here.
func (f *File) Close() error {
	if f.file == nil {
		return nil
	}
	return f.file.Close()
}
