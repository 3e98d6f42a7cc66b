package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// event reads one key of a cgroup.events file. A group that was removed has
// none of them set.
func event(file io.ReaderAt, key string) (bool, error) {
	buf := make([]byte, 512)
	n, err := file.ReadAt(buf, 0)
	if errors.Is(err, syscall.ENODEV) {
		return false, nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	for line := range strings.Lines(string(buf[:n])) {
		if value, ok := strings.CutPrefix(line, key+" "); ok {
			return strings.TrimSpace(value) == "1", nil
		}
	}
	return false, fmt.Errorf("no %q in it", key)
}

// Populated reports whether a process is in the group or beneath it.
func (g *Group) Populated() (bool, error) { return g.has("populated", "empty") }

// Frozen reports whether all its processes stand still, and those beneath.
func (g *Group) Frozen() (bool, error) { return g.has("frozen", "frozen") }

// AnyFrozen reports whether one of some groups is, by their paths relative to the mount: one
// that cannot be looked at is not.
func AnyFrozen(list []string) bool {
	return slices.ContainsFunc(list, func(rel string) bool {
		group, err := OpenAt(rel)
		if err != nil {
			return false
		}
		frozen, err := group.Frozen()
		return frozen && err == nil
	})
}

// has reads one key of cgroup.events.
func (g *Group) has(key, what string) (bool, error) {
	file, err := g.open("cgroup.events", unix.O_RDONLY)
	if err != nil {
		return false, fmt.Errorf("cgroup: %w: whether it is %s is not known; check that it is a cgroup", err, what)
	}
	defer file.Close()
	value, err := event(file, key)
	if err != nil {
		return false, fmt.Errorf("cgroup %s: cgroup.events: %w: whether it is %s is not known; check the kernel", g.path, err, what)
	}
	return value, nil
}

// Watch sends the state of Populated now and at each change, and closes the
// channel when the group is gone or ctx ends.
func (g *Group) Watch(ctx context.Context) (<-chan bool, error) {
	file, err := g.open("cgroup.events", unix.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("cgroup: %w: it is not watched; check the name", err)
	}
	states := make(chan bool)
	go func() {
		defer close(states)
		defer file.Close()
		last, first := false, true
		_ = follow(ctx, file, func() (bool, error) {
			populated, err := event(file, "populated")
			if err != nil || populated == last && !first {
				return err != nil, err
			}
			last, first = populated, false
			select {
			case states <- populated:
				return false, nil
			case <-ctx.Done():
				return true, nil
			}
		})
	}()
	return states, nil
}

// await returns when a key of cgroup.events has the wanted value: nil, or the
// error of ctx. A group that is gone has all it will ever have.
func (g *Group) await(ctx context.Context, key string, want bool) error {
	file, err := g.open("cgroup.events", unix.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	return follow(ctx, file, func() (bool, error) {
		value, err := event(file, key)
		return value == want, err
	})
}

// goneCheck is how often a watch looks whether its group was removed.
const goneCheck = time.Second

// follow calls look now and after each change of a cgroup.events file, until
// look is done, the group is gone or ctx ends.
func follow(ctx context.Context, file *os.File, look func() (done bool, err error)) error {
	wake, cancel, err := os.Pipe()
	if err != nil {
		return err
	}
	defer wake.Close()
	defer cancel.Close()
	stop := context.AfterFunc(ctx, func() { cancel.Close() })
	defer stop()
	for {
		if done, err := look(); done || err != nil {
			return err
		}
		polled := []unix.PollFd{{Fd: int32(file.Fd()), Events: unix.POLLPRI}, {Fd: int32(wake.Fd())}}
		// The removal of a group wakes nobody.
		if _, err := unix.Poll(polled, int(goneCheck.Milliseconds())); err != nil && err != unix.EINTR {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if gone(file) {
			return nil
		}
	}
}

// gone reports whether the group of an open file was removed.
func gone(file *os.File) bool {
	_, err := file.ReadAt(make([]byte, 1), 0)
	return errors.Is(err, syscall.ENODEV)
}
