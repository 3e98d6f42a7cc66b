package daemon

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxNotes bounds the notes that a status shows, maxTold what is told once.
const (
	maxNotes = 20
	maxTold  = 4096
)

// notebook is what the agent says of itself: in its log, and in a status.
type notebook struct {
	w io.Writer // takes whole lines, from any goroutine

	mu    sync.Mutex
	notes []string // the last ones
	told  map[string]bool
	err   string // of the last reload
}

func newNotebook(w io.Writer) *notebook { return &notebook{w: w, told: map[string]bool{}} }

// note tells a reader of the log, and of the status.
func (b *notebook) note(text string) {
	b.mu.Lock()
	b.notes = append(b.notes, time.Now().UTC().Format(time.RFC3339)+" "+text)
	b.notes = b.notes[max(0, len(b.notes)-maxNotes):]
	b.mu.Unlock()
	fmt.Fprintf(b.w, "stockade: agent: %s\n", printable(text))
}

// once is note for what would come again and again; key tells it apart.
func (b *notebook) once(key, text string) {
	b.mu.Lock()
	told := b.told[key]
	if len(b.told) < maxTold {
		b.told[key] = true
	}
	b.mu.Unlock()
	if !told {
		b.note(text)
	}
}

// reloaded keeps how the last reload ended; the same error is told once.
func (b *notebook) reloaded(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	b.mu.Lock()
	news := b.err != text
	b.err = text
	b.mu.Unlock()
	if news && err != nil {
		b.note("reload: " + text)
	}
}

// last returns the last notes, and the error of the last reload.
func (b *notebook) last() (notes []string, err string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.notes), b.err
}

// printable keeps a note on its lines: names in it come from anywhere.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r >= ' ' && r != 0x7f {
			return r
		}
		return '?'
	}, text)
}

// lockedWriter lets several goroutines write whole lines.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// Write writes p at once.
func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
