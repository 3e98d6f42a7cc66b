//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/stockade-dev/stockade/scripts/vm/wire"
)

// Where systemd is process 1, a child of the guest does what the guest does
// otherwise: it holds the port and runs the command.
const (
	systemd = "/usr/lib/systemd/systemd"
	carrier = "carrier" // the child's argument

	// What the child inherits.
	portFile   = 3
	configFile = 4
)

// becomeSystemd hands the port and the configuration to a child and makes
// systemd of this process. It returns only on an error.
func becomeSystemd(config *wire.Config, out *port) error {
	text, err := json.Marshal(config)
	if err != nil {
		return err
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("pipe: %w", err)
	}
	_, err = syscall.ForkExec("/proc/self/exe", []string{"guest", carrier}, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{0, 1, 2, uintptr(out.fd), reader.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	reader.Close()
	if err != nil {
		return fmt.Errorf("%s: starting it failed: %w", carrier, err)
	}
	if _, err := writer.Write(text); err != nil {
		return fmt.Errorf("%s: %w", carrier, err)
	}
	writer.Close()
	err = syscall.Exec(systemd, []string{systemd, "--unit=multi-user.target"}, os.Environ())
	return fmt.Errorf("%s: becoming it failed: %w", systemd, err)
}

// carry is the child's life.
func carry() error {
	syscall.CloseOnExec(portFile)
	file := os.NewFile(configFile, "configuration")
	config := new(wire.Config)
	err := json.NewDecoder(file).Decode(config)
	file.Close()
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	out := &port{portFile}
	report(config, out, awaitSystemd())
	time.Sleep(time.Hour) // the runner ends the machine
	return nil
}

// awaitSystemd waits until systemd has started all that belongs to its target.
// A unit that failed would be a machine unlike the one that was asked for.
func awaitSystemd() error {
	for {
		if _, err := os.Stat("/run/systemd/private"); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond) // --boot-timeout ends this
	}
	os.Setenv("PATH", "/usr/bin:/bin")
	state, err := exec.Command("systemctl", "is-system-running", "--wait").CombinedOutput()
	if err == nil {
		return nil
	}
	failed, _ := exec.Command("systemctl", "list-units", "--failed", "--plain", "--no-legend").CombinedOutput()
	return errors.New("systemd is not running but " + strings.Join(strings.Fields(string(state)+" "+string(failed)), " "))
}
