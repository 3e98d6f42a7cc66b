//go:build linux

// Command vm runs commands under real Debian kernels in an emulator. See
// README.md in its folder.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
)

// statusFailed is the exit status for every failure of the harness itself,
// which a command in the guest should not use.
const statusFailed = 125

const usage = `vm runs commands under real Debian kernels in an emulator.

  vm deps                            install the emulator and tools (Debian package names)
  vm fetch [KERNEL|debian|engines|kubernetes|runtimes|all]
                                     get kernels (vm list names them), build the debian root;
                                     those with container engines, with Kubernetes, container
                                     runtimes (all leaves these out)
  vm list                            kernels present, with their true versions
  vm run [OPTION]... -- CMD [ARG]... run a command, and exit with its status
  vm shell [OPTION]... [-- CMD]      a shell on this terminal (leave: exit, or Ctrl-A X)

Options of run and shell:
%s
Exit status of run: that of CMD; 128+N if signal N ended it; 127 if it was not
found; 125 if the machine failed: died, panicked, oopsed or ran out of time.
"go run" turns every failure into status 1: build bin/vm to get the true one.

Examples:
  go build -o bin/vm ./scripts/vm
  bin/vm fetch all
  bin/vm run --kernel 6.1 -- sh -c 'uname -r; cat /sys/kernel/security/lsm'
  bin/vm run --kernel 7.2 --root debian --file .:/src -- git -C /src status
  bin/vm run --kernel 6.12 --append 'lsm=landlock' -- cat /sys/kernel/security/lsm
  CGO_ENABLED=0 go test -exec "$PWD/bin/vm run --kernel 6.12 --ship --" ./some/package
  bin/vm shell --kernel 7.2 --file bin/stockade:/usr/bin/stockade
`

func init() {
	// The emulator dies with the thread that started it (Pdeathsig): keep
	// to the main thread, which lives as long as the process.
	runtime.LockOSThread()
}

func main() {
	status, err := dispatch(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		if status == 0 {
			status = statusFailed
		}
	}
	os.Exit(status)
}

func dispatch(args []string) (int, error) {
	verb := ""
	if len(args) > 0 {
		verb, args = args[0], args[1:]
	}
	switch verb {
	case "", "-h", "-help", "--help", "help":
		fmt.Printf(usage, optionsHelp())
		return 0, nil
	case "deps":
		return 0, installTools()
	}
	cache, err := openCache()
	if err != nil {
		return statusFailed, err
	}
	switch verb {
	case "fetch":
		return 0, fetch(cache, args)
	case "list":
		return 0, list(cache)
	case "run", "shell":
		options, err := parseOptions(verb, args)
		if errors.Is(err, errHelp) {
			fmt.Printf(usage, optionsHelp())
			return 0, nil
		}
		if err != nil {
			return statusFailed, err
		}
		dieWithGoRun()
		return boot(cache, options)
	}
	return statusFailed, fmt.Errorf("%s: no such verb: nothing done; see vm --help", verb)
}

// dieWithGoRun makes this process end when "go run" is killed, which would
// otherwise leave it behind.
func dieWithGoRun() {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", os.Getppid()))
	if err == nil && strings.TrimSpace(string(name)) == "go" {
		const prSetPdeathsig = 1
		syscall.RawSyscall(syscall.SYS_PRCTL, prSetPdeathsig, uintptr(syscall.SIGTERM), 0)
	}
}
