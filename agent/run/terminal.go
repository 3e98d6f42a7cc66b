package run

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/cgroup"
)

// freezeLimit bounds how long a workload is waited for while its run is stopped.
const freezeLimit = 2 * time.Second

// stops has the workload stand still while its run is stopped (Ctrl-Z): what ignores
// that, or has a process group of its own, would take the keystrokes meant for the shell.
type stops struct {
	group  *cgroup.Group
	note   func(text string)
	caught chan os.Signal
	done   chan struct{}
}

// followStops begins that. A signal that is ignored stays ignored.
func followStops(group *cgroup.Group, note func(text string)) *stops {
	s := &stops{group: group, note: note, caught: make(chan os.Signal, 1), done: make(chan struct{})}
	if !signal.Ignored(unix.SIGTSTP) {
		signal.Notify(s.caught, unix.SIGTSTP)
	}
	go func() {
		defer close(s.done)
		for range s.caught {
			s.stop()
		}
	}()
	return s
}

// stop freezes the workload, stops this process as the signal would have, and goes on
// when it is continued.
func (s *stops) stop() {
	if !jobOfAShell() {
		return // nobody would continue it, and the kernel ignores the signal, too
	}
	if err := s.group.Freeze(freezeLimit); err != nil {
		s.note(fmt.Sprintf("warning: %v: what ignores the stop goes on", err))
	}
	runtime.LockOSThread() // a signal to one's own thread is dealt with before the call returns
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGSTOP)
	runtime.UnlockOSThread()
	if err := s.group.Thaw(freezeLimit); err != nil {
		s.note(fmt.Sprintf("warning: %v: the workload stands still; kill the run", err))
	}
}

// jobOfAShell reports whether an ancestor outside this process group, in its session,
// started it: a shell, which learns that its job is stopped.
func jobOfAShell() bool {
	own, err := unix.Getsid(0)
	for pid := unix.Getppid(); err == nil && pid > 1; {
		session, failed := unix.Getsid(pid)
		group, alsoFailed := unix.Getpgid(pid)
		if failed != nil || alsoFailed != nil || session != own {
			return false
		}
		if group != unix.Getpgrp() {
			return true
		}
		pid, err = host.Parent(pid)
	}
	return false
}

// end ends that.
func (s *stops) end() {
	signal.Stop(s.caught)
	close(s.caught)
	<-s.done
}

// ownTerminal opens the terminal that controls this process, and returns the process
// group in its foreground.
func ownTerminal() (tty, foreground int, err error) {
	tty, err = unix.Open("/dev/tty", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, 0, err
	}
	foreground, err = unix.IoctlGetInt(tty, unix.TIOCGPGRP)
	if err != nil {
		unix.Close(tty)
		return -1, 0, err
	}
	return tty, foreground, nil
}

// hasTerminal reports whether a terminal controls this process.
func hasTerminal() bool {
	tty, _, err := ownTerminal()
	if err != nil {
		return false
	}
	unix.Close(tty)
	return true
}

// resumeOutput lets the terminal write again, which the command may have stopped for
// good: whoever writes there would wait. A terminal that somebody else has taken by now
// is left alone.
func resumeOutput() {
	tty, owner, err := ownTerminal()
	if err != nil {
		return
	}
	defer unix.Close(tty)
	if owner != unix.Getpgrp() && unix.Kill(-owner, 0) == nil {
		return
	}
	signal.Ignore(unix.SIGTTOU) // the owner may have been of the workload
	defer signal.Reset(unix.SIGTTOU)
	const flowOn = 1 // TCOON
	_ = unix.IoctlSetInt(tty, unix.TCXONC, flowOn)
}
