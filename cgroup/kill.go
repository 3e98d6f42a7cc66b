package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// killRepeat is how long a kill may take before it is sent again: a process
// that another one moves into the group meanwhile has escaped the first.
const killRepeat = 200 * time.Millisecond

// Kill kills every process of the group and beneath it, and returns once none
// is left, or an error after the limit. killed counts those that were seen. A
// group that is gone has none.
func (g *Group) Kill(limit time.Duration) (killed int, err error) {
	if pids, err := g.Procs(); err == nil {
		killed = len(pids)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for {
		err := g.SendKill()
		if errors.Is(err, fs.ErrNotExist) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		round, done := context.WithTimeout(ctx, killRepeat)
		err = g.await(round, "populated", false)
		done()
		if err == nil {
			return killed, nil
		}
		if ctx.Err() != nil {
			return killed, fmt.Errorf("cgroup %s: still holds processes %v after its kill: they stay confined; look for processes in state D", g.path, limit)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			return killed, fmt.Errorf("cgroup %s: %w: whether it is empty is not known; look at its cgroup.procs", g.path, err)
		}
	}
}

// SendKill sends SIGKILL to every process of the group and beneath it, and waits for
// nothing. The error is fs.ErrNotExist for a group that is gone.
func (g *Group) SendKill() error {
	err := g.write("cgroup.kill", "1")
	if vanished(err) && g.absent() {
		return fmt.Errorf("cgroup %s: %w", g.path, fs.ErrNotExist)
	}
	if err != nil {
		return fmt.Errorf("cgroup %s: %w: its processes were not killed; kill them by hand", g.path, err)
	}
	return g.signalEach()
}

// maxHeld is how many processes are held open at once.
const maxHeld = 256

// signalEach sends SIGKILL to each process that is there: of one whose first thread has
// ended, some kernels' cgroup.kill reaches that thread alone, and not those that live.
func (g *Group) signalEach() error {
	pids, err := g.Procs()
	for some := range slices.Chunk(pids, maxHeld) {
		err = errors.Join(err, g.signalSome(some))
	}
	if err != nil && g.absent() {
		return nil
	}
	return err
}

func (g *Group) signalSome(pids []int) error {
	held := map[int]int{}
	defer func() {
		for _, fd := range held {
			unix.Close(fd)
		}
	}()
	for _, pid := range pids {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			held[pid] = fd
		}
	}
	still, err := g.Procs() // a number that was another's when it was opened is not there
	for _, pid := range still {
		if fd, ok := held[pid]; ok {
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // it ends, or has: who waits for that sees it
		}
	}
	return err
}

// Freeze stops every process of the group and beneath it, and returns once
// they stand still, or an error after the limit.
func (g *Group) Freeze(limit time.Duration) error { return g.freeze("1", true, limit) }

// Thaw undoes Freeze.
func (g *Group) Thaw(limit time.Duration) error { return g.freeze("0", false, limit) }

func (g *Group) freeze(value string, want bool, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	err := g.write("cgroup.freeze", value)
	if err == nil {
		err = g.await(ctx, "frozen", want)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("not so in %v", limit)
	}
	if err != nil {
		return fmt.Errorf("cgroup %s: cgroup.freeze=%s: %w: its processes may run on; kill them or try again", g.path, value, err)
	}
	return nil
}

func (g *Group) write(file, value string) error {
	f, err := g.open(file, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(value)
	return err
}

// open opens a file of the group.
func (g *Group) open(file string, flags uint64) (*os.File, error) {
	return g.root.open(path.Join(g.rel, file), flags)
}

// absent reports whether the group does not exist.
func (g *Group) absent() bool { return g.root.gone(g.rel) }

// gone reports whether it is sure that there is no such group.
func (r *root) gone(rel string) bool {
	_, err := r.stat(rel)
	return errors.Is(err, fs.ErrNotExist)
}
