package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/cgroup"
)

// Limits on how long the processes of a workload may take to die.
const (
	wipeLimit   = 10 * time.Second
	strayLimit  = 3 * time.Second
	reaperLimit = 10 * time.Minute
)

// wipe ends a workload of which no one is in charge: it kills what is in its
// cgroup, then removes the pins, and never the other way round; then the
// cgroup and the claim. On an error the rest stays, and stays confined.
func (c *claim) wipe(limit time.Duration) (killed int, err error) {
	group, err := cgroup.Open(c.name)
	if err == nil {
		killed, err = group.Kill(limit)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = c.noStragglers(limit)
	}
	if err != nil {
		return killed, err
	}
	if err := bpf.Remove(pinDir(c.name)); err != nil {
		return killed, err
	}
	if group != nil {
		if err := group.Remove(); err != nil {
			return killed, err
		}
	}
	return killed, c.release()
}

// noStragglers waits until no task that the workload ever had lives. One that
// somebody outside moved out of the cgroup, as a session manager does, was not
// killed with it: it must not outlive its enforcement.
func (c *claim) noStragglers(limit time.Duration) error {
	for end := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		n, err := c.members()
		if err != nil || n == 0 {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: %s moved out of its cgroup, and alive: confined still, by the pins in %s; end what is left, and the next run cleans up",
				c.name, sink.Plural(n, "task"), c.pins)
		}
	}
}

// members counts the living tasks that the workload ever had.
func (c *claim) members() (int, error) {
	if c.pins == pinDir(c.name) {
		return bpf.Members(c.pins)
	}
	left, err := bpf.LeftOf(c.pins, c.name)
	if errors.Is(err, fs.ErrNotExist) { // the agent gave its number back
		return 0, nil
	}
	return left.Tasks, err
}

// Descriptors that the reaper inherits.
const (
	reaperPipe = 3 // ends when the run does
	reaperLock = 4 // the claim
)

// orderly is what a run that cleaned up after itself sends to its reaper.
const orderly = "done"

// reaper is the process that outlives a killed run and ends its workload.
type reaper struct {
	cmd  *exec.Cmd
	pipe *os.File
}

// startReaper starts the reaper of a claim: command, with the name appended.
func startReaper(command []string, c *claim) (*reaper, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("reaper: %w: nothing was started; try again", err)
	}
	defer read.Close()
	cmd := exec.Command(command[0], append(command[1:], c.name)...)
	cmd.Args[0] = "stockade"
	cmd.Dir = "/"
	cmd.Env = []string{"GOMAXPROCS=1"}
	cmd.ExtraFiles = []*os.File{read, c.file}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		write.Close()
		return nil, fmt.Errorf("reaper: %w: nothing was started; mount /proc", err)
	}
	return &reaper{cmd, write}, nil
}

// dismiss ends the reaper: all is cleaned up.
func (r *reaper) dismiss() {
	_, _ = r.pipe.WriteString(orderly) // it may have been killed
	r.pipe.Close()
	_ = r.cmd.Wait()
}

// Reap is the reaper's main: it waits for the end of the run that started it,
// and ends the workload unless that run did. It answers to no signal but
// SIGKILL.
func Reap(name string) error {
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGPIPE, unix.SIGUSR1, unix.SIGUSR2)
	c, pipe, err := inherit(name)
	if err != nil {
		return err
	}
	message, err := io.ReadAll(pipe)
	if string(message) == orderly {
		return nil
	}
	c.pins = pinsOf(c.file, name) // known since the run was begun
	_, wipeErr := c.wipe(reaperLimit)
	return errors.Join(err, wipeErr)
}

// inherit takes over the descriptors that startReaper passed on.
func inherit(name string) (*claim, *os.File, error) {
	refuse := func(what string) error {
		return fmt.Errorf("reap %s: %s: nothing was done; this verb is started by `stockade run` alone", name, what)
	}
	if err := CheckName(name); err != nil {
		return nil, nil, err
	}
	var st, lock, file unix.Stat_t
	if unix.Fstat(reaperPipe, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil, nil, refuse("descriptor 3 is no pipe")
	}
	if unix.Fstat(reaperLock, &lock) != nil || unix.Stat(statePath(name), &file) != nil ||
		lock.Dev != file.Dev || lock.Ino != file.Ino {
		return nil, nil, refuse("descriptor 4 is not its state file")
	}
	unix.CloseOnExec(reaperPipe)
	unix.CloseOnExec(reaperLock)
	c := &claim{name: name, file: os.NewFile(reaperLock, statePath(name)), pins: pinDir(name)}
	return c, os.NewFile(reaperPipe, "pipe"), nil
}
