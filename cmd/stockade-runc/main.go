// Command stockade-runc stands before a container runtime: a container starts once the
// agent has confined it, or not at all. It becomes the runtime, and is no parent of it: if
// it is killed, nothing of a start goes on without it.
package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/stockade-dev/stockade/agent/container"
)

func main() {
	call, err := parse(os.Args[1:])
	if err == nil {
		err = run(call)
	}
	call.fail(err)
	os.Exit(1)
}

// run does what the wrapper is for, and becomes the runtime. It returns with an error only.
func run(c *call) error {
	s, err := readSettings(container.SettingsFile)
	if err != nil {
		return err
	}
	switch c.verb {
	case "create":
		err = admit(s, c)
	case "start":
		err = confine(s, c)
	case "exec":
		err = started(s, c)
	case "run":
		err = errors.New("run: begins a container at once, before it can be confined: nothing was started; use create, then start")
	case "restore":
		err = errors.New("restore: what it brings back never executes a program, and so is never confined: nothing was started; start the container anew")
	}
	if err != nil {
		return err
	}
	err = syscall.Exec(s.Runtime, append([]string{s.Runtime}, os.Args[1:]...), os.Environ())
	return fmt.Errorf("runtime %s: %w: nothing was started; correct %s", s.Runtime, err, container.SettingsFile)
}
