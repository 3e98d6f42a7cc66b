package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/sink"
)

// claim is the right to a name. It is a lock on the name's state file, held by
// `stockade run` and by its reaper: while it is held one of them lives, and
// when it is not, whatever has that name is left over.
type claim struct {
	name string
	file *os.File
	pins string // the set that confines the workload
	// device is that of the file system in which the set is pinned; 0: it was not there yet.
	device uint64
}

// state is what the file tells a human.
type state struct {
	Name  string `json:"name"`
	PID   int    `json:"pid"`
	Start string `json:"start"` // in clock ticks since boot, /proc/PID/stat
	Pins  string `json:"pins"`
	// Device is as in claim: a reaper, and the next run, know by it that pins are covered.
	Device uint64 `json:"device,omitempty"`
}

func statePath(name string) string { return filepath.Join(host.StateRoot, name+".json") }

// takeName claims a name, after it cleaned up what dead runs left. note is
// told of what it found.
func takeName(name string, note func(name, text string)) (*claim, error) {
	if err := os.MkdirAll(host.StateRoot, 0o700); err != nil {
		return nil, fmt.Errorf("%w: nothing was started; run as root", err)
	}
	unlock, err := host.LockStarts()
	if err != nil {
		return nil, err
	}
	defer unlock()
	Sweep(note)
	for {
		c, err := tryClaim(name, os.O_CREATE)
		if c != nil {
			c.pins = host.PinDir(name)
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
	c := &claim{name: name, file: file}
	c.know()
	return c, nil
}

// record writes who holds the name.
func (c *claim) record() error {
	c.device = 0
	var st unix.Stat_t
	if unix.Stat(c.pins, &st) == nil {
		c.device = st.Dev
	}
	text, err := json.Marshal(state{c.name, os.Getpid(), host.StartTime("self"), c.pins, c.device})
	if err != nil {
		return err
	}
	if err := c.file.Truncate(0); err != nil {
		return err
	}
	_, err = c.file.WriteAt(append(text, '\n'), 0)
	return err
}

// know reads which set confines the workload of the state file, its own or the agent's, and
// where it is.
func (c *claim) know() {
	c.pins = host.PinDir(c.name)
	var s state
	text := make([]byte, 4096)
	n, _ := c.file.ReadAt(text, 0) // a file that was just made is empty
	if json.Unmarshal(text[:n], &s) != nil {
		return
	}
	if c.device = s.Device; s.Pins == host.This.Pins {
		c.pins = s.Pins
	}
}

// covered says whether something else is where the set is pinned, or was: that a pin is not
// there means nothing then.
func (c *claim) covered() error {
	if c.device == 0 {
		return nil
	}
	for dir := c.pins; ; dir = filepath.Dir(dir) {
		var st unix.Stat_t
		err := unix.Stat(dir, &st)
		switch {
		case errors.Is(err, fs.ErrNotExist) && dir != "/":
			continue // it was removed, from what is above it
		case err == nil && st.Dev != c.device:
			err = errors.New("another file system is mounted there")
		}
		if err != nil {
			return fmt.Errorf("%s: pins in %s: %w: whether tasks of it are left is not known, and what is left stays confined; unmount what covers them, and the next run cleans up", c.name, c.pins, err)
		}
		return nil
	}
}

// release gives the name back: nothing is left of the workload.
func (c *claim) release() error {
	_ = os.Remove(controlSocket(c.name)) // of a run that was killed
	err := os.Remove(statePath(c.name))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, c.file.Close())
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
func Sweep(note func(name, text string)) {
	entries, _ := os.ReadDir(host.StateRoot)
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), ".json")
		if !ok || host.CheckName(name) != nil {
			continue
		}
		c, err := tryClaim(name, 0)
		if err != nil {
			if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, errMoved) && !errors.Is(err, fs.ErrNotExist) {
				note(name, err.Error()+": what a dead run may have left is not looked at; look at "+host.StateRoot)
			}
			continue
		}
		killed, err := c.wipe(WipeLimit)
		if err != nil {
			note(name, "left by a run that died: "+err.Error())
			c.file.Close()
			continue
		}
		note(name, fmt.Sprintf("left by a run that died: %s killed, then its enforcement removed", sink.Plural(killed, "process")))
	}
}
