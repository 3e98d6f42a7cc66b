//go:build linux

// Command guest is process 1 of a test machine: it prepares a plain Linux
// userland, runs one command in it and sends its output and exit status to
// the runner on the host. It is built static and packed by scripts/vm. On request
// it makes systemd process 1 and goes on as a child of it.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/stockade-dev/stockade/scripts/vm/wire"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == carrier {
		if err := carry(); err != nil {
			fmt.Println(wire.Fault + err.Error())
			halt()
		}
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "guest: not process 1: nothing done; it is started by scripts/vm")
		os.Exit(125)
	}
	fmt.Println(wire.Mark)
	if err := run(); err != nil {
		fmt.Println(wire.Fault + strings.ReplaceAll(err.Error(), "\n", " "))
	}
	halt()
}

// run does everything between the mark and the halt. The errors it returns
// are those that happen before the port is open.
func run() error {
	config, err := readConfig()
	if err != nil {
		return err
	}
	if err := mountEarly(); err != nil {
		return err
	}
	if err := addEntropy(config.Seed); err != nil {
		return err
	}
	if err := loadModules(config.Modules); err != nil {
		return err
	}
	port, err := openPort()
	if err != nil {
		return err
	}
	port.hello(config.Token)

	err = prepare(config)
	if err == nil && config.Systemd {
		err = becomeSystemd(config, port)
	}
	report(config, port, err)
	select {} // the runner ends the machine
}

// report runs the command, unless something failed before, and says how it ended.
func report(config *wire.Config, out *port, failed error) {
	result := wire.Result{Token: config.Token}
	if failed != nil {
		result.Status, result.Fault = 125, failed.Error()
	} else {
		out.send(wire.Start, []byte(config.Token))
		result.Status, result.Fault = runCommand(config, out)
	}
	result.Taint = taint()
	out.sendJSON(wire.Exit, result)
}

func readConfig() (*wire.Config, error) {
	text, err := os.ReadFile(wire.ConfigPath)
	if err != nil {
		return nil, err
	}
	config := new(wire.Config)
	if err := json.Unmarshal(text, config); err != nil {
		return nil, fmt.Errorf("%s: %w", wire.ConfigPath, err)
	}
	return config, os.Remove(wire.ConfigPath)
}

func taint() uint64 {
	text, err := os.ReadFile("/proc/sys/kernel/tainted")
	if err != nil {
		return 0
	}
	bits, _ := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	return bits
}

// halt makes the emulator exit: it runs with -no-reboot.
func halt() {
	syscall.Sync()
	syscall.Reboot(syscall.LINUX_REBOOT_CMD_RESTART)
	select {}
}
