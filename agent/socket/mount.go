package socket

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is a line of /proc/self/mountinfo (man 5 proc_pid_mountinfo).
type mount struct{ root, point, system string }

// mounts reads a mountinfo.
func mounts(text string) (all []mount) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		for i := 6; i+1 < len(fields); i++ { // behind optional fields stands a dash
			if fields[i] == "-" {
				all = append(all, mount{fields[3], unescape(fields[4]), fields[i+1]})
				break
			}
		}
	}
	return all
}

// unescape undoes \OOO, three octal digits, as which mountinfo writes spaces and more.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// served lists file systems whose answers come from a process or from another host: a
// look at a path in one may take for ever.
var served = []string{"fuse", "nfs", "cifs", "smb", "9p", "ceph", "afs", "autofs", "virtiofs", "coda", "orangefs", "lustre", "glusterfs", "gfs"}

// slow returns a file system of that kind on the way to a path, or hidden by what is; ""
// if there is none. That of / does not count: whoever runs from it depends on it.
func slow(all []mount, path string) string {
	for _, m := range all {
		if m.point == "/" || m.point != path && !strings.HasPrefix(path, m.point+"/") {
			continue
		}
		for _, system := range served {
			if strings.HasPrefix(m.system, system) {
				return m.system
			}
		}
	}
	return ""
}

// mounted opens the namespaces that are mounted, as those of `ip netns` in /run/netns. No
// symbolic link is followed: the path that the kernel tells has none.
func (n *Namespaces) mounted() error {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return wrap(err)
	}
	var failed trouble
	all := mounts(string(text))
	for _, m := range all {
		if m.system != "nsfs" || !strings.HasPrefix(m.root, "net:[") || n.links[m.root] {
			continue
		}
		if system := slow(all, m.point); system != "" {
			failed.add(wrap(fmt.Errorf("%s: it lies behind a mount of %s, which may never answer", m.point, system)))
			continue
		}
		failed.add(n.open(m.point, unix.RESOLVE_NO_SYMLINKS))
	}
	return failed.err()
}
