// Package report says what the compiler found in words, and as JSON: why a request
// is answered as it is, and what a change of policies changes.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/stockade-dev/stockade/compiler"
)

// indent is what a line lies deeper than the one it belongs to.
const indent = "    "

// writer writes lines and remembers the first error.
type writer struct {
	w   io.Writer
	err error
}

func (l *writer) add(depth int, format string, args ...any) {
	if l.err == nil {
		_, l.err = fmt.Fprintf(l.w, strings.Repeat(indent, depth)+format+"\n", args...)
	}
}

// block writes a text of several lines.
func (l *writer) block(depth int, text string) {
	for line := range strings.Lines(text) {
		l.add(depth, "%s", compiler.Printable(strings.TrimRight(line, "\n")))
	}
}

// more counts what is not shown.
func more(n int, what string) string {
	if n == 1 {
		return "and 1 more " + what
	}
	return fmt.Sprintf("and %d more %ss", n, what)
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
