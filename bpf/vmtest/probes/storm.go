package probes

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// storms try many times and print what they counted.
var storms = map[string]probe{
	// flood N PATH: N opens, every one of which must be denied
	"flood": func(a args) error {
		for i := range a.num(0) {
			if err := open(unix.AT_FDCWD, a.str(1), unix.O_RDONLY|unix.O_CLOEXEC); !errors.Is(err, unix.EACCES) {
				return fmt.Errorf("open %d: %v", i, err)
			}
		}
		return nil
	},
	// floodexec N PATH: N executions, each of which is denied
	"floodexec": func(a args) error {
		for i := range a.num(0) {
			if err := unix.Exec(a.str(1), payloadArgs, nil); !errors.Is(err, unix.EACCES) {
				return fmt.Errorf("execution %d: %v", i, err)
			}
		}
		return nil
	},
	// readers N MILLISECONDS DIR: see swap
	"readers": readers,
	// openers N MILLISECONDS PATH: N threads open a path; "count OPENED DENIED"
	"openers": openers,
	// race N CANARY PATH...: N opens of the paths in turn; none may open the
	// file CANARY (an inode number)
	"race": race,
	// racemove OP NEW N CANARY PATH...: N times link or rename (and back) of the
	// paths in turn to NEW, which is never the file CANARY
	"racemove": raceMove,
}

// openers lets N threads open a path as fast as they can.
func openers(a args) error {
	var opened, denied atomic.Int64
	until := time.Now().Add(time.Duration(a.num(1)) * time.Millisecond)
	var all sync.WaitGroup
	for range a.num(0) {
		all.Go(func() {
			runtime.LockOSThread()
			for time.Now().Before(until) {
				switch err := open(unix.AT_FDCWD, a.str(2), unix.O_RDONLY|unix.O_CLOEXEC); {
				case err == nil:
					opened.Add(1)
				case errors.Is(err, unix.EACCES):
					denied.Add(1)
				default:
					cannot("open: %v", err)
				}
			}
		})
	}
	all.Wait()
	fmt.Printf("count %d %d\n", opened.Load(), denied.Load())
	return nil
}

// readers lets N threads read under two plans that take turns. In DIR one plan
// grants a, the other b, both grant "both", neither "none"; one would let p be
// moved, the other would let q be made, so that p never becomes q.
func readers(a args) error {
	var wrong atomic.Int64
	var counts [2]struct{ allowed, denied atomic.Int64 }
	must(os.Chdir(a.str(2)))
	until := time.Now().Add(time.Duration(a.num(1)) * time.Millisecond)
	complain := func(what string, err error) {
		if wrong.Add(1) <= 10 {
			fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		}
	}
	var all sync.WaitGroup
	for range a.num(0) {
		all.Go(func() {
			runtime.LockOSThread()
			for time.Now().Before(until) {
				if err := open(unix.AT_FDCWD, "both", unix.O_RDONLY); err != nil {
					complain("both", err)
				}
				if err := open(unix.AT_FDCWD, "none", unix.O_RDONLY); !errors.Is(err, unix.EACCES) {
					complain("none", err)
				}
				if err := unix.Rename("p", "q"); !errors.Is(err, unix.EACCES) {
					complain("p to q", err)
				}
				for i, name := range []string{"a", "b"} {
					switch err := open(unix.AT_FDCWD, name, unix.O_RDONLY); {
					case err == nil:
						counts[i].allowed.Add(1)
					case errors.Is(err, unix.EACCES):
						counts[i].denied.Add(1)
					default:
						complain(name, err)
					}
				}
			}
		})
	}
	all.Wait()
	for i := range counts {
		fmt.Printf("count %d %d\n", counts[i].allowed.Load(), counts[i].denied.Load())
	}
	if n := wrong.Load(); n > 0 {
		return fmt.Errorf("%d verdicts of neither plan", n)
	}
	return nil
}

func race(a args) error {
	var opened, denied, absent int
	paths := a.rest(2)
	for i := range a.num(0) {
		fd, err := unix.Open(paths[i%len(paths)], unix.O_RDONLY|unix.O_CLOEXEC, 0)
		switch err {
		case nil:
			var st unix.Stat_t
			must(unix.Fstat(fd, &st))
			unix.Close(fd)
			if st.Ino == uint64(a.num(1)) {
				fmt.Printf("errno=0 opened the canary by %s in try %d\n", paths[i%len(paths)], i)
				return exited(Allowed)
			}
			opened++
		case unix.EACCES:
			denied++
		case unix.ENOENT:
			absent++
		default:
			return err
		}
	}
	fmt.Printf("count %d %d %d\n", opened, denied, absent)
	return syscall.EACCES // of the canary
}

func raceMove(a args) error {
	var done, denied, absent, back int
	to, paths := a.str(1), a.rest(4)
	for i := range a.num(2) {
		var err error
		path := paths[i%len(paths)]
		if a.str(0) == "link" {
			err = unix.Link(path, to)
		} else {
			err = unix.Rename(path, to)
		}
		switch err {
		case nil:
			var st unix.Stat_t
			must(unix.Stat(to, &st))
			if st.Ino == uint64(a.num(3)) {
				fmt.Printf("errno=0 the canary got a name by %s in try %d\n", path, i)
				return exited(Allowed)
			}
			done++
			for err = unix.EACCES; err == unix.EACCES || err == unix.EXDEV; {
				if a.str(0) == "link" {
					err = unix.Unlink(to)
				} else {
					err = unix.Rename(to, path)
				}
				if err == unix.EACCES || err == unix.EXDEV { // a torn walk is denied
					back++
				}
			}
			must(err)
		case unix.EACCES, unix.EXDEV:
			denied++
		case unix.ENOENT:
			absent++
		default:
			return err
		}
	}
	fmt.Printf("count %d %d %d %d\n", done, denied, absent, back)
	return syscall.EACCES // of the canary
}
