package inspect

import (
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// What /proc/PID tells is its first thread's. That may end while others live: from then on
// nothing is there, though the process has it all. /proc/TID, which no list of /proc has,
// tells as much of any other thread.

// maxTries is how often a process is read of which threads end meanwhile.
const maxTries = 3

// record reads a process through a thread that lives until all is read, if there is one.
func (l *look) record(named Process, read func(*look, *process) any) any {
	before := l.spent
	for try := 1; ; try++ {
		p := hold(named, l.say)
		record := read(l, p)
		again := try < maxTries && l.failed == nil && p.lost()
		p.close()
		if !again {
			return record
		}
		l.spent.Descriptors, l.spent.Mappings = before.Descriptors, before.Mappings // none is told
	}
}

// lead has a living thread read where the first one has ended.
func (p *process) lead() {
	if !p.there() || !p.ended() {
		return
	}
	if fd, tid := p.living(); fd >= 0 {
		p.dir, p.Thread = fd, tid
	}
}

// lost reports whether the thread that was read has ended, and another one lives.
func (p *process) lost() bool {
	if !p.there() || !p.ended() {
		return false
	}
	fd, _ := p.living()
	if fd < 0 {
		return false
	}
	unix.Close(fd)
	return true
}

// thread is the number of the one that is read.
func (p *process) thread() int {
	if p.Thread != 0 {
		return p.Thread
	}
	return p.PID
}

// ended reports whether the thread that is read has.
func (p *process) ended() bool { return over(p.stat()) }

// over reports whether a thread has ended, by its stat.
func over(s stat, err error) bool { return err != nil || s.state == "Z" || s.state == "X" }

// living opens the directory of a thread that lives; -1 if none does.
func (p *process) living() (fd, tid int) {
	fd = -1
	// The directory of the process has them all, whatever has become of the thread.
	_ = p.names(p.whole, "task", func(name string) bool { // an error: it has ended
		if over(statIn(p.whole, "task/"+name+"/stat")) {
			return true
		}
		if tid, _ = strconv.Atoi(name); tid > 0 {
			fd = p.open(tid)
		}
		return fd < 0
	})
	return fd, tid
}

// open opens the directory of a living thread of the process, by a number that may be
// another's by now; -1 if it is.
func (p *process) open(tid int) int {
	fd, err := openAt(unix.AT_FDCWD, fmt.Sprintf("/proc/%d", tid), unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return -1
	}
	text, _, err := readAt(fd, "status", maxSmall)
	// As long as the process is there, its number is no other one's.
	if err != nil || values(text)["Tgid"] != strconv.Itoa(p.PID) || over(statIn(fd, "stat")) || !p.alive() {
		unix.Close(fd)
		return -1
	}
	return fd
}

// tables calls each with one thread of each table of descriptors that is not that of the
// thread that is read, until that returns false. more: there are more than the bound.
func (p *process) tables(each func(tid int) bool) (more bool) {
	known := []int{p.thread()} // in the order of compareTables
	p.list("task", func(name string) bool {
		tid, err := strconv.Atoi(name)
		at, same := slices.BinarySearchFunc(known, tid, compareTables)
		if err != nil || same || tid == p.thread() {
			return true
		}
		if more = len(known) == MaxTables; more {
			return false
		}
		known = slices.Insert(known, at, tid)
		return each(tid)
	})
	return more
}

// below is where what a thread has begins, from the directory of any of the process; 0 is
// the one that is read.
func below(tid int) string {
	if tid == 0 {
		return ""
	}
	return fmt.Sprintf("task/%d/", tid)
}

// left reports whether a thread, other than the one that is read, has ended.
func (p *process) left(tid int) bool { return tid != 0 && over(statIn(p.dir, below(tid)+"stat")) }

// kcmpFiles is KCMP_FILES of include/uapi/linux/kcmp.h.
const kcmpFiles = 2

// compareTables orders the tables of two threads: 0 if they are one. Where the kernel does
// not say, each is taken for its own: then what only threads share is told of each.
var compareTables = func(a, b int) int {
	order, _, err := unix.Syscall6(unix.SYS_KCMP, uintptr(a), uintptr(b), kcmpFiles, 0, 0, 0)
	switch {
	case err == 0 && order == 0:
		return 0
	case err == 0 && order == 1:
		return -1
	}
	return 1
}
