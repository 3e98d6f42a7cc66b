package compiler

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// maxErrors bounds what one compile reports.
const maxErrors = 20

// Position is a place in a source. Lines and columns count from 1, columns in
// bytes. Line 0 means the file as a whole.
type Position struct {
	File         string
	Line, Column int
}

// String returns FILE:LINE:COLUMN, or FILE alone.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Error is something that keeps a policy set from being compiled.
type Error struct {
	Position
	Message string
}

// Error returns the position and the message.
func (e *Error) Error() string { return printable(e.Position.String() + ": " + e.Message) }

// printable escapes what a policy or a file name could do to a terminal or a
// log line.
func printable(s string) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// Errors are all errors of one compile, sorted by position.
type Errors []error

// Error returns one error a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.As and errors.Is every error of the list.
func (e Errors) Unwrap() []error { return e }

// collector gathers positioned errors.
type collector struct {
	list []error
	seen map[string]bool
}

// positioned is an error with a place.
type positioned interface {
	error
	place() Position
}

func (e *Error) place() Position { return e.Position }

// add keeps err unless it is already known.
func (c *collector) add(err positioned) {
	if c.seen == nil {
		c.seen = make(map[string]bool)
	}
	if text := err.Error(); !c.seen[text] {
		c.seen[text] = true
		c.list = append(c.list, err)
	}
}

// addf adds an Error.
func (c *collector) addf(pos Position, format string, args ...any) {
	c.add(&Error{pos, fmt.Sprintf(format, args...)})
}

// full reports that looking for more errors helps nobody.
func (c *collector) full() bool { return len(c.list) >= maxErrors }

// err returns the sorted list, or nil.
func (c *collector) err() error {
	if len(c.list) == 0 {
		return nil
	}
	slices.SortStableFunc(c.list, func(a, b error) int {
		p, q := a.(positioned).place(), b.(positioned).place()
		return cmp.Or(cmp.Compare(p.File, q.File), cmp.Compare(p.Line, q.Line),
			cmp.Compare(p.Column, q.Column), cmp.Compare(a.Error(), b.Error()))
	})
	return Errors(c.list[:min(len(c.list), maxErrors)])
}
