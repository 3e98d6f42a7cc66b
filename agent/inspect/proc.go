package inspect

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// process is one whose directory is held open: all that is read is of it, whatever process
// its number means by then.
type process struct {
	Head
	start uint64 // as in Process
	// whole is its directory, dir that of the thread that is read: the same, unless the
	// first has ended.
	whole, dir int
	say        func(pid int, file string) // before what may hang
}

// Head is what a record of any collector says of its process.
type Head struct {
	PID int `json:"pid"`
	// Thread is the one that was read, where the first has ended and others have not: what
	// threads have of their own is its.
	Thread  int    `json:"thread,omitempty"`
	Started uint64 `json:"started"` // nanoseconds after boot, in steps of 10 ms
	// Gone: it has ended, before or while it was read.
	Gone bool `json:"gone,omitempty"`
	// Unread says why not all of it was read.
	Unread string `json:"unread,omitempty"`
	// Failed has the error of each file that could not be read.
	Failed map[string]string `json:"failed,omitempty"`
	Cut    Cuts              `json:"cut,omitempty"`
}

// tick is the unit of times in /proc, in nanoseconds: the same on all that Linux runs on.
const tick = 1e9 / 100

// head is what is known of a process before anything is read.
func (p Process) head() Head { return Head{PID: p.PID, Started: p.Start * tick, Unread: p.Unread} }

// hold opens the directory of a process. One that has ended has none, and is Gone.
func hold(p Process, say func(int, string)) *process {
	held := &process{Head: p.head(), start: p.Start, say: say}
	fd, err := openAt(unix.AT_FDCWD, fmt.Sprintf("/proc/%d", p.PID), unix.O_RDONLY|unix.O_DIRECTORY)
	held.whole, held.dir = fd, fd
	switch {
	case err == nil:
		held.Gone = !held.alive()
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH):
		held.Gone = true
	default:
		held.Failed = map[string]string{".": err.Error()}
	}
	held.lead()
	return held
}

// there reports whether anything can be read of the process.
func (p *process) there() bool { return p.dir >= 0 && !p.Gone }

// alive reports whether the process that was meant is there, dead or not.
func (p *process) alive() bool {
	s, err := statIn(p.whole, "stat")
	return err == nil && s.start == p.start
}

func (p *process) close() {
	if p.dir != p.whole {
		unix.Close(p.dir)
	}
	if p.whole >= 0 {
		unix.Close(p.whole)
	}
}

// fail notes that a file could not be read: that is no error if the process has ended.
// ESRCH alone does not say so: a thread of the kernel has no maps either.
func (p *process) fail(file string, err error) {
	switch {
	case err == nil:
	case !p.alive():
		p.Gone = true
	default:
		if p.Failed == nil {
			p.Failed = map[string]string{}
		}
		p.Failed[file] = err.Error()
	}
}

// openAt opens a file of /proc or cgroupfs, whose name is the kernel's or a number.
func openAt(dir int, file string, flags int) (fd int, err error) {
	for {
		fd, err = unix.Openat(dir, file, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// reader reads a descriptor as it is: os.File would ask the poller first.
type reader int

func (r reader) Read(p []byte) (int, error) {
	for {
		switch n, err := unix.Read(int(r), p); {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// readAt reads up to limit bytes of a file; more: it holds more.
func readAt(dir int, file string, limit int) (text []byte, more bool, err error) {
	fd, err := openAt(dir, file, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, false, err
	}
	defer unix.Close(fd)
	text, err = io.ReadAll(io.LimitReader(reader(fd), int64(limit)+1))
	if len(text) > limit {
		return text[:limit], true, err
	}
	return text, false, err
}

// read is readAt for a file of the process; an error is noted.
func (p *process) read(file string, limit int) (text []byte, more bool) {
	p.say(p.PID, file)
	text, more, err := readAt(p.dir, file, limit)
	p.fail(file, err)
	return text, more
}

// trim takes the end of a line off.
func trim(text []byte) string { return string(bytes.TrimRight(text, "\n\x00")) }

// lines calls each with the lines of a file of the process until that returns false.
func (p *process) lines(file string, each func(line string) bool) {
	p.say(p.PID, file)
	fd, err := openAt(p.dir, file, unix.O_RDONLY)
	if err != nil {
		p.fail(file, err)
		return
	}
	defer unix.Close(fd)
	in := bufio.NewReaderSize(reader(fd), 64<<10)
	for n := 1; ; n++ {
		line, err := in.ReadString('\n') // the kernel's lines end within some pages
		if line != "" && !each(strings.TrimSuffix(line, "\n")) {
			return
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				p.fail(file, err)
			}
			return
		}
		if n%1024 == 0 {
			p.say(p.PID, file)
		}
	}
}

// link reads a link of the process, which the kernel tells without a look at a file
// system; an error is noted. The kernel refuses to tell paths longer than 4095 bytes.
func (p *process) link(file string) string {
	p.say(p.PID, file)
	text, err := p.readlink(file)
	p.fail(file, err)
	return text
}

func (p *process) readlink(file string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(p.dir, file, buf)
	return string(buf[:max(n, 0)]), err
}

// list calls each with the names in a directory of the process until that returns false.
func (p *process) list(dir string, each func(name string) bool) {
	p.fail(dir, p.names(p.dir, dir, each))
}

// names is list for a directory below another one, and returns the error.
func (p *process) names(at int, dir string, each func(name string) bool) error {
	p.say(p.PID, dir)
	fd, err := openAt(at, dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), dir)
	defer f.Close()
	for {
		names, err := f.Readdirnames(1024)
		for _, name := range names {
			if !each(name) {
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		p.say(p.PID, dir)
	}
}
