package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/sink"
)

// Places that the run of a workload uses; cgroups lie in cgroup.Parent.
const (
	stateRoot = "/run/stockade"
	pinRoot   = "/sys/fs/bpf/stockade"
)

// claimLimit bounds how long a start waits for another one's.
const claimLimit = 30 * time.Second

// claim is the right to a name. It is a lock on the name's state file, held by
// `stockade run` and by its reaper: while it is held one of them lives, and
// when it is not, whatever has that name is left over.
type claim struct {
	name string
	file *os.File
	pins string // the set that confines the workload
}

// state is what the file tells a human.
type state struct {
	Name  string `json:"name"`
	PID   int    `json:"pid"`
	Start string `json:"start"` // in clock ticks since boot, /proc/PID/stat
	Pins  string `json:"pins"`
}

func statePath(name string) string { return filepath.Join(stateRoot, name+".json") }

// takeName claims a name, after it cleaned up what dead runs left. note is
// told of what it found.
func takeName(name string, note func(name, text string)) (*claim, error) {
	if err := os.MkdirAll(stateRoot, 0o700); err != nil {
		return nil, fmt.Errorf("%w: nothing was started; run as root", err)
	}
	unlock, err := lockStarts()
	if err != nil {
		return nil, err
	}
	defer unlock()
	sweep(note)
	for {
		c, err := tryClaim(name, os.O_CREATE)
		if c != nil {
			c.pins = pinDir(name)
		}
		if errors.Is(err, errMoved) {
			continue
		}
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("name %s: in use by process %s: nothing was started; choose another --name", name, holder(name))
		}
		if err == nil {
			err = c.record()
		}
		if err != nil {
			return nil, fmt.Errorf("name %s: %w: nothing was started; run as root", name, err)
		}
		return c, nil
	}
}

// lockStarts keeps two starts from cleaning up and claiming at once.
func lockStarts() (unlock func(), err error) {
	dir, err := os.Open(stateRoot)
	if err != nil {
		return nil, fmt.Errorf("%w: nothing was started; run as root", err)
	}
	for end := time.Now().Add(claimLimit); ; time.Sleep(10 * time.Millisecond) {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { dir.Close() }, nil
		}
		if time.Now().After(end) {
			dir.Close()
			return nil, fmt.Errorf("%s: locked for %v by another start: nothing was started; try again: %w", stateRoot, claimLimit, err)
		}
	}
}

// errMoved says that the state file was replaced while it was being locked.
var errMoved = errors.New("state file was replaced")

// tryClaim locks a state file; the error is EWOULDBLOCK if a live run has it.
func tryClaim(name string, flag int) (*claim, error) {
	file, err := os.OpenFile(statePath(name), os.O_RDWR|syscall.O_NOFOLLOW|flag, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, err
	}
	mine, err := file.Stat()
	now, err2 := os.Stat(statePath(name))
	if err != nil || err2 != nil || !os.SameFile(mine, now) {
		file.Close()
		return nil, errMoved
	}
	return &claim{name, file, pinsOf(file, name)}, nil
}

// record writes who holds the name.
func (c *claim) record() error {
	text, err := json.Marshal(state{c.name, os.Getpid(), startTime("self"), c.pins})
	if err != nil {
		return err
	}
	if err := c.file.Truncate(0); err != nil {
		return err
	}
	_, err = c.file.WriteAt(append(text, '\n'), 0)
	return err
}

// pinsOf reads which set confines the workload of a state file: its own, or the
// agent's.
func pinsOf(file *os.File, name string) string {
	var s state
	text := make([]byte, 4096)
	n, _ := file.ReadAt(text, 0) // a file that was just made is empty
	if json.Unmarshal(text[:n], &s) == nil && s.Pins == thisMachine.pins {
		return s.Pins
	}
	return pinDir(name)
}

// usesSet is the lock that keeps the agent's set while a run starts in it.
const usesSet = "agent.runs"

// keepSet keeps the agent's set from being removed until release is called; for
// who removes it, alone, it keeps runs from starting in it. Between a run's
// confinement and its command, its group is empty: nothing else shows it.
func keepSet(alone bool) (release func(), err error) { return keepSetIn(stateRoot, alone) }

func keepSetIn(folder string, alone bool) (release func(), err error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("%w: nothing was done; run as root", err)
	}
	file, err := os.OpenFile(filepath.Join(folder, usesSet), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w: nothing was done; run as root", err)
	}
	how := unix.LOCK_SH
	if alone {
		how = unix.LOCK_EX
	}
	for end := time.Now().Add(claimLimit); ; time.Sleep(5 * time.Millisecond) {
		err := unix.Flock(int(file.Fd()), how|unix.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if time.Now().After(end) {
			file.Close()
			return nil, fmt.Errorf("%s: locked for %v by a run that starts, or by an uninstall: nothing was done; try again: %w", usesSet, claimLimit, err)
		}
	}
}

// release gives the name back: nothing is left of the workload.
func (c *claim) release() error {
	err := os.Remove(statePath(c.name))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, c.file.Close())
}

// startTime returns when a process started, which with its pid names it; "" if there is
// none.
func startTime(pid string) string {
	fields, err := statOf(pid)
	if err != nil {
		return ""
	}
	return fields[statStart]
}

// Fields of statOf.
const (
	statState  = 0
	statParent = 1
	statStart  = 19
)

// statOf returns the fields of /proc/PID/stat from the third on: the second is the
// program's name, and may hold anything.
func statOf(pid string) ([]string, error) {
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) <= statStart {
		return nil, fmt.Errorf("/proc/%s/stat: %d fields after the name: it is not known", pid, len(fields))
	}
	return fields, nil
}

// holder returns the pid that a state file names.
func holder(name string) string {
	var s state
	text, err := os.ReadFile(statePath(name))
	if err != nil || json.Unmarshal(text, &s) != nil {
		return "unknown"
	}
	return fmt.Sprint(s.PID)
}

// sweep cleans up after runs that died together with their reaper. What cannot
// be cleaned up stays, and stays confined.
func sweep(note func(name, text string)) {
	entries, _ := os.ReadDir(stateRoot)
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), ".json")
		if !ok || CheckName(name) != nil {
			continue
		}
		c, err := tryClaim(name, 0)
		if err != nil {
			if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, errMoved) && !errors.Is(err, fs.ErrNotExist) {
				note(name, err.Error()+": what a dead run may have left is not looked at; look at "+stateRoot)
			}
			continue
		}
		killed, err := c.wipe(wipeLimit)
		if err != nil {
			note(name, "left by a run that died: "+err.Error())
			c.file.Close()
			continue
		}
		note(name, fmt.Sprintf("left by a run that died: %s killed, then its enforcement removed", sink.Plural(killed, "process")))
	}
}
