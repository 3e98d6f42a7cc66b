// Package lock keeps which workloads are locked: they stay locked down, and no new ones
// like them start, until they are unlocked. Locks outlive agents and reboots.
package lock

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/file"
	"github.com/stockade-dev/stockade/agent/label"
)

// Lock is one that holds.
type Lock struct {
	label.Selection
	By     Actor     `json:"by"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason,omitempty"`
}

// Actor is who asked for something.
type Actor struct {
	UID int `json:"uid"`
	PID int `json:"pid"`
	// Login is who logged in, before any sudo; -1 if nobody did.
	Login int    `json:"login"`
	Name  string `json:"name"` // of Login, else of UID; the number where there is no name
}

// ActorOf says who a process acts for.
func ActorOf(pid, uid int) Actor {
	a := Actor{UID: uid, PID: pid, Login: -1}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/loginuid", pid))
	if n, failed := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32); err == nil && failed == nil && uint32(n) != ^uint32(0) {
		a.Login = int(n)
	}
	who := a.Login
	if who < 0 {
		who = uid
	}
	a.Name = strconv.Itoa(who)
	if u, err := user.LookupId(a.Name); err == nil {
		a.Name = u.Username
	}
	return a
}

// String tells who it is, in a sentence.
func (a Actor) String() string {
	if a.Login >= 0 && a.Login != a.UID {
		return fmt.Sprintf("%s (as uid %d)", a.Name, a.UID)
	}
	return a.Name
}

// String tells what is locked, by whom, and how that ends.
func (l *Lock) String() string {
	return l.about() + fmt.Sprintf("; see `stockade locks`, end it with `stockade unlock %s`", l.Selection)
}

// about tells who locked it, when and why.
func (l *Lock) about() string {
	text := fmt.Sprintf("locked by %s on %s", l.By, l.At.UTC().Format(time.RFC3339))
	if l.Reason != "" {
		text += fmt.Sprintf(", %q", l.Reason)
	}
	return text
}

// Before tells who asks for it again that it stays as it is.
func (l *Lock) Before() string {
	reason := "without a reason"
	if l.Reason != "" {
		reason = fmt.Sprintf("with the reason %q", l.Reason)
	}
	return fmt.Sprintf("it was locked before, by %s at %s, %s: that stays", l.By, l.At.UTC().Format(time.RFC3339), reason)
}

// Line tells what is locked first, for a list.
func (l *Lock) Line() string { return fmt.Sprintf("%s: %s", l.Selection, l.about()) }

// Book is the file that holds all locks; a folder for root alone is made around it. It is
// read anew each time: agents and runs share it.
type Book string

// maxBook bounds such a file, in bytes, and maxReason a reason.
const (
	maxBook   = 4 << 20
	maxReason = 1024
)

// All lists the locks, the oldest first.
func (b Book) All() ([]Lock, error) {
	file, err := os.OpenFile(string(b), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var list []Lock
	if err == nil {
		defer file.Close()
		var text []byte
		if text, err = io.ReadAll(io.LimitReader(file, maxBook)); err == nil {
			err = json.Unmarshal(text, &list)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("locks: %s: %w: what is locked is not known, so nothing starts; mend or remove it", b, err)
	}
	return list, nil
}

// On returns the oldest lock on a workload, nil if there is none.
func (b Book) On(principal string, labels label.Set) (*Lock, error) {
	list, err := b.All()
	return First(list, principal, labels), err
}

// AllOn returns every lock on a workload, the oldest first.
func (b Book) AllOn(principal string, labels label.Set) ([]Lock, error) {
	list, err := b.All()
	return slices.DeleteFunc(list, func(l Lock) bool { return !l.Selects(principal, labels) }), err
}

// First is On for the locks of a list.
func First(list []Lock, principal string, labels label.Set) *Lock {
	for i := range list {
		if list[i].Selects(principal, labels) {
			return &list[i]
		}
	}
	return nil
}

// Valid is the error of a lock that cannot be one.
func (l *Lock) Valid() error {
	if err := l.Check(); err != nil {
		return fmt.Errorf("%w: nothing is locked", err)
	}
	if len(l.Reason) > maxReason {
		return fmt.Errorf("reason: longer than %d bytes: nothing is locked; write less", maxReason)
	}
	return nil
}

// Add adds a lock, unless there is one for the same already: that one stays.
func (b Book) Add(l Lock) error {
	if err := l.Valid(); err != nil {
		return err
	}
	return b.change(func(list []Lock) []Lock {
		for i := range list {
			if list[i].Same(l.Selection) {
				return list
			}
		}
		return append(list, l)
	})
}

// ErrNone is an error about a lock that there is not.
var ErrNone = errors.New("no lock is on that")

// Remove removes the lock for a selection: ErrNone if there is none. For all, every lock
// is removed.
func (b Book) Remove(s label.Selection) (ended []Lock, err error) {
	if err := s.Check(); err != nil {
		return nil, fmt.Errorf("%w: nothing is unlocked", err)
	}
	err = b.change(func(list []Lock) (rest []Lock) {
		for _, l := range list {
			if s.All || l.Same(s) {
				ended = append(ended, l)
			} else {
				rest = append(rest, l)
			}
		}
		return rest
	})
	if err == nil && len(ended) == 0 && !s.All {
		err = fmt.Errorf("%s: %w: nothing is unlocked; `stockade locks` lists the locks, `stockade ps` the workloads with their labels", s, ErrNone)
	}
	return ended, err
}

// Of returns the lock for a selection; nil if there is none.
func (b Book) Of(s label.Selection) (*Lock, error) {
	list, err := b.All()
	for i := range list {
		if list[i].Same(s) {
			return &list[i], nil
		}
	}
	return nil, err
}

// change rewrites the book: whole, or not at all. Others wait meanwhile.
func (b Book) change(edit func([]Lock) []Lock) error {
	folder := filepath.Dir(string(b))
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("locks: %w: nothing is changed; run as root", err)
	}
	dir, err := os.Open(folder)
	if err != nil {
		return fmt.Errorf("locks: %w: nothing is changed; run as root", err)
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("locks: %s: %w: nothing is changed; try again", folder, err)
	}
	list, err := b.All()
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(edit(list), "", "  ")
	if err == nil && len(text) >= maxBook {
		err = fmt.Errorf("more than %d bytes", maxBook)
	}
	if err == nil {
		err = file.Replace(string(b), string(b)+".new", append(text, '\n'), nil)
	}
	if err != nil {
		return fmt.Errorf("locks: %w: nothing is changed; make room in %s", err, folder)
	}
	return nil
}
