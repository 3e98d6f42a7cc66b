package inspect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// raw returns the bytes of text that JSON cannot carry, as agent/sink does: they are told
// in the field whose name ends in _b64 as well.
func raw(s string) []byte {
	if utf8.ValidString(s) {
		return nil
	}
	return []byte(s)
}

// rawList is raw for a list: all of it, if one of its texts needs it.
func rawList(list []string) [][]byte {
	all := make([][]byte, len(list))
	lost := false
	for i, s := range list {
		all[i] = []byte(s)
		lost = lost || !utf8.ValidString(s)
	}
	if !lost {
		return nil
	}
	return all
}

// marshal renders a plain value as one line, without its end, that does nothing to a
// terminal.
func marshal(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // no value of this package's types fails
	}
	return escape(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// escape escapes what encoding/json leaves alone and a terminal may act on: DEL, C1
// controls, bidirectional overrides and their like. All of them are inside strings.
func escape(text []byte) []byte {
	if !bytes.ContainsFunc(text, odd) {
		return text
	}
	var b strings.Builder
	for _, r := range string(text) {
		switch {
		case !odd(r):
			b.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return []byte(b.String())
}

func odd(r rune) bool { return r >= 0x7f && !unicode.IsPrint(r) }
