package daemon

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/sink"
)

// wait tells systemd that all is ready, and answers to it and to signals until
// the daemon is to end. It returns why, nil if it was told to.
func (d *Daemon) wait(ctx context.Context) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	defer signal.Stop(signals)
	var watchdog <-chan time.Time
	if interval, err := daemon.SdWatchdogEnabled(false); err == nil && interval > 0 {
		ticker := time.NewTicker(interval / 2)
		defer ticker.Stop()
		watchdog = ticker.C
	}
	sweeping := time.NewTicker(rescan)
	defer sweeping.Stop()
	reloads := make(chan struct{}, 1)
	defer close(reloads)
	go func() {
		for range reloads {
			notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
			_ = d.Reload() // told by note and status
			notify(daemon.SdNotifyReady + "\n" + d.statusLine())
		}
	}()
	notify(daemon.SdNotifyReady + "\n" + d.statusLine())
	defer notify(daemon.SdNotifyStopping)
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-d.over:
			return err
		case sig := <-signals:
			if sig != unix.SIGHUP {
				return nil
			}
			select {
			case reloads <- struct{}{}:
			default: // one is due already, and has not begun
			}
		case <-watchdog:
			if d.alive() {
				notify(daemon.SdNotifyWatchdog)
			}
		case <-sweeping.C:
			go d.sweep()
		}
	}
}

// alive reports whether the daemon still gets hold of its own state.
func (d *Daemon) alive() bool {
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if d.all.mu.TryLock() {
			d.all.mu.Unlock()
			return true
		}
	}
	return false
}

// notify tells systemd, where there is one.
func notify(state string) { _, _ = daemon.SdNotify(false, state) }

// stepLimit is how long one step of a start or a reload may take.
const stepLimit = 3 * time.Minute

// progress tells systemd of a step that may take long. How many there are hangs on
// the configuration: each gives the start or the reload more time.
func progress(text string) {
	notify(fmt.Sprintf("STATUS=%s\nEXTEND_TIMEOUT_USEC=%d", printable(text), stepLimit.Microseconds()))
}

// statusLine is what systemctl status shows.
func (d *Daemon) statusLine() string {
	text := "STATUS=" + sink.Plural(len(d.all.names()), "workload")
	if _, failed := d.book.last(); failed != "" {
		first, _, _ := strings.Cut(failed, "\n")
		text += "; the last reload failed: " + printable(first)
	}
	return text
}
