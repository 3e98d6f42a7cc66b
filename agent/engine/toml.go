package engine

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// document is what a text in TOML says.
type document map[string]any

func parseTOML(path string, text []byte) (document, error) {
	doc := document{}
	err := toml.Unmarshal(text, &doc)
	var at *toml.DecodeError
	if errors.As(err, &at) {
		line, column := at.Position()
		return nil, fmt.Errorf("%s:%d:%d: %s: %s; mend it there", path, line, column, strings.TrimPrefix(at.Error(), "toml: "), unchanged)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s; mend it there", path, err, unchanged)
	}
	return doc, nil
}

// get is what lies at a path; nil if nothing does.
func (d document) get(path ...string) any {
	var value any = map[string]any(d)
	for _, key := range path {
		table, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = table[key]
	}
	return value
}

func (d document) table(path ...string) document {
	table, _ := d.get(path...).(map[string]any)
	return table
}

func (d document) text(path ...string) string {
	text, _ := d.get(path...).(string)
	return text
}

// list has the strings of an array.
func (d document) list(path ...string) []string {
	array, _ := d.get(path...).([]any)
	var list []string
	for _, value := range array {
		if text, ok := value.(string); ok {
			list = append(list, text)
		}
	}
	return list
}

// same says whether two documents say the same.
func (d document) same(other document) bool {
	return len(d) == 0 && len(other) == 0 || reflect.DeepEqual(d, other)
}

// expression is a line of TOML: a table's header, or a key with its value.
type expression struct {
	path       []string // from the root
	start, end int      // of its lines, without what is blank or a comment after them
	header     bool
	lead       int // where our own comments above it begin
}

// expressions lists those of a text that is valid.
func expressions(text []byte) []expression {
	var list []expression
	var table []string
	p := unstable.Parser{}
	p.Reset(text)
	for p.NextExpression() {
		node := p.Expression()
		header := node.Kind == unstable.Table || node.Kind == unstable.ArrayTable
		if !header && node.Kind != unstable.KeyValue {
			continue
		}
		var keys []string
		start := -1
		for it := node.Key(); it.Next(); {
			if start < 0 {
				start = bytes.LastIndexByte(text[:it.Node().Raw.Offset], '\n') + 1
			}
			keys = append(keys, string(it.Node().Data))
		}
		if header {
			table = keys
		}
		path := keys
		if !header {
			path = append(slices.Clone(table), keys...)
		}
		list = append(list, expression{path: path, start: start, header: header})
	}
	for i := range list {
		end := len(text)
		if i+1 < len(list) {
			end = list[i+1].start
		}
		for end > list[i].start {
			line := bytes.LastIndexByte(text[:end-1], '\n') + 1
			if trimmed := bytes.TrimSpace(text[line:end]); line > list[i].start && (len(trimmed) == 0 || trimmed[0] == '#') {
				end = line
				continue
			}
			break
		}
		list[i].end = end
		list[i].lead = list[i].start
		for list[i].lead > 0 {
			line := bytes.LastIndexByte(text[:list[i].lead-1], '\n') + 1
			if !bytes.HasPrefix(bytes.TrimSpace(text[line:list[i].lead]), []byte(marker)) {
				break
			}
			list[i].lead = line
		}
	}
	return list
}

// within says whether a path lies at or below another.
func within(path, of []string) bool {
	return len(path) >= len(of) && slices.Equal(path[:len(of)], of)
}

// drop takes out what lies at or below any of the paths, with our comments above it, and the
// headers that have nothing below them then. The blank lines above a table of ours are
// ours, too.
func drop(text []byte, paths ...[]string) []byte {
	list := expressions(text)
	gone := make([]bool, len(list))
	ours := func(i int) bool {
		return slices.ContainsFunc(paths, func(p []string) bool { return within(list[i].path, p) })
	}
	for i := range list {
		gone[i] = ours(i)
	}
	for i := len(list) - 1; i >= 0; i-- {
		below := i + 1
		for below < len(list) && !list[below].header && gone[below] {
			below++
		}
		if list[i].header && below > i+1 && (below == len(list) || list[below].header) {
			gone[i] = true
		}
	}
	out := slices.Clone(text)
	for i := len(list) - 1; i >= 0; i-- {
		if !gone[i] {
			continue
		}
		from := list[i].lead
		if list[i].header {
			for from > 0 {
				line := bytes.LastIndexByte(text[:from-1], '\n') + 1
				if len(bytes.TrimSpace(text[line:from])) > 0 {
					break
				}
				from = line
			}
		}
		out = splice(out, from, list[i].end, "")
	}
	return out
}

// add appends tables to a text. A blank line separates them.
func add(text []byte, tables string) []byte {
	out := slices.Clone(text)
	if len(out) > 0 {
		if out[len(out)-1] != '\n' {
			out = append(out, '\n')
		}
		out = append(out, '\n')
	}
	return append(out, tables...)
}

var importsLine = regexp.MustCompile(`(?m)^[ \t]*imports[ \t]*=[ \t]*\[[ \t]*`)

// addImport lets a text import a pattern, too.
func addImport(text []byte, pattern string) []byte {
	top := len(text)
	version := 0
	for _, e := range expressions(text) {
		if e.header {
			top = e.start
			break
		}
		if len(e.path) == 1 && e.path[0] == "version" {
			version = e.end
		}
	}
	if at := importsLine.FindIndex(text[:top]); at != nil {
		put := "'" + pattern + "'"
		if rest := bytes.TrimLeft(text[at[1]:], " \t\r\n"); len(rest) > 0 && rest[0] != ']' {
			put += ", "
		}
		return splice(text, at[1], at[1], put)
	}
	return splice(text, version, version, marker+"for its drop-in\nimports = ['"+pattern+"']\n")
}

// dropImport takes it out again.
func dropImport(text []byte, pattern string) []byte {
	for _, e := range expressions(text) {
		if e.header {
			break
		}
		if len(e.path) != 1 || e.path[0] != "imports" {
			continue
		}
		if e.lead < e.start {
			return splice(text, e.lead, e.end, "")
		}
		put := regexp.MustCompile(`'` + regexp.QuoteMeta(pattern) + `'(, )?`)
		if at := put.FindIndex(text[e.start:e.end]); at != nil {
			return splice(text, e.start+at[0], e.start+at[1], "")
		}
	}
	return text
}

// edited parses a text after an edit, and compares: an edit that says anything but what
// was meant is not made.
func edited(path string, text []byte, want document) error {
	is, err := parseTOML(path, text)
	if err != nil || !is.same(want) {
		return fmt.Errorf("%s: written in a way that cannot be edited as text: %s; write its tables with headers, [LIKE.THIS]", path, unchanged)
	}
	return nil
}

// without drops paths as drop does, the entry's first, and refuses where that is not enough.
func without(path string, text []byte, paths ...[]string) ([]byte, error) {
	after := drop(text, paths...)
	doc, err := parseTOML(path, after)
	if err != nil || doc.get(paths[0]...) != nil {
		return nil, fmt.Errorf("%s: the runtime is written in a way that cannot be edited as text: %s; take it out there by hand", path, unchanged)
	}
	return after, nil
}

// literal is a string of TOML. Paths have no quotes and no backslashes: begin sees to it.
func literal(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return quote(v), v != ""
	case bool:
		return fmt.Sprint(v), v
	case int64:
		return fmt.Sprint(v), v != 0
	case []any:
		var parts []string
		for _, e := range v {
			part, _ := literal(e)
			if part == "" {
				return "", false
			}
			parts = append(parts, part)
		}
		return "[" + strings.Join(parts, ", ") + "]", len(parts) > 0
	}
	return "", false
}
