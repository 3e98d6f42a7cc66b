//go:build linux

package main

import (
	"os"
	"regexp"
	"strings"

	"github.com/stockade-dev/stockade/scripts/vm/wire"
)

// Console is what the log of the kernel's console tells.
type Console struct {
	Mark     bool     // init has started
	Fault    string   // why init gave up
	Panics   []string // lines that say the kernel cannot go on
	Oopses   []string // lines that say the kernel is damaged
	Warnings []string // lines that say the kernel is worried
	Lines    []string // all of it
	bad      int      // index of the first line in Panics or Oopses, or -1
}

var (
	stamp       = regexp.MustCompile(`^(<\d+>)?\[ *\d+\.\d+\](\[[ TC]*\d+\])? ?`)
	panicLine   = regexp.MustCompile(`^(Kernel panic - |end Kernel panic)`)
	oopsLine    = regexp.MustCompile(`^(BUG: |kernel BUG at |Oops: |Oops\b.*: \d|general protection fault|double fault|stack segment|invalid opcode: |int3: |divide error: |traps: PANIC|KASAN: |UBSAN: |list_(add|del) corruption|Internal error: )`)
	warningLine = regexp.MustCompile(`^(WARNING: |watchdog: BUG: |rcu: INFO: |INFO: task .* blocked for more|possible recursive locking|refcount_t: )`)
	escapes     = regexp.MustCompile(`\x1b(\[[0-9;?=]*[A-Za-z]|c)`)
)

// readConsole reads a log; one that is missing is empty.
func readConsole(name string) *Console {
	text, _ := os.ReadFile(name)
	return parseConsole(string(text))
}

func parseConsole(text string) *Console {
	c := &Console{bad: -1}
	text = escapes.ReplaceAllString(strings.ReplaceAll(text, "\r", ""), "")
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if line == "" {
			continue
		}
		c.Lines = append(c.Lines, line)
		bare := stamp.ReplaceAllString(line, "")
		switch {
		case strings.Contains(line, wire.Mark):
			c.Mark = true
		case strings.HasPrefix(line, wire.Fault):
			c.Fault = strings.TrimPrefix(line, wire.Fault)
		case panicLine.MatchString(bare):
			c.Panics = append(c.Panics, bare)
		case warningLine.MatchString(bare):
			c.Warnings = append(c.Warnings, bare)
		case oopsLine.MatchString(bare):
			c.Oopses = append(c.Oopses, bare)
		}
		if c.bad < 0 && len(c.Panics)+len(c.Oopses) > 0 {
			c.bad = len(c.Lines) - 1
		}
	}
	return c
}

// Reason is the line that best says why the kernel died, or empty.
func (c *Console) Reason() string {
	switch {
	case c.Fault != "":
		return c.Fault
	case len(c.Oopses) > 0:
		return c.Oopses[0]
	case len(c.Panics) > 0:
		return c.Panics[0]
	}
	return ""
}

// Excerpt is the part of the log that matters: from shortly before the first
// line of bad news, or the end where there is none.
func (c *Console) Excerpt(lines int) []string {
	from := max(0, len(c.Lines)-lines)
	if c.bad >= 0 {
		from = max(0, c.bad-2)
	}
	return c.Lines[from:min(len(c.Lines), from+lines)]
}
