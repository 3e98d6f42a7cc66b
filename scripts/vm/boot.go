//go:build linux

package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stockade-dev/stockade/scripts/vm/wire"
)

const tailLines = 30

// boot runs the command of the options in a machine. It boots again only
// when a kernel dies before init has started: the emulator does that to it
// now and then. What happens later is never tried again.
func boot(cache *Cache, o *Options) (int, error) {
	kernel := findKernel(o.Kernel)
	release, err := kernel.release(cache)
	if err != nil {
		return statusFailed, err
	}
	if u := findUserland(o.Root); u != nil && !u.there(cache) {
		return statusFailed, fmt.Errorf("%s root: not in the cache: nothing booted; run: vm fetch %[1]s", u.Name)
	}
	if err := o.makeDisk(cache); err != nil {
		return statusFailed, err
	}
	run, err := cache.newRun()
	if err != nil {
		return statusFailed, err
	}
	defer os.RemoveAll(run)
	// The emulator keeps what the guest writes to its disk there.
	os.Setenv("TMPDIR", run)

	config := newConfig(o)
	initramfs, err := writeInitramfs(cache, o, config, run)
	if err != nil {
		return statusFailed, err
	}
	name := time.Now().UTC().Format("20060102-150405.000-") + o.Kernel + "-" + config.Token[:6]
	for try := 1; ; try++ {
		log := cache.path("logs", fmt.Sprintf("%s-%d.log", name, try))
		outcome, err := bootOnce(o, config.Token, emulatorArgs(cache, o, initramfs, log))
		if err != nil {
			return statusFailed, err
		}
		v := judge(o, outcome, readConsole(log))
		if v.again && try < o.Tries {
			fmt.Fprintf(os.Stderr, "vm: %s: boot %d of %d died before init (%s): trying again; log: %s\n", release, try, o.Tries, v.what, log)
			continue
		}
		if v.again {
			v.what = fmt.Sprintf("boot %d of %d died before init (%s)", try, o.Tries, v.what)
		}
		return v.report(o, outcome, release, log)
	}
}

// makeDisk makes the file that keeps a root, unless it is there.
func (o *Options) makeDisk(cache *Cache) error {
	if o.Disk == "" {
		return nil
	}
	if _, err := os.Stat(o.Disk); err == nil {
		return nil
	}
	_, err := tool("", nil, "cp", "--sparse=always", findUserland(o.Root).image(cache), o.Disk)
	if err != nil {
		return fmt.Errorf("--disk: %w: nothing booted", err)
	}
	return nil
}

func bootOnce(o *Options, token string, args []string) (*Outcome, error) {
	if o.Shell {
		defer holdTerminal()()
	}
	machine, err := startMachine(o, token, args)
	if err != nil {
		return nil, err
	}
	return machine.watch(os.Stdout), nil
}

func newConfig(o *Options) *wire.Config {
	random := make([]byte, 16)
	rand.Read(random)
	seed := make([]byte, 64)
	rand.Read(seed)
	config := &wire.Config{
		Token: hex.EncodeToString(random), Seed: seed,
		Dir: o.Dir, Command: o.Command, Systemd: o.Systemd,
		Env: []string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"HOME=/root", "USER=root", "LOGNAME=root", "LANG=C.UTF-8",
		},
	}
	if o.onDisk() {
		config.Disk = "/dev/vda"
	}
	if o.Shell {
		config.Shell = "/dev/ttyS1"
		config.Rows, config.Columns = terminalSize()
		config.Env = append(config.Env, "TERM="+os.Getenv("TERM"))
		if len(o.Command) == 0 && o.onDisk() {
			config.Command = []string{"bash", "-l"}
		} else if len(o.Command) == 0 {
			config.Command = []string{"sh", "-l"}
		}
	}
	config.Env = append(config.Env, o.Env...)
	return config
}

// verdict is what one boot comes to.
type verdict struct {
	status   int
	what     string   // what happened to the machine; empty if nothing did
	again    bool     // it may be booted again
	warnings []string // of the kernel
}

// judge weighs what init reported and what the kernel printed.
func judge(o *Options, out *Outcome, console *Console) verdict {
	v := verdict{status: statusFailed, warnings: console.Warnings}
	reason := func(otherwise string) string {
		if text := console.Reason(); text != "" {
			return text
		}
		return otherwise
	}
	stage := "before the command started"
	if out.Started {
		stage = "while the command ran"
	}
	initSeen := console.Mark || out.Greeting != nil
	switch out.End {
	case EndSignal:
		v.status = 128 + int(out.Signal)
		v.what = fmt.Sprintf("stopped by signal %d (%s)", int(out.Signal), out.Signal)
	case EndBroken:
		v.what = fmt.Sprintf("the stream from init broke (%v)", out.Err)
	case EndTimeout:
		v.what = fmt.Sprintf("the command did not end within %s", o.Timeout)
		if text := console.Reason(); text != "" {
			v.what += " (" + text + ")"
		}
	case EndExit:
		switch {
		case out.Status < 0 && !initSeen:
			v.again, v.what = true, "the emulator crashed"
		case out.Status != 0:
			v.what = fmt.Sprintf("the emulator failed with status %d (%s)", out.Status, strings.TrimSpace(out.Messages))
		case o.Shell && out.Started && len(console.Panics) == 0:
			return verdict{}
		case !initSeen:
			v.again, v.what = true, reason("no reason printed")
		default:
			v.what = fmt.Sprintf("died %s (%s)", stage, reason("it rebooted or was switched off"))
		}
	case EndBootTimeout:
		v.what = reason(fmt.Sprintf("no sign of life within %s", o.BootTimeout))
		if v.again = !initSeen; !v.again {
			v.what = fmt.Sprintf("init did not start the command within %s (%s)", o.BootTimeout, reason("no reason printed"))
		}
	case EndResult:
		v.status = out.Result.Status
		switch oops := out.Result.Taint&wire.TaintOops != 0 || len(console.Oopses) > 0; {
		case oops:
			v.what = fmt.Sprintf("the kernel oopsed (%s); the command's own status was %d", reason("see the log"), v.status)
			v.status = statusFailed
		case out.Result.Fault != "" && !out.Started:
			v.what = fmt.Sprintf("init failed (%s)", out.Result.Fault)
			v.status = statusFailed
		}
		if out.Result.Taint&wire.TaintWarn != 0 && len(v.warnings) == 0 {
			v.warnings = []string{"WARNING: (the kernel is tainted by one; its text is not on the console)"}
		}
	}
	return v
}

// report prints what the user must know and returns the exit status.
func (v verdict) report(o *Options, out *Outcome, release, log string) (int, error) {
	if o.Verbose && out.Greeting != nil {
		fmt.Fprintf(os.Stderr, "vm: %s: init after %.1f s of guest time; command started after %.1f s, ended after %.1f s more\n",
			release, out.Greeting.Uptime, out.BootTime.Seconds(), out.RunTime.Seconds())
	}
	for _, warning := range v.warnings {
		fmt.Fprintf(os.Stderr, "vm: %s: kernel warning: %s\n", release, warning)
	}
	if v.what == "" {
		if out.Result != nil && out.Result.Fault != "" {
			fmt.Fprintf(os.Stderr, "vm: %s: %s: not run in the guest; check its name and --file\n", o.Command[0], out.Result.Fault)
		}
		if len(v.warnings) > 0 || o.KeepLog {
			fmt.Fprintf(os.Stderr, "vm: %s: console log: %s\n", release, log)
		} else {
			os.Remove(log)
		}
		return v.status, nil
	}
	if out.End == EndSignal {
		os.Remove(log)
		return v.status, fmt.Errorf("%s: %s: the machine was ended", release, v.what)
	}
	for _, line := range readConsole(log).Excerpt(tailLines) {
		fmt.Fprintln(os.Stderr, "  |", line)
	}
	return v.status, fmt.Errorf("%s: %s: the run failed; read %s", release, v.what, shortPath(log))
}

// shortPath makes a path relative where that is shorter.
func shortPath(path string) string {
	if here, err := os.Getwd(); err == nil {
		if short, err := filepath.Rel(here, path); err == nil && len(short) < len(path) {
			return short
		}
	}
	return path
}
