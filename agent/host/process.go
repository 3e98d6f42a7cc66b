package host

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// StartTime returns when a process started, which with its pid names it; "" if there is
// none.
func StartTime(pid string) string {
	fields, err := statOf(pid)
	if err != nil {
		return ""
	}
	return fields[statStart]
}

// Fields of statOf.
const (
	statState  = 0
	statParent = 1
	statStart  = 19
)

// statOf returns the fields of /proc/PID/stat from the third on: the second is the
// program's name, and may hold anything.
func statOf(pid string) ([]string, error) {
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) <= statStart {
		return nil, fmt.Errorf("/proc/%s/stat: %d fields after the name: it is not known", pid, len(fields))
	}
	return fields, nil
}

// Zombie reports whether a process has ended and waits for its parent.
func Zombie(pid string) bool {
	fields, err := statOf(pid)
	return err != nil || fields[statState] == "Z" || fields[statState] == "X"
}

// ProcessOf tells a process from every other one of its boot; "" if there is none.
func ProcessOf(pid string) string {
	start := StartTime(pid)
	if start == "" {
		return ""
	}
	return pid + " " + start
}

// Parent returns the parent of a process.
func Parent(pid int) (int, error) {
	fields, err := statOf(strconv.Itoa(pid))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(fields[statParent])
}
