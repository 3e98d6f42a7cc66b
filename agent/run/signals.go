package run

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// relay passes signals on to the command. What the terminal sends (Ctrl-C)
// reaches the command by itself: both are in one process group.
type relay struct {
	caught chan os.Signal
	pipes  chan os.Signal // SIGPIPE, read by nobody
	done   chan struct{}
	wait   sync.WaitGroup
}

// catchSignals starts to collect signals, so that none ends this process
// before it has cleaned up. A signal that is ignored stays ignored, for the
// command too.
func catchSignals() *relay {
	r := &relay{caught: make(chan os.Signal, 32), pipes: make(chan os.Signal, 1), done: make(chan struct{})}
	for _, sig := range []os.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2} {
		if !signal.Ignored(sig) {
			signal.Notify(r.caught, sig)
		}
	}
	// Writing to a closed stderr must not end enforcement's owner.
	signal.Notify(r.pipes, unix.SIGPIPE)
	return r
}

// pending returns the signal that came before anything was started, or nil.
func (r *relay) pending() os.Signal {
	select {
	case sig := <-r.caught:
		return sig
	default:
		return nil
	}
}

// early reports whether a signal came that nobody has taken yet.
func (r *relay) early() bool { return len(r.caught) > 0 }

// unlessCaught calls stop once a signal has come, until done.
func (r *relay) unlessCaught(done <-chan struct{}, stop func()) {
	for {
		select {
		case <-done:
			return
		case <-time.After(50 * time.Millisecond):
			if r.early() {
				stop()
				return
			}
		}
	}
}

// forward passes signals on from now on. Those that came before the process
// was there missed it, wherever they came from.
func (r *relay) forward(p *os.Process) {
	for early := len(r.caught); early > 0; early-- {
		_ = p.Signal(<-r.caught)
	}
	r.wait.Go(func() {
		for {
			select {
			case sig := <-r.caught:
				if !fromTerminal(sig) {
					_ = p.Signal(sig)
				}
			case <-r.done:
				return
			}
		}
	})
}

// stop ends the forwarding; signals stay caught until release.
func (r *relay) stop() {
	close(r.done)
	r.wait.Wait()
}

// release gives signals their usual effect again.
func (r *relay) release() {
	signal.Stop(r.caught)
	signal.Stop(r.pipes)
}

// fromTerminal reports that a signal came, as far as can be known, from the
// terminal, which sent it to the command as well.
func fromTerminal(sig os.Signal) bool {
	if sig != syscall.SIGINT && sig != syscall.SIGQUIT {
		return false
	}
	tty, foreground, err := ownTerminal()
	if err != nil {
		return false
	}
	unix.Close(tty)
	return foreground == unix.Getpgrp()
}
