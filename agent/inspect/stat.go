package inspect

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// stat is what is read from a process's stat.
type stat struct {
	comm, state                      string
	parent, session, tty, threads    int
	start                            uint64 // ticks after boot
	argsFrom, argsTo, envFrom, envTo int64
}

// parseStat parses the text of a stat. The second field is the process's own choice and
// may hold anything: the last parenthesis ends it.
func parseStat(text []byte) (s stat, err error) {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return s, fmt.Errorf("stat: no name in parentheses: it is not known")
	}
	s.comm = string(text[open+1 : end])
	fields := strings.Fields(string(text[end+1:])) // the first is the third of stat
	const need = 49
	if len(fields) < need {
		return s, fmt.Errorf("stat: %d fields after the name: %d are known", len(fields), need)
	}
	s.state = fields[0]
	for _, f := range []struct {
		at int
		to any
	}{
		{4, &s.parent}, {6, &s.session}, {7, &s.tty}, {20, &s.threads}, {22, &s.start},
		{48, &s.argsFrom}, {49, &s.argsTo}, {50, &s.envFrom}, {51, &s.envTo},
	} {
		if _, err := fmt.Sscan(fields[f.at-3], f.to); err != nil {
			return s, fmt.Errorf("stat: field %d: %w: it is not known", f.at, err)
		}
	}
	return s, nil
}

// stat reads the process's stat, which never hangs.
func (p *process) stat() (stat, error) { return statIn(p.dir, "stat") }

// statIn reads a stat, of a process or a thread.
func statIn(dir int, file string) (stat, error) {
	text, _, err := readAt(dir, file, maxSmall)
	if err != nil {
		return stat{}, err
	}
	return parseStat(text)
}

// Start returns when a process started, as Request wants it; the error is fs.ErrNotExist
// if there is none.
func Start(pid int) (uint64, error) {
	text, _, err := readAt(unix.AT_FDCWD, fmt.Sprintf("/proc/%d/stat", pid), maxSmall)
	if err != nil {
		return 0, fmt.Errorf("process %d: %w: it is not known when it started", pid, err)
	}
	s, err := parseStat(text)
	return s.start, err
}

// status reads the process's status, which never hangs.
func (p *process) status() map[string]string {
	text, _ := p.read("status", maxSmall)
	return values(text)
}

// values are those of a status, by name. The kernel escapes line ends in the process's name
// there.
func values(text []byte) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		all[name] = strings.TrimSpace(value)
	}
	return all
}

// numbers parses a list of decimal numbers.
func numbers(text string) []uint32 {
	list := []uint32{}
	for _, word := range strings.Fields(text) {
		if n, err := strconv.ParseUint(word, 10, 32); err == nil {
			list = append(list, uint32(n))
		}
	}
	return list
}
