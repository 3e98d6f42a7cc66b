package socket

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// Ability is what the kernel does of what stopping a workload's sockets needs.
type Ability struct {
	// Listed are the protocols whose sockets it lists, by their names in
	// /proc/net/protocols, and Unlisted those that it has and does not list, by the module
	// that would.
	Listed   []string
	Unlisted map[string][]string
	// Destroys: it destroys TCP sockets. That is not known, and false, where it lists none.
	Destroys bool
}

// Connections reports whether TCP is listed: what is not cannot be destroyed.
func (a Ability) Connections() bool { return len(a.Unlisted[moduleTCP]) == 0 }

// Probe finds out what the kernel does, by asking it as List and Destroy do, in the
// caller's namespace. It destroys nothing; but who asks for sockets has the kernel load the
// module that lists them, where it finds that.
func Probe() (Ability, error) {
	all := &Namespaces{known: map[identity]bool{}, links: map[string]bool{}}
	if err := all.follow("/proc/thread-self/ns/net"); err != nil {
		return Ability{}, err
	}
	defer all.Close()
	ns := all.all[0]
	_, listed, err := ns.list(kinds, func(*Socket) bool { return false })
	counts, uncounted := ns.counts()
	if err = errors.Join(err, uncounted); err != nil {
		return Ability{}, err
	}
	a := able(slices.Sorted(maps.Keys(counts)), listed)
	if a.Connections() {
		a.Destroys, err = ns.destroys()
	}
	return a, err
}

// able sorts the protocols that the kernel has by whether it lists them. What no module
// lists is left out: nobody can mend that.
func able(protocols []string, listed map[string]bool) Ability {
	a := Ability{Unlisted: map[string][]string{}}
	for _, name := range protocols {
		module := moduleOf(name)
		switch {
		case module == "":
		case listed[name]:
			a.Listed = append(a.Listed, name)
		default:
			a.Unlisted[module] = append(a.Unlisted[module], name)
		}
	}
	return a
}

// nobody is a connection that there is not: no socket has port 0, nor that cookie.
var nobody = Socket{Family: families[unix.AF_INET], Protocol: tcp, Local: "0.0.0.0:0", Peer: "0.0.0.0:0", Cookie: anyCookie - 1}

// destroys has a connection destroyed that there is not: a kernel that can do it looks for
// it first.
func (n *namespace) destroys() (bool, error) {
	link, err := n.dial()
	if err != nil {
		return false, err
	}
	defer link.close()
	switch err := link.destroy(&nobody, 0); {
	case errors.Is(err, syscall.ENOENT):
		return true, nil
	case errors.Is(err, syscall.EOPNOTSUPP):
		return false, nil
	default:
		return false, fmt.Errorf("network namespace %d: destroying a socket that there is not: %w: whether the kernel destroys any is not known; try again", n.inode, err)
	}
}
