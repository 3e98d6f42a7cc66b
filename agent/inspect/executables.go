package inspect

import (
	"fmt"
	"strconv"
	"strings"
)

// ExecutablesRecord is what Executables tells of a process.
type ExecutablesRecord struct {
	Head
	// Executable is the file that it was started from.
	Executable *File `json:"executable,omitempty"`
	// Mappings are those that may be executed, each file once. Memory without a file is
	// among them: it has no inode.
	Mappings []Mapping `json:"mappings"`
}

// File is a file by what the kernel tells of it.
type File struct {
	Path    string `json:"path"` // " (deleted)" at its end may be part of the name
	PathB64 []byte `json:"path_b64,omitempty"`
	Device  string `json:"device,omitempty"` // MAJOR:MINOR
	Inode   uint64 `json:"inode,omitempty"`
	Content
}

// Mapping is a file of which a process has executable mappings.
type Mapping struct {
	File
	// Address and Perms are those of the first mapping, Count is how many there are.
	Address string `json:"address"`
	Perms   string `json:"perms"`
	Count   int    `json:"count"`
	// Writable: one of them can be written, too.
	Writable bool `json:"writable,omitempty"`
}

func readExecutables(l *look, p *process) any {
	r := ExecutablesRecord{Mappings: []Mapping{}}
	if p.there() {
		if path := p.link("exe"); path != "" {
			r.Executable = &File{Path: path, PathB64: raw(path), Content: Content{Unhashed: p.Unread}}
		}
		if p.Unread == "" {
			l.readFiles(p, &r)
		}
	}
	r.Head = p.Head
	return r
}

// readFiles reads what may hang.
func (l *look) readFiles(p *process, r *ExecutablesRecord) {
	if r.Executable != nil {
		l.content(p, "exe", r.Executable)
	}
	r.Mappings = l.mappings(p)
	for i := range r.Mappings {
		l.mapped(p, &r.Mappings[i])
	}
}

// mapped reads the file of a mapping, and its path as it is: maps has an escaped one.
func (l *look) mapped(p *process, m *Mapping) {
	if m.Inode != 0 {
		file := "map_files/" + m.Address
		m.Path = p.link(file)
		l.content(p, file, &m.File)
	}
	m.PathB64 = raw(m.Path)
}

// mappings reads as many executable mappings as the bounds let, and counts the rest: "cut"
// has the number of all mappings, those told have theirs in Count.
func (l *look) mappings(p *process) []Mapping {
	list := []Mapping{}
	at := map[string]int{} // index by file
	var lines, all, told, text int
	p.lines("maps", func(line string) bool {
		lines++
		m, ok := parseMapping(line)
		if !ok {
			return lines < MaxScan
		}
		all++
		i, known := at[m.key()]
		if !known && len(list) < MaxMappings && l.spent.Mappings < AllMappings && text < MaxText {
			i, known = len(list), true
			at[m.key()] = i
			list = append(list, m)
			l.spent.Mappings++
			text += len(m.Path)
		}
		if known {
			told++
			list[i].Count++
			list[i].Writable = list[i].Writable || m.Writable
		}
		return lines < MaxScan
	})
	if all > told || lines >= MaxScan {
		p.Cut.note("mappings", int64(all), lines >= MaxScan)
	}
	return list
}

// key tells a file from all others, and memory without one by its name.
func (m *Mapping) key() string {
	if m.Inode == 0 {
		return m.Path
	}
	return fmt.Sprint(m.Device, " ", m.Inode)
}

// parseMapping parses a line of maps; false if it is not executable.
func parseMapping(line string) (m Mapping, ok bool) {
	fields := strings.SplitN(line, " ", 6)
	if len(fields) < 6 || len(fields[1]) < 3 || fields[1][2] != 'x' {
		return m, false
	}
	from, to, _ := strings.Cut(fields[0], "-")
	major, minor, _ := strings.Cut(fields[3], ":")
	numbers := [4]uint64{}
	for i, hex := range []string{from, to, major, minor} {
		n, err := strconv.ParseUint(hex, 16, 64)
		if err != nil {
			return m, false
		}
		numbers[i] = n
	}
	m.Address = fmt.Sprintf("%x-%x", numbers[0], numbers[1]) // as map_files has it
	m.Perms, m.Writable = fields[1], fields[1][1] == 'w'
	m.Path = strings.TrimLeft(fields[5], " ")
	m.Inode, _ = strconv.ParseUint(fields[4], 10, 64)
	if m.Inode != 0 {
		m.Device = fmt.Sprintf("%d:%d", numbers[2], numbers[3])
	}
	return m, true
}
