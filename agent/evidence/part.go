package evidence

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
)

// Part is something to take.
type Part struct {
	// Name is that of the file in the bundle, such as processes.json or net/tcp.txt: at
	// most 100 of the characters a-z 0-9 . _ - / and no part of a path is "." or "..".
	Name string
	// Method is how it is taken, for a reader.
	Method string
	// Limit bounds it, in bytes; it is in memory while it is taken. 0: DefaultPartLimit.
	Limit int64
	// Take writes it. It gets ErrFull when there is no more room, and should return then.
	// It may go on after ctx is done, even for ever: what it writes then goes nowhere.
	Take func(ctx context.Context, w io.Writer) error
}

// ErrFull is what a writer that takes no more returns: the part is truncated, and the
// manifest says so.
var ErrFull = errors.New("the part has as many bytes as it may have")

// errLate is for a Take that goes on.
var errLate = errors.New("the part is closed")

// take returns what came until Take has returned, or until ctx is done; whether there was
// more than limit bytes; and why it is not whole otherwise.
func (p Part) take(ctx context.Context, limit int64) (text []byte, cut bool, err error) {
	if ctx.Err() != nil {
		return nil, false, fmt.Errorf("not begun: %w", context.Cause(ctx))
	}
	w := &holder{limit: limit}
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil { // what it looks at is hostile, and the kill is still to come
				done <- fmt.Errorf("panic: %v", r)
			}
		}()
		done <- p.Take(ctx, w)
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = fmt.Errorf("given up: %w", context.Cause(ctx))
	}
	text, cut = w.shut()
	if cut && errors.Is(err, ErrFull) {
		err = nil
	}
	return text, cut, err
}

// holder holds what a Take writes, until it is shut.
type holder struct {
	mu      sync.Mutex
	text    []byte
	limit   int64
	cut, no bool
}

func (h *holder) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.no {
		return 0, errLate
	}
	n := min(int64(len(p)), h.limit-int64(len(h.text)))
	h.text = append(h.text, p[:n]...)
	if n < int64(len(p)) {
		h.cut = true
		return int(n), ErrFull
	}
	return int(n), nil
}

func (h *holder) shut() (text []byte, cut bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.no = true
	return h.text, h.cut
}

// names are those of a bundle.
type names map[string]bool

// take enters a name, if it is one that every system can unpack, beside the others.
func (n names) take(name string) error {
	switch {
	case !validName(name):
		return fmt.Errorf("part %q: no name for one: at most 100 of a-z 0-9 . _ - /, no empty part, no . and no ..", name)
	case name == manifestName || name == envelopeName:
		return fmt.Errorf("part %s: the bundle has one of its own", name)
	case n[name]:
		return fmt.Errorf("part %s: there is one", name)
	case len(n) == MaxParts:
		return fmt.Errorf("part %s: there are %d already, and no more can be", name, MaxParts)
	}
	for other := range n {
		if strings.HasPrefix(name, other+"/") || strings.HasPrefix(other, name+"/") {
			return fmt.Errorf("part %s: it cannot be a file and a folder, beside %s", name, other)
		}
	}
	n[name] = true
	return nil
}

func validName(name string) bool {
	return len(name) <= maxName && name != "." && fs.ValidPath(name) && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789._-/") == ""
}
