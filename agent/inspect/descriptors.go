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

// descriptors reads as many as the bounds let, and counts the rest.
func (l *look) descriptors(p *process) []Descriptor {
	list := []Descriptor{}
	var all, text int
	p.list("fd", func(name string) bool {
		all++
		if len(list) == MaxDescriptors || l.spent.Descriptors == AllDescriptors || text > MaxText {
			return all < MaxScan
		}
		d, ok := p.descriptor(name)
		if !ok { // it was closed meanwhile
			all--
			return true
		}
		list = append(list, d)
		l.spent.Descriptors++
		text += len(d.Target)
		return true
	})
	if all > len(list) {
		p.Cut.note("descriptors", int64(all), all >= MaxScan)
	}
	return list
}

// descriptor reads one; false if it is closed.
func (p *process) descriptor(name string) (d Descriptor, ok bool) {
	target, err := p.readlink("fd/" + name)
	if errors.Is(err, unix.ENOENT) {
		return d, false
	}
	p.fail("fd/"+name, err) // a path that is too long to be told
	d.Target, d.TargetB64 = target, raw(target)
	d.FD, _ = strconv.Atoi(name)
	text, _, _ := readAt(p.dir, "fdinfo/"+name, maxInfo)
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
