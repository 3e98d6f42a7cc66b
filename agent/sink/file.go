package sink

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// File appends events to a file, or to what stands in for one. Several goroutines may
// use it.
type File struct {
	mu   sync.Mutex
	file *os.File // nil: not its own
	out  Output
}

// lines is a writer that knows whether it ended within a line.
type lines struct {
	io.Writer
	torn bool
}

// Write writes p, whole lines. One that was torn is ended first.
func (l *lines) Write(p []byte) (int, error) {
	if l.torn {
		if _, err := io.WriteString(l.Writer, "\n"); err != nil {
			return 0, err
		}
	}
	n, err := l.Writer.Write(p)
	l.torn = err != nil && n > 0
	return n, err
}

// Append opens a file to append to, made for its owner alone. A fifo that nobody reads is
// an error: to open it would wait.
func Append(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NONBLOCK, 0o600)
}

// OpenFile opens a file to append to, with lines for a reader or JSON objects.
func OpenFile(name string, json bool) (*File, error) {
	file, err := Append(name)
	if err != nil {
		return nil, fmt.Errorf("%w: nothing is changed; name another file, or make its folder", err)
	}
	f := NewFile(file, json)
	f.file = file
	return f, nil
}

// NewFile appends to w, which stays open.
func NewFile(w io.Writer, json bool) *File {
	to := &lines{Writer: w}
	if json {
		return &File{out: &JSON{W: to}}
	}
	return &File{out: &Text{W: to}}
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
