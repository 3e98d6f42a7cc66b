package respond

import (
	"fmt"
	"runtime/debug"
	"strings"
)

// Survive does something, and makes of a panic an error. What a response looks at is hostile:
// it must not end the agent between a freeze and the kill, which leaves a workload standing
// still for ever.
func Survive(do func() error) (err error) {
	defer func() {
		if why := recover(); why != nil {
			err = fmt.Errorf("panic: %v: it is a fault of this program, and this was not done to its end; report it, with where it was: %s", why, place())
		}
	}()
	return do()
}

// place names the functions that panicked, the innermost first: a step's error is one line.
func place() string {
	_, stack, _ := strings.Cut(string(debug.Stack()), "\npanic(")
	var at []string
	for line := range strings.Lines(stack) {
		if file, ok := strings.CutPrefix(line, "\t"); ok && !strings.Contains(file, "/runtime/") {
			file, _, _ = strings.Cut(strings.TrimSpace(file), " ")
			at = append(at, file[strings.LastIndexByte(file, '/')+1:])
		}
		if len(at) == 3 {
			break
		}
	}
	return strings.Join(at, ", ")
}
