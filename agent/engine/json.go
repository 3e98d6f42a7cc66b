package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// object is an object of a JSON text, with where things are, so that one member can be
// put in or taken out and every other byte stays.
type object struct {
	open, close int // of the braces
	members     []member
}

type member struct {
	key        string
	start, end int     // of the key; past the value
	value      *object // nil if it is something else
}

// parseJSON finds the members of the object that a text is.
func parseJSON(path string, text []byte) (*object, error) {
	fault := func(offset int, what any) error {
		line, column := position(text, offset)
		return fmt.Errorf("%s:%d:%d: %v: %s; mend it there", path, line, column, what, unchanged)
	}
	// Unmarshal counts the byte that is wrong, and Token does not always.
	var any any
	var syntax *json.SyntaxError
	if err := json.Unmarshal(text, &any); errors.As(err, &syntax) {
		return nil, fault(int(syntax.Offset)-1, syntax)
	} else if err != nil {
		return nil, fault(0, err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, fault(0, "not an object")
	}
	tree, err := parseObject(d, text)
	if err != nil {
		return nil, fault(int(d.InputOffset()), err)
	}
	return tree, nil
}

// position is the line and the column of a byte, from 1.
func position(text []byte, offset int) (line, column int) {
	before := text[:min(offset, len(text))]
	return bytes.Count(before, []byte("\n")) + 1, len(before) - bytes.LastIndexByte(before, '\n')
}

func parseObject(d *json.Decoder, text []byte) (*object, error) {
	o := &object{open: int(d.InputOffset()) - 1}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		m := member{key: key.(string), end: int(d.InputOffset())}
		m.start = m.end - len(rawKey(text[:m.end]))
		if m.value, err = parseValue(d, text); err != nil {
			return nil, err
		}
		m.end = int(d.InputOffset())
		o.members = append(o.members, m)
	}
	_, err := d.Token()
	o.close = int(d.InputOffset()) - 1
	return o, err
}

// rawKey is the string that a text ends with, with its quotes.
func rawKey(text []byte) []byte {
	for i := len(text) - 2; i >= 0; i-- {
		if text[i] != '"' {
			continue
		}
		slashes := 0
		for i-slashes > 0 && text[i-slashes-1] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return text[i:]
		}
	}
	return text
}

// parseValue passes a value, and keeps it if it is an object.
func parseValue(d *json.Decoder, text []byte) (*object, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		return parseObject(d, text)
	case json.Delim('['):
		for d.More() {
			if _, err := parseValue(d, text); err != nil {
				return nil, err
			}
		}
		_, err = d.Token()
	}
	return nil, err
}

// get is the last member of that name: the one that programs read.
func (o *object) get(key string) (int, *member) {
	for i := len(o.members) - 1; i >= 0; i-- {
		if o.members[i].key == key {
			return i, &o.members[i]
		}
	}
	return -1, nil
}

// set gives the member at a path that value, in JSON; objects on the way are made.
func (o *object) set(text []byte, value string, path ...string) []byte {
	first := o
	for len(path) > 1 {
		_, m := o.get(path[0])
		if m == nil || m.value == nil {
			break
		}
		o, path = m.value, path[1:]
	}
	if _, m := o.get(path[0]); m != nil {
		for i := len(path) - 1; i > 0; i-- {
			value = "{" + quote(path[i]) + ": " + value + "}"
		}
		start := m.start + len(rawKeyAt(text, m.start))
		return splice(text, start, m.end, ": "+value)
	}
	unit := first.unit(text)
	own := o.indent(text, unit)
	for i := len(path) - 1; i > 0; i-- {
		value = nest(quote(path[i])+": "+value, own, unit, i)
	}
	put := quote(path[0]) + ": " + value
	if n := len(o.members); n > 0 {
		return splice(text, o.members[n-1].end, o.members[n-1].end, ","+own+put)
	}
	closing := ""
	if own != "" {
		closing = strings.TrimSuffix(own, unit)
	}
	return splice(text, o.open+1, o.close, own+put+closing)
}

// nest is an object of one member, deep levels below the members that own precedes.
func nest(inside, own, unit string, deep int) string {
	if !strings.Contains(own, "\n") {
		return "{" + inside + "}"
	}
	outer := own + strings.Repeat(unit, deep-1)
	return "{" + outer + unit + inside + outer + "}"
}

// rawKeyAt is the string that begins there.
func rawKeyAt(text []byte, start int) []byte {
	for i := start + 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return text[start : i+1]
		}
	}
	return text[start:]
}

// unit is what one level of the text is indented by.
func (o *object) unit(text []byte) string {
	if len(o.members) == 0 {
		return "    "
	}
	between := string(text[o.open+1 : o.members[0].start])
	if i := strings.LastIndexByte(between, '\n'); i >= 0 {
		return between[i+1:]
	}
	return ""
}

// indent is what precedes each member: that of the first one, else that of an empty object.
func (o *object) indent(text []byte, unit string) string {
	if len(o.members) > 0 {
		return string(text[o.open+1 : o.members[0].start])
	}
	if unit == "" {
		return ""
	}
	line := text[bytes.LastIndexByte(text[:o.open], '\n')+1 : o.open]
	return "\n" + string(line[:len(line)-len(bytes.TrimLeft(line, " \t"))]) + unit
}

// drop takes the member at a path out.
func (o *object) drop(text []byte, path ...string) []byte {
	for len(path) > 1 {
		_, m := o.get(path[0])
		if m == nil || m.value == nil {
			return text
		}
		o, path = m.value, path[1:]
	}
	i, m := o.get(path[0])
	switch {
	case m == nil:
		return text
	case len(o.members) == 1:
		return splice(text, o.open+1, o.close, "")
	case i > 0:
		return splice(text, o.members[i-1].end, m.end, "")
	}
	return splice(text, m.start, o.members[1].start, "")
}

func splice(text []byte, from, to int, put string) []byte {
	return append(append(append(make([]byte, 0, len(text)+len(put)), text[:from]...), put...), text[to:]...)
}

func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err) // a string always has a form in JSON
	}
	return strings.TrimSuffix(b.String(), "\n")
}
