package sink

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// File appends events to a file, or to what stands in for one. Several goroutines may
// use it.
type File struct {
	mu   sync.Mutex
	file *os.File // nil: not its own
	to   *lines
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

// logPatience is how long a log that is a fifo may keep who writes waiting. What does not
// fit by then is lost, and counted: no other workload waits for it.
const logPatience = time.Second

// patient writes to a fifo whose reader may stand still. Once it did,
// nothing waits for it until it takes something again.
type patient struct {
	*os.File
	late bool
}

func (p *patient) Write(text []byte) (int, error) {
	limit := logPatience
	if p.late {
		limit = time.Millisecond
	}
	_ = p.SetWriteDeadline(time.Now().Add(limit))
	n, err := p.File.Write(text)
	p.late = errors.Is(err, os.ErrDeadlineExceeded)
	return n, err
}

// endsInALine: is what comes next in a regular file the beginning of a line? Who wrote
// to it before may have been cut off.
func endsInALine(name string) bool {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return true
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return true
	}
	last := make([]byte, 1)
	_, err = f.ReadAt(last, info.Size()-1)
	return err != nil || last[0] == '\n'
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
	return newFile(&lines{Writer: file, torn: !endsInALine(name)}, file, json), nil
}

// OpenLog is OpenFile for a file that several workloads may share, and that nobody's
// denials may wait for.
func OpenLog(name string, json bool) (*File, error) {
	f, err := OpenFile(name, json)
	if err != nil {
		return nil, err
	}
	if f.file.SetWriteDeadline(time.Time{}) == nil { // a regular file has none, and needs none
		f.to.Writer = &patient{File: f.file}
	}
	return f.shared(), nil
}

// NewFile appends to w, which stays open.
func NewFile(w io.Writer, json bool) *File { return newFile(&lines{Writer: w}, nil, json) }

// NewLog is NewFile for what several workloads may share.
func NewLog(w io.Writer, json bool) *File { return NewFile(w, json).shared() }

func newFile(to *lines, file *os.File, json bool) *File {
	f := &File{file: file, to: to, out: &Text{W: to}}
	if json {
		f.out = &JSON{W: to}
	}
	return f
}

// shared has each line name its workload: objects do.
func (f *File) shared() *File {
	if t, ok := f.out.(*Text); ok {
		t.Named = true
	}
	return f
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
