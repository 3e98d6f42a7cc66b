package respond

import (
	"errors"
	"io/fs"
	"slices"

	"github.com/stockade-dev/stockade/agent/socket"
	"github.com/stockade-dev/stockade/cgroup"
)

// network is what a workload has of it, as it was while the workload stood still: its
// namespaces and the ids of its cgroups may be gone with its last process.
type network struct {
	namespaces *socket.Namespaces
	own        socket.Match // what is the workload's
	held       socket.Match // what its processes had a descriptor of, whoever made it
	seen       []socket.Socket
	unknown    error // why sockets may be where nobody looks
	unlisted   bool  // its processes had sockets that are not among seen
}

// unlessDenied leaves out that a namespace of another process is withheld from this one,
// as from an agent in a container: those of the workload come first.
func unlessDenied(err error) error {
	return leafs(err, func(err error) bool { return errors.Is(err, fs.ErrPermission) })
}

// leafs returns the errors of a tree of joined ones but for some.
func leafs(err error, but func(error) bool) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		if err == nil || but(err) {
			return nil
		}
		return err
	}
	var rest []error
	for _, one := range joined.Unwrap() {
		rest = append(rest, leafs(one, but))
	}
	return errors.Join(rest...)
}

// lookAtNetwork lists the sockets of the workload. What cannot be known is told, and the
// rest is listed.
func (r *response) lookAtNetwork() error {
	r.net = &network{}
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	inside, outside := r.pids()
	var err error
	r.net.namespaces, err = socket.OpenNamespaces(slices.Concat(inside, outside))
	r.net.unknown = unlessDenied(err)
	note(err)
	r.net.own.Cgroups, err = cgroup.IDs(r.target.Groups)
	note(err)
	r.net.own.Inodes, err = socket.Inodes(outside) // in the cgroups of others, and made there
	note(err)
	r.net.held.Inodes, err = socket.Inodes(slices.Concat(inside, outside))
	note(err)
	r.net.seen, err = socket.List(r.net.namespaces, socket.Match{Cgroups: r.net.own.Cgroups, Inodes: r.net.held.Inodes})
	note(err)
	listed := map[uint32]bool{}
	for i := range r.net.seen {
		listed[r.net.seen[i].Inode] = true
	}
	for inode := range r.net.held.Inodes {
		r.net.unlisted = r.net.unlisted || !listed[inode]
	}
	return errors.Join(errs...)
}

// pids lists the processes in the cgroups, and those that bear the mark elsewhere.
func (r *response) pids() (inside, outside []int) {
	known := map[int]bool{}
	_ = r.eachGroup(func(g *cgroup.Group) error { // the count before has told what fails
		pids, err := g.Procs()
		for _, pid := range pids {
			known[pid] = true
			inside = append(inside, pid)
		}
		return err
	})
	for _, m := range r.living {
		if !known[m.TGID] {
			known[m.TGID] = true
			outside = append(outside, m.TGID)
		}
	}
	return inside, outside
}

// cut has the kernel end the sockets of the workload. Kinds that the kernel does not end
// go with the processes: verify looks.
func (r *response) cut() error {
	if r.net == nil || r.net.namespaces == nil {
		return errors.New("its sockets are not known: none was destroyed")
	}
	list, err := r.list(r.net.own)
	failed := socket.Destroy(r.net.namespaces, list)
	r.Destroyed += len(list)
	if kept := (*socket.Kept)(nil); errors.As(failed, &kept) {
		r.Destroyed -= len(kept.Sockets)
	}
	return errors.Join(err, unlessKept(failed))
}

// list lists sockets. Those of a protocol that the kernel does not list are somebody's: it
// is an error if the workload may be that.
func (r *response) list(match socket.Match) ([]socket.Socket, error) {
	list, err := socket.List(r.net.namespaces, match)
	return list, leafs(err, func(err error) bool { _, unasked := err.(*socket.Unasked); return unasked && !r.net.unlisted })
}

// unlessKept leaves out what the kernel destroys of no workload.
func unlessKept(err error) error {
	return leafs(err, func(err error) bool { _, kept := err.(*socket.Kept); return kept })
}

// silent reports whether no socket of the workload is left. Others may hold descriptors
// that it passed on: they are told apart.
func (r *response) silent() (bool, error) {
	if r.net == nil || r.net.namespaces == nil {
		return false, errors.New("its sockets are not known")
	}
	left, err := r.list(r.net.own)
	r.Sockets = left
	handed, _ := socket.List(r.net.namespaces, r.net.held) // what cannot be asked is told by the first
	r.Handed = slices.DeleteFunc(handed, func(s socket.Socket) bool {
		return slices.ContainsFunc(left, func(t socket.Socket) bool { return s.Cookie == t.Cookie })
	})
	return len(left) == 0, errors.Join(err, r.net.unknown)
}
