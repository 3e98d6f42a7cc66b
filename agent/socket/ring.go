package socket

import (
	"os"
	"path"
	"strconv"
	"strings"
)

// Ring is an io_uring that a process has a descriptor of.
type Ring struct {
	PID        int `json:"pid"`
	Descriptor int `json:"descriptor"`
	// Begun counts requests that were given to the kernel and have no result, -1 if that
	// is not known: those that wait for a device the kernel finishes when their process is
	// gone, too.
	Begun int `json:"begun"`
}

const ringLink = "anon_inode:[io_uring]"

// ringOf reads what the kernel says of a ring, by its link in /proc/PID/task/TID/fd.
func ringOf(pid int, link string) Ring {
	r := Ring{PID: pid, Begun: -1}
	r.Descriptor, _ = strconv.Atoi(path.Base(link)) // the kernel writes numbers
	if text, err := os.ReadFile(path.Join(path.Dir(path.Dir(link)), "fdinfo", path.Base(link))); err == nil {
		r.Begun = begun(string(text))
	}
	return r
}

// begun counts the requests that were taken from the ring and are not answered. One that is
// answered more than once, or not at all, is counted wrong: then it is not known.
func begun(text string) int {
	var taken, answered uint32
	found := 0
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		into := map[string]*uint32{"CachedSqHead": &taken, "CachedCqTail": &answered}[name]
		if into == nil {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
		if err != nil {
			return -1
		}
		*into = uint32(n)
		found++
	}
	if n := int32(taken - answered); found == 2 && n >= 0 {
		return int(n)
	}
	return -1
}
