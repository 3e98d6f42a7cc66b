package socket

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// maxDescriptors is how many of one process are looked at: as many as fs.nr_open lets a
// process have unless it is raised.
const maxDescriptors = 1 << 20

// Inodes is the first part of Held.
func Inodes(pids []int) (map[uint32]bool, error) {
	all, _, err := Held(pids)
	return all, err
}

// Held returns the inodes of all sockets that the processes have a descriptor of, and
// their rings, by the links in /proc/PID/task/TID/fd: threads may have descriptors of their
// own. What has ended has none. The error is about what could not be read, and stands beside
// what could. What is passed on by SCM_RIGHTS and not yet received, or was given to io_uring,
// is no descriptor.
func Held(pids []int) (sockets map[uint32]bool, rings []Ring, err error) {
	// They stand still until all is known: as many at once as there are processors.
	parts := make([]held, min(runtime.GOMAXPROCS(0), max(len(pids), 1)))
	var done sync.WaitGroup
	for i := range parts {
		done.Go(func() {
			parts[i].sockets = map[uint32]bool{}
			for j := i; j < len(pids); j += len(parts) {
				parts[i].of(pids[j])
			}
		})
	}
	done.Wait()
	all := held{sockets: map[uint32]bool{}}
	for _, part := range parts {
		maps.Copy(all.sockets, part.sockets)
		all.rings = append(all.rings, part.rings...)
		all.failed.join(part.failed)
	}
	slices.SortFunc(all.rings, func(a, b Ring) int { return cmp.Or(a.PID-b.PID, a.Descriptor-b.Descriptor) })
	return all.sockets, all.rings, all.failed.err()
}

// held is what some processes have descriptors of.
type held struct {
	sockets map[uint32]bool
	rings   []Ring
	failed  trouble
}

// of adds what one process has.
func (h *held) of(pid int) {
	h.failed.add(eachDescriptor(pid, func(path, link string) {
		if link == ringLink {
			h.rings = append(h.rings, ringOf(pid, path))
		}
		if text, ok := strings.CutPrefix(link, "socket:["); ok {
			if inode, err := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 32); err == nil {
				h.sockets[uint32(inode)] = true
			}
		}
	}))
}

// Holders returns the processes that have a descriptor of a socket, by its inode, of all that
// there are. The error is as for Inodes.
func Holders(wanted map[uint32]bool) (map[uint32][]int, error) {
	found := map[uint32][]int{}
	pids, err := numbers("/proc")
	var failed trouble
	failed.add(err)
	for _, pid := range pids {
		held, err := Inodes([]int{pid})
		failed.add(err)
		for inode := range held {
			if wanted[inode] {
				found[inode] = append(found[inode], pid)
			}
		}
	}
	return found, failed.err()
}

// eachDescriptor gives path and link of each descriptor of a process to take.
func eachDescriptor(pid int, take func(path, link string)) error {
	tids, err := numbers(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return past(err)
	}
	var failed trouble
	left, last := maxDescriptors, 0
	for _, tid := range tids {
		if last != 0 && sameTable(last, tid) {
			continue
		}
		last = tid
		thread := fmt.Sprintf("/proc/%d/task/%d", pid, tid)
		if err := eachLink(thread+"/fd", &left, take); err != nil && !ended(thread) {
			failed.add(fmt.Errorf("descriptors of process %d: %w: sockets among them may not be known; run as root, then try again", pid, err))
		}
	}
	return failed.err()
}

var errDescriptors = fmt.Errorf("more than %d", maxDescriptors)

// eachLink gives the links in a directory to take, at most as many as are left.
func eachLink(directory string, left *int, take func(path, link string)) error {
	d, err := os.Open(directory)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(1024)
		for _, name := range names {
			if *left--; *left < 0 {
				return errDescriptors
			}
			path := directory + "/" + name
			if link, err := os.Readlink(path); err == nil { // else it was closed meanwhile
				take(path, link)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// kcmpFiles is KCMP_FILES of include/uapi/linux/kcmp.h.
const kcmpFiles = 2

// sameTable reports whether two threads are known to share their descriptors.
func sameTable(a, b int) bool {
	order, _, err := unix.Syscall6(unix.SYS_KCMP, uintptr(a), uintptr(b), kcmpFiles, 0, 0, 0)
	return err == 0 && order == 0
}
