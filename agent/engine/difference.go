package engine

import (
	"fmt"
	"strings"
)

// around is how many lines that stay are shown on each side.
const around = 3

// difference shows what lies between the lines that two texts begin and end with alike:
// an edit of ours is one place of a file.
func difference(before, after []byte) string {
	a, b := lines(before), lines(after)
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	from, past := max(0, head-around), min(tail, around)
	var out strings.Builder
	was, is := len(a)-tail+past-from, len(b)-tail+past-from
	fmt.Fprintf(&out, "@@ -%d,%d +%d,%d @@\n", from+min(was, 1), was, from+min(is, 1), is)
	show := func(sign string, lines []string) {
		for _, l := range lines {
			out.WriteString(sign + l)
			if !strings.HasSuffix(l, "\n") {
				out.WriteString("\n\\ No newline at end of file\n")
			}
		}
	}
	show(" ", a[from:head])
	show("-", a[head:len(a)-tail])
	show("+", b[head:len(b)-tail])
	show(" ", a[len(a)-tail:len(a)-tail+past])
	return out.String()
}

func lines(text []byte) []string {
	if len(text) == 0 {
		return nil
	}
	l := strings.SplitAfter(string(text), "\n")
	if l[len(l)-1] == "" {
		l = l[:len(l)-1]
	}
	return l
}
