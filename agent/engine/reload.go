package engine

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/thread"
)

// reload is how an engine comes to read its files again.
type reload struct {
	verb, unit string // of systemctl
	says       string // to who does it by hand
}

// String is what the user is told to do.
func (r *reload) String() string { return fmt.Sprintf("`systemctl %s %s`%s", r.verb, r.unit, r.says) }

// Reload has systemd make the engine read its files, unless it began after all of them
// were written. Below a root, systemd is that of process 1.
func (p *Plan) Reload(say func(string)) error {
	r := p.reload
	if r == nil {
		return nil
	}
	fresh := false
	err := thread.Do(func() error {
		if p.root != "" {
			if err := enterMounts(); err != nil {
				return fmt.Errorf("mounts of process 1: %w", err)
			}
		}
		began, err := r.began()
		if err != nil {
			return err
		}
		if fresh = !began.IsZero() && began.After(p.written); fresh {
			return nil
		}
		_, err = systemctl(r.verb, r.unit)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w: it does not know what was changed; %s", r.unit, err, r)
	}
	if p.reload = nil; !fresh {
		say(fmt.Sprintf("%s: %s by systemctl", r.unit, map[string]string{"restart": "restarted", "reload": "reloaded"}[r.verb]))
	}
	return nil
}

// enterMounts has the calling thread, and what it starts, see the files of process 1.
func enterMounts() error {
	fd, err := unix.Open("/proc/1/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	return unix.Setns(fd, unix.CLONE_NEWNS)
}

// began is when the unit's main process did; zero if it does not run.
func (r *reload) began() (time.Time, error) {
	text, err := systemctl("show", "--property=ExecMainStartTimestampMonotonic", "--value", r.unit)
	if err != nil {
		return time.Time{}, err
	}
	since, err := strconv.ParseInt(text, 10, 64)
	if err != nil || since == 0 {
		return time.Time{}, err
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return time.Time{}, err
	}
	return time.Now().Add(time.Duration(since)*time.Microsecond - time.Duration(now.Nano())), nil
}

func systemctl(args ...string) (string, error) {
	out, err := exec.Command("systemctl", args...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return "", fmt.Errorf("systemctl %s: %w: %s", args[0], err, text)
	}
	return text, nil
}
