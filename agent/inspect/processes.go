package inspect

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// ProcessRecord is a process as Processes tells it; PPID makes a tree of them.
type ProcessRecord struct {
	Head
	PPID    int    `json:"ppid"`
	Threads int    `json:"threads"`
	Comm    string `json:"comm"` // its own choice, as all text here
	CommB64 []byte `json:"comm_b64,omitempty"`
	State   string `json:"state"` // a letter, as in /proc
	// UID and GID are the effective ones.
	UID           *uint32  `json:"uid,omitempty"`
	GID           *uint32  `json:"gid,omitempty"`
	Session       int      `json:"session"`
	TTY           string   `json:"tty,omitempty"` // MAJOR:MINOR
	NSPID         []uint32 `json:"nspid"`         // in each namespace of pids, the outermost first
	Cgroup        string   `json:"cgroup"`        // below the mount of cgroup2
	CgroupB64     []byte   `json:"cgroup_b64,omitempty"`
	Executable    string   `json:"executable"` // " (deleted)" at its end may be part of the name
	ExecutableB64 []byte   `json:"executable_b64,omitempty"`
	// Args is the command line as its memory has it. If "cut" has "args", the kernel told
	// less of it than there is: the total is in bytes, and the last may be torn.
	Args    []string `json:"args"`
	ArgsB64 [][]byte `json:"args_b64,omitempty"`
}

// readProcess reads what may hang last.
func readProcess(_ *look, p *process) any {
	r := ProcessRecord{NSPID: []uint32{}, Args: []string{}}
	if p.there() {
		s, err := p.stat()
		p.fail("stat", err)
		r.PPID, r.Threads, r.Session, r.State = s.parent, s.threads, s.session, s.state
		if first, err := statIn(p.whole, "stat"); err == nil { // the name stays, whoever is read
			s.comm = first.comm
		}
		r.Comm, r.CommB64 = s.comm, raw(s.comm)
		if tty := uint64(uint32(s.tty)); tty != 0 {
			r.TTY = fmt.Sprintf("%d:%d", unix.Major(tty), unix.Minor(tty))
		}
		r.identify(p)
		r.Executable = p.link("exe")
		r.ExecutableB64 = raw(r.Executable)
		if p.Unread == "" {
			r.Args = p.args(s)
			r.ArgsB64 = rawList(r.Args)
		}
	}
	r.Head = p.Head
	return r
}

// identify reads who the process is, and where.
func (r *ProcessRecord) identify(p *process) {
	status := p.status()
	if ids := numbers(status["Uid"]); len(ids) > 1 {
		r.UID = &ids[1]
	}
	if ids := numbers(status["Gid"]); len(ids) > 1 {
		r.GID = &ids[1]
	}
	r.NSPID = numbers(status["NStgid"]) // NSpid is a thread's
	text, _ := p.read("cgroup", maxSmall)
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			r.Cgroup, r.CgroupB64 = path, raw(path)
		}
	}
}

// args reads the command line, which lies in the memory of the process.
func (p *process) args(s stat) []string {
	return p.memory("cmdline", "args", MaxArgs, s.argsTo-s.argsFrom)
}

// memory reads texts that lie in the memory of the process, where they had some length in
// the beginning. What the kernel tells is shorter if the process took pages of it away, or
// changed its title; it is longer after a long title.
func (p *process) memory(file, what string, limit int, length int64) []string {
	text, more := p.read(file, limit)
	if n := int64(len(text)); more || n < length {
		p.Cut.note(what, max(length, n+1), more && length <= n)
	}
	return split(text)
}

// split splits a text at its NULs, of which the last ends it.
func split(text []byte) []string {
	if len(text) == 0 {
		return []string{}
	}
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
}
