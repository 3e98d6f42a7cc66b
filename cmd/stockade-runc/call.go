package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// call is one call of the runtime, as far as the wrapper has to understand it.
type call struct {
	global  []string // options before the verb
	root    string   // --root
	log     string   // --log, a file
	logJSON bool
	verb    string // "" where there is none: --version, --help
	id      string // of verbs that are looked at
	bundle  string // of create

	unmanaged, outside bool // no cgroup of its own, or another
}

// Options that are followed by their value, and such as stand by themselves. What
// is in neither list is refused: read wrongly, it could hide a start.
var (
	globalValues = words("--root --log --log-format --log-level --criu --rootless --cgroup-manager")
	globalFlags  = words("--debug --systemd-cgroup --help -h --version -v")
	verbValues   = map[string][]string{
		"create": words("--bundle -b --console-socket --pidfd-socket --pid-file --preserve-fds"),
		"start":  nil,
		"exec": words("--console-socket --pidfd-socket --cwd --env -e --user -u --additional-gids -g --process -p --pid-file" +
			" --process-label --apparmor --cap -c --preserve-fds --cgroup"),
	}
	verbFlags = map[string][]string{
		"create": words("--no-pivot --no-new-keyring --no-subreaper"),
		"start":  nil,
		"exec":   words("--tty -t --detach -d --no-new-privs"),
	}
	// passed are verbs that start nothing in a container.
	passed = words("state kill delete list ps events pause resume update spec checkpoint features help run restore")
)

func words(text string) []string { return strings.Fields(text) }

// parse reads the arguments. On an error there is as much of the call as tells where to
// log it.
func parse(args []string) (*call, error) {
	c := &call{}
	rest, err := options(args, globalValues, globalFlags, func(name, value string, written []string) {
		switch name {
		case "--root":
			c.root = value
		case "--log":
			c.log = strings.TrimPrefix(value, "file:")
		case "--log-format":
			c.logJSON = value == "json"
		case "--cgroup-manager":
			c.unmanaged = value == "disabled"
		}
		if name != "--log" && name != "--log-format" && name != "--log-level" {
			c.global = append(c.global, written...)
		}
	})
	if err == nil && c.unmanaged {
		err = errors.New("option --cgroup-manager: without a cgroup no container is confined: nothing was done; leave it out")
	}
	if err != nil || len(rest) == 0 {
		return c, err
	}
	c.verb = rest[0]
	values, looked := verbValues[c.verb]
	if !looked {
		if !slices.Contains(passed, c.verb) {
			return c, fmt.Errorf("%q: no verb of a runtime that is known here: nothing was done; call the runtime itself", c.verb)
		}
		return c, nil
	}
	rest, err = options(rest[1:], values, slices.Concat(verbFlags[c.verb], words("--help -h")), func(name, value string, _ []string) {
		switch name {
		case "--bundle", "-b":
			c.bundle = value
		case "--cgroup":
			c.outside = c.outside || strings.Contains(value, "..")
		}
	})
	if err == nil && c.outside {
		err = errors.New("option --cgroup: leads out of the container's cgroup: nothing was done; name one beneath it")
	}
	if err != nil {
		return c, fmt.Errorf("%s: %w", c.verb, err)
	}
	if len(rest) == 0 || c.verb != "exec" && len(rest) > 1 {
		return c, fmt.Errorf("%s: not one container's id: nothing was done; name it after all options", c.verb)
	}
	c.id = rest[0]
	return c, nil
}

// options reads options up to the first argument that is none. Each is told as it was
// written, too. Forms that runtimes read differently, as -ab or --abbreviat, are not known.
func options(args, values, flags []string, tell func(name, value string, written []string)) (rest []string, err error) {
	for len(args) > 0 {
		name, value, joined := strings.Cut(args[0], "=")
		n := 1
		switch {
		case args[0] == "--":
			return args[1:], nil
		case len(args[0]) < 2 || args[0][0] != '-':
			return args, nil
		case slices.Contains(flags, name):
		case !slices.Contains(values, name):
			return args, fmt.Errorf("option %s: not known here: nothing was done; leave it out, or call the runtime itself", name)
		case !joined && len(args) == 1:
			return args, fmt.Errorf("option %s: without its value: nothing was done", name)
		case !joined:
			value, n = args[1], 2
		}
		tell(name, value, args[:n])
		args = args[n:]
	}
	return nil, nil
}

// fail tells of an error where the engine looks for it: in the runtime's log, as this would,
// and on standard error.
func (c *call) fail(err error) {
	fmt.Fprintf(os.Stderr, "stockade-runc: %v\n", err)
	if c == nil || c.log == "" {
		return
	}
	file, failed := os.OpenFile(c.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY|os.O_SYNC, 0o644)
	if failed != nil {
		fmt.Fprintf(os.Stderr, "stockade-runc: log: %v\n", failed)
		return
	}
	defer file.Close()
	now, text := time.Now().Format(time.RFC3339), "stockade: "+err.Error()
	line := fmt.Sprintf("time=%q level=error msg=%q\n", now, text)
	if c.logJSON {
		fields, _ := json.Marshal(map[string]string{"level": "error", "msg": text, "time": now}) // plain text
		line = string(fields) + "\n"
	}
	if _, failed := file.WriteString(line); failed != nil {
		fmt.Fprintf(os.Stderr, "stockade-runc: log: %v\n", failed)
	}
}
