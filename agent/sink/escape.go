package sink

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Token renders text that a workload may have chosen, such as a path, as one
// word that cannot be mistaken for anything else on the line and does nothing
// to a terminal: plain where every character is printable, else quoted as in
// Go. A plain word holds no blank, quote or backslash.
func Token(s string) string {
	if s == "" || !utf8.ValidString(s) {
		return strconv.Quote(s)
	}
	for _, r := range s {
		if !plain(r) {
			return strconv.Quote(s)
		}
	}
	return s
}

func plain(r rune) bool {
	return r != ' ' && r != '"' && r != '\'' && r != '`' && r != '\\' && unicode.IsPrint(r)
}

// escapeJSON escapes what encoding/json leaves alone and a terminal may act
// on: DEL, the C1 controls, bidirectional overrides and their like. Outside
// strings JSON is ASCII, so each such character is inside one.
func escapeJSON(text []byte) string {
	var b strings.Builder
	for _, r := range string(text) {
		switch {
		case r < 0x7f || unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
