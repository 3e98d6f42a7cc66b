package sink

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// File appends events to a file, or to what stands in for one. Several goroutines may
// use it.
type File struct {
	mu   sync.Mutex
	file *os.File // nil: not its own
	made bool     // it was not there before
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

// Format is how events are written.
type Format struct {
	// JSON is an object a line, for programs; else lines for a reader.
	JSON bool
	// Quiet leaves out the denials; the summary stays.
	Quiet bool
	// Named has each line name its workload, as objects do.
	Named bool
}

// To returns what writes to w.
func (f Format) To(w io.Writer) Output {
	if f.JSON {
		return &JSON{W: w, Quiet: f.Quiet}
	}
	return &Text{W: w, Quiet: f.Quiet, Named: f.Named}
}

// OpenFile opens a file to append to, made for its owner alone. A fifo that nobody reads
// is an error: to open it would wait.
func OpenFile(name string, format Format) (*File, error) {
	_, err := os.Stat(name)
	made := errors.Is(err, fs.ErrNotExist)
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: nothing is changed; name another file, or make its folder", err)
	}
	f := newFile(&lines{Writer: file, torn: !endsInALine(name)}, format)
	f.file, f.made = file, made
	return f, nil
}

// OpenLog is OpenFile for a file that several workloads may share, and that nobody's
// denials may wait for.
func OpenLog(name string, format Format) (*File, error) {
	format.Named = true
	f, err := OpenFile(name, format)
	if err == nil && f.file.SetWriteDeadline(time.Time{}) == nil { // a regular file has none, and needs none
		f.to.Writer = &patient{File: f.file}
	}
	return f, err
}

// NewFile appends to w, which stays open.
func NewFile(w io.Writer, format Format) *File { return newFile(&lines{Writer: w}, format) }

func newFile(to *lines, format Format) *File { return &File{to: to, out: format.To(to)} }

// Event writes one line.
func (f *File) Event(e *Event) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.out.Event(e)
}

// Note writes one line.
func (f *File) Note(workload, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out.Note(workload, text)
}

// Summary writes the totals.
func (f *File) Summary(s *Summary) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out.Summary(s)
}

// Close closes the file, if it was opened here.
func (f *File) Close() error {
	if f.file == nil {
		return nil
	}
	return f.file.Close()
}

// Discard closes the file, and removes one that was made here and has nothing in it.
func (f *File) Discard() {
	if f.file == nil {
		return
	}
	info := f.regular()
	f.file.Close()
	if info == nil || !f.made || info.Size() > 0 {
		return
	}
	name, err := filepath.EvalSymlinks(f.file.Name()) // a link was there before
	if err != nil {
		return
	}
	if now, err := os.Lstat(name); err == nil && os.SameFile(now, info) {
		os.Remove(name)
	}
}

func (f *File) regular() os.FileInfo {
	file := f.file
	if file == nil { // standard error may be one
		file, _ = f.to.Writer.(*os.File)
	}
	if file == nil {
		return nil
	}
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		return info
	}
	return nil
}

// isSame reports whether two sinks write to one regular file.
func isSame(a, b Sink) bool {
	one, ok := a.(onFile)
	other, also := b.(onFile)
	if !ok || !also {
		return false
	}
	info, others := one.regular(), other.regular()
	return info != nil && others != nil && os.SameFile(info, others)
}
