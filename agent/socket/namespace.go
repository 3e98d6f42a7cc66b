package socket

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxNamespaces is how many are held at most: each takes a descriptor.
const maxNamespaces = 4096

// Namespaces holds network namespaces open: their sockets can be asked for even when no
// process is in one any more.
type Namespaces struct {
	all   []*namespace
	known map[identity]bool
	links map[string]bool // the same as their links say it, net:[INODE]
	pass  bool            // that there were more than are held was told
}

type namespace struct {
	inode uint64
	file  *os.File
}

type identity struct{ device, inode uint64 }

var errTooMany = fmt.Errorf("network namespaces: more than %d: the sockets in the others are not known; end what makes them", maxNamespaces)

// OpenNamespaces opens every network namespace that it finds: that of the caller, of every
// process, of each thread of the given processes, those that a descriptor of one of them
// refers to, and those that are mounted where the caller sees it. Take them while the
// workload stands still, and use them after it was killed too: a socket outlives its
// process, and may be all that is left in its namespace. The error is about what could not
// be opened, and stands beside what could.
//
// Not found are namespaces that only sockets hold, and those that are mounted only in mount
// namespaces of others.
//
// Nothing that is opened can keep the caller waiting: the links below /proc lead to no file
// system, and mounts are reached by none that a process or another host serves.
func OpenNamespaces(pids []int) (*Namespaces, error) {
	n := &Namespaces{known: map[identity]bool{}, links: map[string]bool{}}
	var failed trouble
	failed.add(n.follow("/proc/thread-self/ns/net"))
	all, err := numbers("/proc")
	failed.add(err)
	// Those that are asked for come first: they are held even if there are too many.
	for _, pid := range pids {
		failed.add(n.threads(pid))
		failed.add(n.descriptors(pid))
	}
	for _, pid := range all {
		failed.add(n.process(pid))
	}
	failed.add(n.mounted())
	return n, failed.err()
}

// Close lets go of them.
func (n *Namespaces) Close() error {
	var errs []error
	for _, ns := range n.all {
		errs = append(errs, ns.file.Close())
	}
	n.all = nil
	return errors.Join(errs...)
}

// Inodes lists them by inode, in the order in which they were found: the caller's first.
func (n *Namespaces) Inodes() []uint64 {
	list := make([]uint64, len(n.all))
	for i, ns := range n.all {
		list[i] = ns.inode
	}
	return list
}

// at returns one by its inode; nil if it is not held.
func (n *Namespaces) at(inode uint64) *namespace {
	i := slices.IndexFunc(n.all, func(ns *namespace) bool { return ns.inode == inode })
	if i < 0 {
		return nil
	}
	return n.all[i]
}

// process opens that of a process. One whose first thread has ended has none: then that of
// each other thread. There is one error of a process, however many threads it has.
func (n *Namespaces) process(pid int) error {
	first := n.follow(fmt.Sprintf("/proc/%d/ns/net", pid))
	if first == nil || errors.Is(first, errTooMany) {
		return first
	}
	rest := n.threads(pid)
	if rest != nil && past(first) != nil {
		return first
	}
	return rest
}

// threads opens that of each thread of a process.
func (n *Namespaces) threads(pid int) error {
	tids, err := numbers(fmt.Sprintf("/proc/%d/task", pid))
	var failed trouble
	failed.add(past(err))
	for _, tid := range tids {
		thread := fmt.Sprintf("/proc/%d/task/%d", pid, tid)
		if err := n.follow(thread + "/ns/net"); err != nil && !ended(thread) {
			failed.add(err)
		}
	}
	return failed.err()
}

// descriptors opens those that the descriptors of a process refer to.
func (n *Namespaces) descriptors(pid int) error {
	var failed trouble
	failed.add(eachDescriptor(pid, func(path, link string) {
		if strings.HasPrefix(link, "net:[") && !n.links[link] {
			failed.add(past(n.open(path, 0)))
		}
	}))
	return failed.err()
}

// follow opens the namespace that a link of /proc stands for, unless it is held: while it
// is, nothing else has its number.
func (n *Namespaces) follow(path string) error {
	link, err := os.Readlink(path)
	if err != nil || n.links[link] {
		return wrap(err)
	}
	file, err := os.Open(path)
	if err != nil {
		return wrap(err)
	}
	return n.hold(file)
}

// open opens what is at a path, if it is a namespace. That is found out by a descriptor
// that only stands for a place, since to open a pipe or a device there may take for ever.
func (n *Namespaces) open(path string, resolve uint64) error {
	place, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: resolve})
	if err != nil {
		return wrap(&fs.PathError{Op: "openat2", Path: path, Err: err})
	}
	defer unix.Close(place)
	var system unix.Statfs_t
	if err := unix.Fstatfs(place, &system); err != nil || system.Type != unix.NSFS_MAGIC {
		return wrap(&fs.PathError{Op: "open", Path: path, Err: errors.Join(errors.New("no namespace is there"), err)})
	}
	file, err := os.Open("/proc/thread-self/fd/" + strconv.Itoa(place))
	if err != nil {
		return wrap(err)
	}
	return n.hold(file)
}

// hold keeps an open namespace, if it is one of the network and new.
func (n *Namespaces) hold(file *os.File) error {
	var status unix.Stat_t
	err := unix.Fstat(int(file.Fd()), &status)
	id := identity{status.Dev, status.Ino}
	if err != nil || n.known[id] || len(n.all) >= maxNamespaces {
		file.Close()
		if err == nil && !n.known[id] && !n.pass {
			n.pass = true
			return errTooMany
		}
		return wrap(err)
	}
	if kind, err := unix.IoctlRetInt(int(file.Fd()), unix.NS_GET_NSTYPE); err != nil || kind != unix.CLONE_NEWNET {
		file.Close()
		return wrap(&fs.PathError{Op: "open", Path: file.Name(), Err: errors.Join(errors.New("it is no network namespace"), err)})
	}
	n.known[id] = true
	n.links[fmt.Sprintf("net:[%d]", id.inode)] = true
	n.all = append(n.all, &namespace{id.inode, file})
	return nil
}

func wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("network namespace: %w: the sockets in it are not known; run as root, then try again", err)
}

// past forgives that a process or a thread has ended.
func past(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// ended reports whether a thread has, by its directory below /proc: one that waits to be
// reaped is still listed, in state Z or X.
func ended(thread string) bool {
	text, err := os.ReadFile(thread + "/stat")
	name := strings.LastIndexByte(string(text), ')')
	return err != nil || name < 0 || len(text) < name+3 || strings.IndexByte("ZX", text[name+2]) >= 0
}

// numbers lists the names in a directory that are numbers.
func numbers(directory string) ([]int, error) {
	d, err := os.Open(directory)
	if err != nil {
		return nil, fmt.Errorf("processes: %w: what they hold is not known; mount /proc", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	var list []int
	for _, name := range names {
		if number, err := strconv.Atoi(name); err == nil {
			list = append(list, number)
		}
	}
	return list, err
}
