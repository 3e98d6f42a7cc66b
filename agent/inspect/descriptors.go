package inspect

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// DescriptorsRecord is what Descriptors tells of a process.
type DescriptorsRecord struct {
	Head
	Descriptors []Descriptor `json:"descriptors"`
}

// Descriptor is an open file.
type Descriptor struct {
	FD int `json:"fd"`
	// Thread has it in a table of its own; what is the same in the process's is told there
	// alone.
	Thread int `json:"thread,omitempty"`
	// Target is the kernel's text: a path in the namespace of this reader, or type:[inode].
	Target    string `json:"target"`
	TargetB64 []byte `json:"target_b64,omitempty"`
	Flags     string `json:"flags,omitempty"` // octal, as open(2) has them
	Pos       int64  `json:"pos"`
	Mount     int    `json:"mnt_id,omitempty"` // as the first field of mountinfo
}

// maxInfo is enough of an fdinfo: what is wanted stands first.
const maxInfo = 4 << 10

func readDescriptors(l *look, p *process) any {
	r := DescriptorsRecord{Descriptors: []Descriptor{}}
	if p.Unread == "" && p.there() {
		r.Descriptors = l.descriptors(p)
	}
	r.Head = p.Head
	return r
}

// descriptors reads as many as the bounds let, and counts the rest. A thread's own table
// began as a copy: what only repeats the process's is told once.
func (l *look) descriptors(p *process) []Descriptor {
	f := files{look: l, process: p, list: []Descriptor{}, told: map[string]bool{}}
	if f.table(0) && p.tables(f.table) {
		f.stopped = true
	}
	if f.all > len(f.list)+f.repeated || f.stopped {
		p.Cut.note("descriptors", int64(f.all), f.stopped)
	}
	return f.list
}

// files is what is known of the descriptors of a process.
type files struct {
	*look
	*process
	list                []Descriptor
	told                map[string]bool // as texts: what the process has
	all, text, repeated int
	stopped             bool // not all are counted
}

// table reads those of a thread, or 0 for the one that is read; false if none is to follow.
func (f *files) table(tid int) bool {
	dir := below(tid) + "fd"
	err := f.names(f.dir, dir, func(name string) bool {
		f.add(tid, name)
		f.stopped = f.all >= MaxScan
		return !f.stopped
	})
	if err != nil && !f.left(tid) {
		f.fail(dir, err)
	}
	return !f.stopped
}

// add counts a descriptor, and reads it as long as the bounds let.
func (f *files) add(tid int, name string) {
	f.all++
	if f.full(tid) {
		return
	}
	d, ok := f.descriptor(tid, name)
	if !ok { // it was closed meanwhile
		f.all--
		return
	}
	text := string(marshal(d))
	if f.told[text] {
		f.repeated++
		f.spent.Repeated++
		return
	}
	f.told[text] = tid == 0
	d.Thread = tid
	f.list = append(f.list, d)
	f.spent.Descriptors++
	f.text += len(d.Target)
}

// full reports whether a bound is reached, one of those for threads among them.
func (f *files) full(tid int) bool {
	return len(f.list) == MaxDescriptors || f.spent.Descriptors == AllDescriptors || f.text > MaxText ||
		tid != 0 && (f.repeated == MaxRepeated || f.spent.Repeated == AllRepeated)
}

// descriptor reads one; false if it is closed.
func (p *process) descriptor(tid int, name string) (d Descriptor, ok bool) {
	at := below(tid)
	target, err := p.readlink(at + "fd/" + name)
	if errors.Is(err, unix.ENOENT) || err != nil && p.left(tid) {
		return d, false
	}
	p.fail(at+"fd/"+name, err) // a path that is too long to be told
	d.Target, d.TargetB64 = target, raw(target)
	d.FD, _ = strconv.Atoi(name)
	text, _, _ := readAt(p.dir, at+"fdinfo/"+name, maxInfo)
	for line := range strings.Lines(string(text)) {
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch field {
		case "flags":
			d.Flags = value
		case "pos":
			d.Pos, _ = strconv.ParseInt(value, 10, 64)
		case "mnt_id":
			d.Mount, _ = strconv.Atoi(value)
		}
	}
	return d, true
}
