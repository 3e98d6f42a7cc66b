package compiler

import (
	"bytes"
	"iter"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Source is one file of policies.
type Source struct {
	Name string
	Text []byte
}

// source is a Source with its line starts.
type source struct {
	name  string
	text  []byte
	lines []int
}

func newSource(s Source) *source {
	src := &source{name: s.Name, text: s.Text, lines: []int{0}}
	for i, c := range s.Text {
		if c == '\n' {
			src.lines = append(src.lines, i+1)
		}
	}
	return src
}

// position returns the line and the column, in bytes, of an offset.
func (s *source) position(offset int) Position {
	line := sort.SearchInts(s.lines, offset+1)
	return Position{s.name, line, offset - s.lines[line-1] + 1}
}

// statements yields the bounds of the policies: what ends at a semicolon.
func (s *source) statements() iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		sc := scanner{text: s.text}
		start, empty := 0, true
		for t := sc.next(); t.kind != tokenEOF; t = sc.next() {
			empty = false
			if s.text[t.start] != ';' {
				continue
			}
			if !yield(start, t.end) {
				return
			}
			start, empty = t.end, true
		}
		if !empty {
			yield(start, len(s.text))
		}
	}
}

var (
	placeOf = regexp.MustCompile(`<input>:(\d+):(\d+)`)
	nearOf  = regexp.MustCompile(`parse error at <input>:\d+:\d+ ("(?:[^"\\]|\\.)*"): `)
	exactOf = regexp.MustCompile(`^exact got (.*) want (.*)$`)
)

// syntaxError rewrites an error of cedar-go's parser about text[start:end].
func syntaxError(src *source, start, end int, err error) *Error {
	message := strings.TrimPrefix(err.Error(), "parser error: ")
	offset, atEnd := start, false
	if m := placeOf.FindStringSubmatch(message); m != nil {
		offset = start + offsetOf(src.text[start:end], m[1], m[2])
		atEnd = offset >= end
		message = placeOf.ReplaceAllLiteralString(message, "<input>")
	}
	if m := nearOf.FindString(err.Error()); m != "" {
		_, message, _ = strings.Cut(err.Error(), m)
		if !strings.HasPrefix(message, "got ") && !atEnd {
			// cedar-go has already passed the token it complains of.
			offset = tokenBefore(src.text, start, offset)
		}
	} else {
		message = strings.TrimPrefix(message, "<input>: ")
	}
	if m := exactOf.FindStringSubmatch(message); m != nil {
		message = "expected " + strconv.Quote(m[2])
	}
	sc := scanner{text: src.text[:end], pos: offset}
	t := sc.next()
	found := "the end"
	if t.kind != tokenEOF {
		found = "`" + string(src.text[t.start:t.end]) + "`"
	}
	if bytes.HasPrefix(src.text[t.start:end], []byte("?")) {
		return &Error{src.position(t.start), "a template slot: templates are not policies: the policy set is refused; write one policy for each principal or resource"}
	}
	return &Error{src.position(t.start), found + ": syntax error, " + message + ": the policy set is refused; correct the Cedar text"}
}

// offsetOf turns a line and a column in characters into an offset.
func offsetOf(text []byte, line, column string) int {
	l, _ := strconv.Atoi(line)
	c, _ := strconv.Atoi(column)
	offset := 0
	for ; l > 1 && offset < len(text); l-- {
		next := bytes.IndexByte(text[offset:], '\n')
		if next < 0 {
			return len(text)
		}
		offset += next + 1
	}
	for ; c > 1 && offset < len(text); c-- {
		_, width := utf8.DecodeRune(text[offset:])
		offset += width
	}
	return offset
}

// tokenBefore returns the start of the last token before offset.
func tokenBefore(text []byte, start, offset int) int {
	sc := scanner{text: text, pos: start}
	last := start
	for t := sc.next(); t.kind != tokenEOF && t.start < offset; t = sc.next() {
		last = t.start
	}
	return last
}
