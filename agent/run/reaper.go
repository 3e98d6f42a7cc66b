package run

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

	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/cgroup"
)

// Limits on how long the processes of a workload may take to die.
const (
	WipeLimit   = 10 * time.Second
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
	if err := bpf.Remove(host.PinDir(c.name)); err != nil {
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
	if err := c.covered(); err != nil {
		return 0, err
	}
	if c.pins == host.PinDir(c.name) {
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
	reaperSocket = 3 // ends when the run does
	reaperLock   = 4 // the claim
)

// What a run sends to its reaper before it ends by itself. Without a word, it was
// killed.
const (
	orderly = "done"   // it cleaned up
	retire  = "retire" // nothing lives: the reaper is to remove the run's own set
)

// reaper is the process that outlives a killed run and ends its workload, and
// that detaches the programs of one that ended.
type reaper struct {
	cmd    *exec.Cmd
	socket *os.File
}

// startReaper starts the reaper of a claim: command, with the name appended.
func startReaper(command []string, c *claim) (*reaper, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("reaper: %w: nothing was started; try again", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "reaper"), os.NewFile(uintptr(pair[1]), "run")
	defer theirs.Close()
	cmd := exec.Command(command[0], append(command[1:], c.name)...)
	cmd.Args[0] = "stockade"
	cmd.Dir = "/"
	cmd.Env = []string{"GOMAXPROCS=1"}
	cmd.ExtraFiles = []*os.File{theirs, c.file}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		ours.Close()
		return nil, fmt.Errorf("reaper: %w: nothing was started; mount /proc", err)
	}
	return &reaper{cmd, ours}, nil
}

// dismiss ends the reaper: all is cleaned up.
func (r *reaper) dismiss() {
	_, _ = r.socket.WriteString(orderly) // it may have been killed
	r.socket.Close()
	_ = r.cmd.Wait()
}

// errNoReaper says that the reaper was killed.
var errNoReaper = errors.New("reaper: killed")

// retire has the reaper remove the set of a claim and give the name back. It
// returns when that is done; the reaper goes on until the kernel has let go of
// every hook.
func (r *reaper) retire() error {
	_, err := r.socket.WriteString(retire)
	if err == nil {
		err = unix.Shutdown(int(r.socket.Fd()), unix.SHUT_WR)
	}
	var answer []byte
	if err == nil {
		answer, err = io.ReadAll(r.socket)
	}
	r.socket.Close()
	go func() { _ = r.cmd.Wait() }()
	switch {
	case err != nil || len(answer) == 0:
		return errNoReaper
	case string(answer) != orderly:
		return errors.New(string(answer))
	}
	return nil
}

// Reap is the reaper's main: it waits for the end of the run that started it,
// and ends the workload unless that run did. It answers to no signal but
// SIGKILL.
func Reap(name string) error {
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGPIPE, unix.SIGUSR1, unix.SIGUSR2)
	c, socket, err := inherit(name)
	if err != nil {
		return err
	}
	message, err := io.ReadAll(socket)
	switch string(message) {
	case orderly:
		return nil
	case retire:
		return c.retire(socket)
	}
	c.know() // it is written since the run was begun
	_, wipeErr := c.wipe(reaperLimit)
	return errors.Join(err, wipeErr)
}

// retire removes the claim's own set, gives the name back, answers the run, and
// detaches the hooks: the kernel waits for each of them, ten seconds in all, for
// which nobody else has to.
func (c *claim) retire(run *os.File) error {
	detach, err := bpf.Unpin(c.pins)
	if err == nil {
		err = c.release()
	}
	answer := orderly
	if err != nil {
		answer = err.Error()
	}
	_, _ = run.WriteString(answer) // it may have been killed meanwhile
	run.Close()
	return errors.Join(err, detach())
}

// inherit takes over the descriptors that startReaper passed on.
func inherit(name string) (*claim, *os.File, error) {
	refuse := func(what string) error {
		return fmt.Errorf("reap %s: %s: nothing was done; this verb is started by `stockade run` alone", name, what)
	}
	if err := host.CheckName(name); err != nil {
		return nil, nil, err
	}
	var st, lock, file unix.Stat_t
	if unix.Fstat(reaperSocket, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return nil, nil, refuse("descriptor 3 is no socket")
	}
	if unix.Fstat(reaperLock, &lock) != nil || unix.Stat(statePath(name), &file) != nil ||
		lock.Dev != file.Dev || lock.Ino != file.Ino {
		return nil, nil, refuse("descriptor 4 is not its state file")
	}
	unix.CloseOnExec(reaperSocket)
	unix.CloseOnExec(reaperLock)
	c := &claim{name: name, file: os.NewFile(reaperLock, statePath(name)), pins: host.PinDir(name)}
	return c, os.NewFile(reaperSocket, "run"), nil
}
