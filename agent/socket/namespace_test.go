package socket

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/thread"
)

// found opens all namespaces. A machine may keep its first process from everybody, which
// these tests do not need.
func found(t *testing.T, pids ...int) *Namespaces {
	t.Helper()
	n, err := OpenNamespaces(pids)
	t.Cleanup(func() { n.Close() })
	if err != nil && (!errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "/proc/1/") || strings.Contains(err.Error(), "\n")) {
		t.Fatal(err)
	}
	return n
}

func own(t *testing.T) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func TestNamespacesAreThoseOfTheCallerAndOfEveryProcessOnce(t *testing.T) {
	w := newWorld(t)
	if before := found(t); before.at(w.ns.inode) != nil {
		t.Fatal("one that only a descriptor of the test holds was found")
	}
	g, _ := group(t)
	w.start(g)
	w.start(g)
	n := found(t)
	inodes := n.Inodes()
	if inodes[0] != own(t) || n.at(w.ns.inode) == nil {
		t.Errorf("found %v; want the caller's %d first, and that of the children, %d", inodes, own(t), w.ns.inode)
	}
	slices.Sort(inodes)
	if len(slices.Compact(inodes)) != len(n.all) {
		t.Errorf("found %v: some twice", n.Inodes())
	}
}

func TestNamespacesOfThreadsAndDescriptorsOfGivenProcessesAreFound(t *testing.T) {
	byDescriptor := newWorld(t)
	inodes, done := make(chan uint64), make(chan bool)
	thread.Start(func() {
		var st unix.Stat_t
		if err := errors.Join(unix.Unshare(unix.CLONE_NEWNET), unix.Stat("/proc/thread-self/ns/net", &st)); err != nil {
			t.Error(err)
		}
		inodes <- st.Ino
		<-done
	})
	byThread := <-inodes
	defer close(done)
	if n := found(t); n.at(byThread) != nil {
		t.Errorf("that of a thread was found without the process being given")
	}
	n := found(t, os.Getpid())
	if n.at(byThread) == nil || n.at(byDescriptor.ns.inode) == nil {
		t.Errorf("found %v; want %d of a thread, %d of a descriptor", n.Inodes(), byThread, byDescriptor.ns.inode)
	}
}

func TestSocketInANamespaceWithoutProcessesIsFoundByAHeldDescriptor(t *testing.T) {
	w := newWorld(t)
	g, ids := group(t)
	listener := w.open(spec{Family: unix.AF_INET, Type: unix.SOCK_STREAM, Local: "127.0.0.1:0", Listen: true})[0]
	p := w.start(g, spec{Family: unix.AF_INET, Type: unix.SOCK_STREAM, Peer: local(listener), Fill: true})
	n := found(t, p.cmd.Process.Pid)
	accept(t, listener)
	p.kill()
	if late := found(t); late.at(w.ns.inode) != nil {
		t.Fatal("the namespace has a process: this test shows nothing")
	}
	w.held.Close() // what the test itself holds
	list, err := List(n, Match{Cgroups: ids})
	if err != nil || len(list) != 1 || list[0].Namespace != w.ns.inode {
		t.Fatalf("listed %+v, %v; want the orphan", list, err)
	}
	if err := Destroy(n, list); err != nil {
		t.Fatal(err)
	}
	if left, err := List(n, Match{Cgroups: ids}); err != nil || len(left) != 0 {
		t.Errorf("after Destroy: %+v, %v", left, err)
	}
	list[0].Namespace++
	if err := Destroy(n, list); err == nil || !strings.Contains(err.Error(), "not held") {
		t.Errorf("Destroy in a namespace that is not held: %v", err)
	}
}

// bind mounts the namespace at a path, until the test ends.
func (w *world) bind(path string) {
	w.t.Helper()
	err := os.WriteFile(path, nil, 0o600)
	if err == nil {
		err = unix.Mount(fmt.Sprintf("/proc/self/fd/%d", w.ns.file.Fd()), path, "", unix.MS_BIND, "")
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
}

func TestMountedNamespacesAreFoundAndNothingElseIsOpened(t *testing.T) {
	seen, hidden := newWorld(t), newWorld(t)
	dir := t.TempDir()
	seen.bind(filepath.Join(dir, "with space"))
	over := filepath.Join(dir, "hidden")
	hidden.bind(over)
	n := found(t)
	if n.at(seen.ns.inode) == nil || n.at(hidden.ns.inode) == nil {
		t.Fatalf("found %v; want %d and %d", n.Inodes(), seen.ns.inode, hidden.ns.inode)
	}
	// A pipe is put over the mount: to open it would take for ever.
	pipe := filepath.Join(dir, "pipe")
	if err := errors.Join(unix.Mkfifo(pipe, 0o600), unix.Mount(pipe, over, "", unix.MS_BIND, "")); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(over, unix.MNT_DETACH)
	n, err := OpenNamespaces(nil)
	defer n.Close()
	if err == nil || !strings.Contains(err.Error(), "no namespace is there") || !strings.Contains(err.Error(), over) {
		t.Errorf("error %v; want one about %s", err, over)
	}
	if n.at(seen.ns.inode) == nil || n.at(hidden.ns.inode) != nil {
		t.Errorf("found %v; want %d beside the error", n.Inodes(), seen.ns.inode)
	}
}

func TestOnlyNamespacesOfTheNetworkAreHeld(t *testing.T) {
	n := &Namespaces{known: map[identity]bool{}, links: map[string]bool{}}
	defer n.Close()
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink("/proc/self/ns/net", link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/proc/self/ns/mnt", dir, "/dev/zero"} {
		if err := n.open(path, 0); err == nil {
			t.Errorf("%s was held", path)
		}
	}
	if err := n.open(link, unix.RESOLVE_NO_SYMLINKS); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a symbolic link: %v; want ELOOP", err)
	}
	if err := n.open("/proc/self/ns/net", 0); err != nil || len(n.all) != 1 {
		t.Errorf("the control: %v", err)
	}
}

func TestMountsBehindAServedFileSystemAreNotTouched(t *testing.T) {
	all := mounts(`22 1 0:20 / / rw,relatime shared:1 - fuse.overlay none rw
30 22 0:4 net:[4026532281] /run/net\040ns/a rw shared:5 master:2 - nsfs nsfs rw
31 22 0:50 / /run/slow rw - fuse.sshfs x rw
32 31 0:4 net:[4026532282] /run/slow/b rw - nsfs nsfs rw
33 22 0:4 net:[4026532283] /run/slower rw - nsfs nsfs rw
`)
	want := []mount{{"net:[4026532281]", "/run/net ns/a", "nsfs"}, {"net:[4026532282]", "/run/slow/b", "nsfs"}, {"net:[4026532283]", "/run/slower", "nsfs"}}
	for i, system := range []string{"", "fuse.sshfs", ""} {
		m := all[[]int{1, 3, 4}[i]]
		if m != want[i] || slow(all, m.point) != system {
			t.Errorf("%+v behind %q; want %+v behind %q", m, slow(all, m.point), want[i], system)
		}
	}
}

func TestMoreNamespacesThanTheLimitAreToldOnce(t *testing.T) {
	n := &Namespaces{known: map[identity]bool{}, links: map[string]bool{}, all: make([]*namespace, maxNamespaces)}
	if err := n.process(os.Getpid()); !errors.Is(err, errTooMany) {
		t.Errorf("the first: %v; want that there are too many", err)
	}
	if err := n.process(os.Getpid()); err != nil || len(n.all) != maxNamespaces {
		t.Errorf("the second: %v, %d held", err, len(n.all))
	}
}

func TestDumpIsRepeatedUntilNothingInterruptsIt(t *testing.T) {
	for _, interrupted := range []int{0, dumpTries - 1, dumpTries} {
		asked := 0
		err := whole(func() error {
			if asked++; asked <= interrupted {
				return nl.ErrDumpInterrupted
			}
			return nil
		})
		if asked != min(interrupted+1, dumpTries) || (err != nil) != (interrupted == dumpTries) {
			t.Errorf("%d times interrupted: asked %d times, %v", interrupted, asked, err)
		}
	}
}
