package respond

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/socket"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/cgroup"
)

// network is what a workload has of it, as it was while the workload stood still: its
// namespaces and the ids of its cgroups may be gone with its last process.
type network struct {
	namespaces *socket.Namespaces
	own        socket.Match // what is the workload's, or was cut with it
	held       socket.Match // what its processes had a descriptor of, whoever made it
	seen       []socket.Socket
	unknown    error // why sockets may be where nobody looks
	unlisted   bool  // its processes had sockets that are not among seen
}

var errHalfway = errors.New("its sockets were not looked at to the end: some may be left")

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
	r.net = &network{unknown: errHalfway} // until all was looked at
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	inside, outside := r.pids()
	all := both(inside, outside)
	var err error
	r.net.namespaces, err = socket.OpenNamespaces(all)
	unknown := unlessDenied(err)
	note(err)
	ids, err := cgroup.IDs(r.target.Groups)
	note(err)
	r.net.own.Cgroups = map[uint64]bool{} // what was known before is there whatever can be read now
	maps.Copy(r.net.own.Cgroups, ids)
	unknown = errors.Join(unknown, err) // sockets that bear the id of one that is not known pass for others'
	for _, id := range r.target.Past {
		r.net.own.Cgroups[id] = true
	}
	r.net.own.Inodes, err = socket.Inodes(outside) // in the cgroups of others, and made there
	note(err)
	r.net.held.Inodes, r.Rings, err = socket.Held(all)
	r.Rings = r.Rings[:min(len(r.Rings), maxListed)]
	r.net.unlisted = err != nil // what was not seen may be such
	note(err)
	var listing error
	r.net.seen, listing = socket.List(r.net.namespaces, socket.Match{Cgroups: r.net.own.Cgroups, Inodes: r.net.held.Inodes})
	if r.net.seen == nil {
		r.net.seen = []socket.Socket{} // evidence lists none
	}
	r.net.own.Cookies = map[uint64]bool{}
	listed := map[uint32]bool{}
	for i := range r.net.seen {
		s := &r.net.seen[i]
		listed[s.Inode] = true
		if s.Connected() { // wherever it was made: the workload can send by it
			r.net.own.Cookies[s.Cookie] = true
		}
	}
	for inode := range r.net.held.Inodes {
		r.net.unlisted = r.net.unlisted || !listed[inode]
	}
	note(r.net.plainly(listing))
	r.net.unknown = unknown
	return errors.Join(errs...)
}

// others reports whether an error is about sockets that the kernel does not list, and that
// are not the workload's: all that its processes had are listed. What goes on without a
// process may be, since no descriptor says whose it is.
func (n *network) others(err error) bool {
	u, unasked := err.(*socket.Unasked)
	return unasked && !n.unlisted && !u.Outlives()
}

// plainly tells of those, in place of what the listing says, why they were not looked at and
// need not be: the kill is verified all the same.
func (n *network) plainly(err error) error {
	var told []error
	rest := leafs(err, func(err error) bool {
		if u := (*socket.Unasked)(nil); n.others(err) && errors.As(err, &u) {
			mend := ""
			if module := u.Module(); module != "" {
				mend = "; modprobe " + module + " to have them listed"
			}
			told = append(told, fmt.Errorf("protocol %s in network namespace %d: %d sockets of other processes were not looked at, for this kernel does not list them: what is verified does not rest on them, since each process of the workload was found to have none, and such a socket is gone with the last process that has it%s",
				u.Protocol, u.Namespace, u.Sockets, mend))
			return true
		}
		return false
	})
	return errors.Join(append(told, rest)...)
}

// pids lists the processes in the cgroups, and those of which a thread bears the mark
// elsewhere.
func (r *response) pids() (inside, outside []int) {
	_ = r.eachGroup(func(g *cgroup.Group) error { // the count before has told what fails
		pids, err := g.Procs()
		inside = append(inside, pids...)
		return err
	})
	threads, _ := r.inside()
	back := map[int]bool{} // what they made while they were outside bears another cgroup
	for _, p := range r.Returned {
		back[p.PID] = true
	}
	for _, m := range r.living {
		if !threads[m.PID] || back[m.TGID] {
			outside = append(outside, m.TGID)
		}
	}
	slices.Sort(outside)
	return inside, slices.Compact(outside)
}

// both are those of two lists, each once.
func both(inside, outside []int) []int {
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(inside, outside))))
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
	return list, leafs(err, r.net.others)
}

// unlessKept leaves out what the kernel destroys of no workload.
func unlessKept(err error) error {
	return leafs(err, func(err error) bool { _, kept := err.(*socket.Kept); return kept })
}

// silent reports whether no socket of the workload is left, nor one that may be its: who
// made what nobody has a descriptor of, in a cgroup that is gone, cannot be known.
func (r *response) silent() (bool, error) {
	if r.net == nil || r.net.namespaces == nil {
		return false, errors.New("its sockets are not known")
	}
	living, unknown := cgroup.IDs([]string{"."})
	match := r.net.own
	if match.Living = living; living == nil {
		match.Living = map[uint64]bool{}
	}
	left, err := r.list(match)
	r.Sockets = left
	return len(left) == 0, errors.Join(err, unknown, r.net.unknown)
}

// handed lists who else has descriptors of sockets that the workload's processes had.
func (r *response) handed() error {
	if r.net == nil {
		return nil
	}
	holders, err := socket.Holders(r.net.held.Inodes)
	own := map[int]bool{}
	for _, m := range r.living {
		own[m.TGID] = true
	}
	known := map[uint32]socket.Socket{}
	for _, s := range r.net.seen {
		known[s.Inode] = s
	}
	for inode, pids := range holders {
		for _, pid := range pids {
			if !own[pid] {
				s := known[inode] // empty: of a kind that is not listed, or not connected
				s.Inode = inode
				r.Handed = append(r.Handed, api.HeldSocket{Process: process(bpf.Marked{PID: pid, TGID: pid}), Socket: s})
			}
		}
	}
	slices.SortFunc(r.Handed, func(a, b api.HeldSocket) int {
		return cmp.Or(cmp.Compare(a.PID, b.PID), cmp.Compare(a.Socket.Inode, b.Socket.Inode))
	})
	r.Handed = r.Handed[:min(len(r.Handed), maxListed)]
	return unlessDenied(err)
}
