package image

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/thread"
)

// View resolves paths as tasks do: in their root directory, from their working
// directory. It has a thread of its own for that, until Close.
type View struct {
	proc  *os.File
	work  chan func() error
	done  chan error
	space uint64 // mount namespace that the thread is in
}

// NewView returns a view. proc is an open /proc.
func NewView(proc *os.File) (*View, error) {
	v := &View{proc: proc, work: make(chan func() error), done: make(chan error)}
	thread.Start(func() {
		v.done <- unix.Unshare(unix.CLONE_FS)
		for f := range v.work {
			v.done <- f()
		}
	})
	if err := <-v.done; err != nil {
		close(v.work)
		return nil, fmt.Errorf("thread: %w: paths of tasks cannot be followed; run as root", err)
	}
	return v, nil
}

// Close ends the thread.
func (v *View) Close() { close(v.work) }

// Task is one task's view of files. Known is a file that is open already.
type Task struct {
	View     *View
	PID, TID int
	Known    *os.File
}

// Program opens the file that a call names.
func (t Task) Program(c *Call) (File, error) {
	if c.at && c.path == "" {
		return t.open("", "/proc/self/fd/"+strconv.Itoa(int(c.dir)))
	}
	base := "cwd"
	if c.at {
		base = "fd/" + strconv.Itoa(int(c.dir))
	}
	return t.open(base, c.path)
}

// Interpreter opens a file by the path in a script.
func (t Task) Interpreter(path string) (File, error) { return t.open("cwd", path) }

// open opens a path from a directory of the task.
func (t Task) open(base, path string) (file File, err error) {
	at := int(t.View.proc.Fd())
	self := strconv.Itoa(t.PID)
	own := t.own(path)
	t.View.work <- func() error {
		fd := -1
		if own != "" {
			fd, err = unix.Openat(at, own, unix.O_PATH|unix.O_CLOEXEC, 0)
		} else if err = t.View.enter(self, strconv.Itoa(t.TID), base); err == nil {
			fd, err = unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		}
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		file, err = t.head(fd)
		return err
	}
	err = <-t.View.done
	return file, err
}

// own returns the path beneath /proc for one by which a task means itself, else
// "": to the thread of the view that would be the view.
func (t Task) own(path string) string {
	for prefix, to := range map[string]string{
		"/proc/self/":        strconv.Itoa(t.PID) + "/",
		"/proc/thread-self/": strconv.Itoa(t.PID) + "/task/" + strconv.Itoa(t.TID) + "/",
		"/dev/fd/":           strconv.Itoa(t.PID) + "/fd/",
	} {
		if rest, ok := strings.CutPrefix(path, prefix); ok {
			return to + rest
		}
	}
	return ""
}

// enter makes root and working directory of the thread those of a task.
func (v *View) enter(pid, tid, base string) error {
	at := int(v.proc.Fd())
	if err := v.join(tid); err != nil {
		return err
	}
	root, err := unix.Openat(at, tid+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	dir, err := unix.Openat(at, tid+"/"+base, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := unix.Fchdir(root); err != nil {
		return err
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return unix.Fchdir(dir)
}

// join enters the mount namespace of a task, if the thread is not there.
func (v *View) join(tid string) error {
	space, err := unix.Openat(int(v.proc.Fd()), tid+"/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(space)
	var st unix.Stat_t
	if err := unix.Fstat(space, &st); err != nil || st.Ino == v.space {
		return err
	}
	if v.space = 0; unix.Setns(space, unix.CLONE_NEWNS) != nil {
		return fmt.Errorf("mount namespace of task %s: %w", tid, unix.EPERM)
	}
	v.space = st.Ino
	return nil
}

// head reads how a regular file begins, given as O_PATH.
func (t Task) head(fd int) (file File, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return file, err
	}
	file.Device, file.Inode = uint64(st.Dev), st.Ino
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return file, fmt.Errorf("no regular file")
	}
	from := t.Known
	if same, err := sameFile(from, &st); err != nil || !same {
		again, err := unix.Openat(int(t.View.proc.Fd()), "thread-self/fd/"+strconv.Itoa(fd), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return file, err
		}
		from = os.NewFile(uintptr(again), "")
		defer from.Close()
	}
	n, err := from.ReadAt(file.Head[:], 0)
	clear(file.Head[n:])
	if err == io.EOF {
		err = nil
	}
	return file, err
}

func sameFile(known *os.File, st *unix.Stat_t) (bool, error) {
	if known == nil {
		return false, nil
	}
	file, err := FileOf(known)
	return file.Device == uint64(st.Dev) && file.Inode == st.Ino, err
}

// FileOf says which file is open.
func FileOf(f *os.File) (File, error) {
	var st unix.Stat_t
	err := unix.Fstat(int(f.Fd()), &st)
	return File{Device: uint64(st.Dev), Inode: st.Ino}, err
}
