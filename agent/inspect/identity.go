package inspect

import (
	"errors"

	"golang.org/x/sys/unix"
)

// NamespacesRecord is what Namespaces tells of a process: type:[inode] by the name of the
// link in ns.
type NamespacesRecord struct {
	Head
	Namespaces map[string]string `json:"namespaces"`
}

func readNamespaces(_ *look, p *process) any {
	r := NamespacesRecord{Namespaces: map[string]string{}}
	if p.Unread == "" && p.there() {
		p.list("ns", func(name string) bool {
			if target := p.link("ns/" + name); target != "" {
				r.Namespaces[name] = target
			}
			return true
		})
	}
	r.Head = p.Head
	return r
}

// CredentialsRecord is what Credentials tells of a process. Sets of capabilities are
// hexadecimal, as in its status.
type CredentialsRecord struct {
	Head
	// UID and GID are the real, effective, saved and file system's ones.
	UID         []uint32 `json:"uid"`
	GID         []uint32 `json:"gid"`
	Groups      []uint32 `json:"groups"`
	Inheritable string   `json:"cap_inheritable"`
	Permitted   string   `json:"cap_permitted"`
	Effective   string   `json:"cap_effective"`
	Bounding    string   `json:"cap_bounding"`
	Ambient     string   `json:"cap_ambient"`
	NoNewPrivs  string   `json:"no_new_privs"` // 0 or 1
	Seccomp     string   `json:"seccomp"`      // 0 none, 1 strict, 2 filter
	// LoginUID is absent if nobody logged in, or the kernel has no audit.
	LoginUID string `json:"loginuid,omitempty"`
	// LSMLabel is that of the security module, if there is one with labels: not one of the
	// workload's.
	LSMLabel    string `json:"lsm_label,omitempty"`
	LSMLabelB64 []byte `json:"lsm_label_b64,omitempty"`
}

// nobody is the loginuid of who never logged in.
const nobody = "4294967295"

func readCredentials(_ *look, p *process) any {
	r := CredentialsRecord{UID: []uint32{}, GID: []uint32{}, Groups: []uint32{}}
	if p.there() {
		s := p.status()
		r.UID, r.GID, r.Groups = numbers(s["Uid"]), numbers(s["Gid"]), numbers(s["Groups"])
		if n := len(r.Groups); n > MaxSupplementary {
			p.Cut.note("groups", int64(n), false)
			r.Groups = r.Groups[:MaxSupplementary]
		}
		r.Inheritable, r.Permitted, r.Effective = s["CapInh"], s["CapPrm"], s["CapEff"]
		r.Bounding, r.Ambient = s["CapBnd"], s["CapAmb"]
		r.NoNewPrivs, r.Seccomp = s["NoNewPrivs"], s["Seccomp"]
		if p.Unread == "" {
			if r.LoginUID = p.optional("loginuid"); r.LoginUID == nobody {
				r.LoginUID = ""
			}
			r.LSMLabel = p.optional("attr/current")
			r.LSMLabelB64 = raw(r.LSMLabel)
		}
	}
	r.Head = p.Head
	return r
}

// optional is word for a file that some kernels do not have, or have nothing to say in.
func (p *process) optional(file string) string {
	p.say(p.PID, file)
	text, _, err := readAt(p.dir, file, maxSmall)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return ""
	}
	p.fail(file, err)
	return trim(text)
}
