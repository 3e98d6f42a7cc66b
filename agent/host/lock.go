package host

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/fault"
)

// claimLimit bounds how long a start waits for another one's.
const claimLimit = 30 * time.Second

// LockStarts keeps two starts from cleaning up and claiming at once.
func LockStarts() (unlock func(), err error) {
	dir, err := os.Open(StateRoot)
	if err != nil {
		return nil, fmt.Errorf("%w: nothing was started; run as root", err)
	}
	if err := lockWithin(dir, unix.LOCK_EX, claimLimit); err != nil {
		dir.Close()
		return nil, fmt.Errorf("%s: locked for %v by another start: nothing was started; try again: %w", StateRoot, claimLimit, err)
	}
	return func() { dir.Close() }, nil
}

// usesSet is the lock that keeps the agent's set while a run starts in it.
const usesSet = "agent.runs"

// KeepSet keeps the agent's set from being removed until release is called; for
// who removes it, alone, it keeps runs from starting in it. Between a run's
// confinement and its command, its group is empty: nothing else shows it.
func (m Machine) KeepSet(alone bool) (release func(), err error) {
	if err := os.MkdirAll(m.State, 0o700); err != nil {
		return nil, fmt.Errorf("%w: nothing was done; run as root", err)
	}
	file, err := os.OpenFile(filepath.Join(m.State, usesSet), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w: nothing was done; run as root", err)
	}
	how := unix.LOCK_SH
	if alone {
		how = unix.LOCK_EX
	}
	if err := lockWithin(file, how, claimLimit); err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: locked for %v by a run that starts, or by an uninstall: nothing was done; try again: %w", usesSet, claimLimit, err)
	}
	return func() { file.Close() }, nil
}

// ErrRuns is an error about the lock of an agent that lives.
var ErrRuns = errors.New("another agent runs on this host")

// TakeLock keeps a second agent away.
func (m Machine) TakeLock() (*os.File, error) {
	if err := os.MkdirAll(m.State, 0o700); err != nil {
		return nil, fmt.Errorf("%w: the agent does not start; run as root", err)
	}
	path := filepath.Join(m.State, AgentLock)
	if err := fault.At("agent.lock"); err != nil {
		return nil, fmt.Errorf("lock %s: %w: the agent does not start; run as root", path, err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w: the agent does not start; run as root", err)
	}
	// One that ended may leave its lock to a child for a moment: until that executes, it
	// holds what its parent held.
	if err := lockWithin(file, unix.LOCK_EX, time.Second); err != nil {
		defer file.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w: the agent does not start; check the filesystem", path, err)
		}
		holder, _ := io.ReadAll(io.LimitReader(file, 32))
		return nil, fmt.Errorf("%w, process %s: this one does not start; stop that one, or use it (`stockade ps`)", ErrRuns, strings.TrimSpace(string(holder)))
	}
	if err = file.Truncate(0); err == nil {
		_, err = file.WriteAt(fmt.Appendln(nil, os.Getpid()), 0)
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: %w: the agent does not start; make room", path, err)
	}
	return file, nil
}

// lockWithin locks a file, LOCK_SH or LOCK_EX, for which it waits so long.
func lockWithin(file *os.File, how int, long time.Duration) error {
	for end := time.Now().Add(long); ; time.Sleep(5 * time.Millisecond) {
		err := unix.Flock(int(file.Fd()), how|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(end) {
			return err
		}
	}
}
