package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/stockade-dev/stockade/agent/container"
)

// admit lets a container be made that the agent will hold.
func admit(s *settings, c *call) error {
	bundle := c.bundle
	if bundle == "" {
		bundle = "."
	}
	_, err := ask(s, c, bundle, nil, "")
	return err
}

// confine has the agent hold a container that is prepared.
func confine(s *settings, c *call) error {
	now, err := stateOf(s, c)
	if err != nil {
		return err
	}
	if now.Status != "created" {
		return fmt.Errorf("container %s: %s: nothing was started; only what is created, and not paused, is", c.id, now.Status)
	}
	p := &container.Process{PID: now.PID}
	if p.Start, err = startOf(now.PID); err != nil {
		return err
	}
	group, err := groupOf(s, c)
	if err != nil {
		return err
	}
	_, err = ask(s, c, now.Bundle, p, group)
	return err
}

func ask(s *settings, c *call, bundle string, p *container.Process, group string) (container.Started, error) {
	facts, err := container.ReadBundle(bundle, c.id)
	if err != nil {
		return container.Started{}, err
	}
	facts.Root = c.root
	ctx, cancel := context.WithTimeout(context.Background(), s.wait)
	defer cancel()
	return container.Ask(ctx, s.Socket, &container.Start{Facts: facts, Process: p, Cgroup: group})
}

// started lets a program be executed in a container only once that was started: before, its
// runtime is not confined yet. One that is paused may not have been.
func started(s *settings, c *call) error {
	now, err := stateOf(s, c)
	if err == nil && now.Status != "running" {
		err = fmt.Errorf("container %s: %s: nothing was executed; start it first, or resume it", c.id, now.Status)
	}
	return err
}

// groupOf returns the cgroup that a runtime puts into what it will execute in a container,
// as its own book has it: runc's state.json, crun's status.
func groupOf(s *settings, c *call) (string, error) {
	root := c.root
	if root == "" {
		root = "/run/runc"
		if strings.Contains(filepath.Base(s.Runtime), "crun") {
			root = "/run/crun"
		}
	}
	var failed []error
	for _, name := range []string{"state.json", "status"} {
		var book struct {
			Groups map[string]string `json:"cgroup_paths"`
			Group  string            `json:"cgroup-path"`
		}
		text, err := os.ReadFile(filepath.Join(root, c.id, name))
		if err == nil {
			err = json.Unmarshal(text, &book)
		}
		if group := cmp.Or(book.Groups[""], book.Group); err == nil && group != "" {
			return group, nil
		}
		failed = append(failed, err)
	}
	return "", fmt.Errorf("container %s: its cgroup is not known: %w: nothing was started; use runc or crun, with cgroups, and --root where it is not the usual one", c.id, errors.Join(failed...))
}

// state is what a runtime says of a container.
type state struct {
	Status string `json:"status"`
	PID    int    `json:"pid"`
	Bundle string `json:"bundle"`
}

// stateOf asks the runtime. It does so with a child, which changes nothing.
func stateOf(s *settings, c *call) (now state, err error) {
	cmd := exec.Command(s.Runtime, append(append([]string{}, c.global...), "state", c.id)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err = cmd.Run(); err == nil {
		err = json.Unmarshal(out.Bytes(), &now)
	}
	if err != nil {
		return now, fmt.Errorf("container %s: its state: %w: nothing was done: %s", c.id, err, strings.TrimSpace(errs.String()))
	}
	return now, nil
}

// startOf returns when a process started, as container.Process has it.
func startOf(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", fmt.Errorf("process %d: %w: nothing was started", pid, err)
	}
	const start = 19 // after the name, which may hold anything
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) <= start {
		return "", fmt.Errorf("process %d: no start time: nothing was started", pid)
	}
	return fields[start], nil
}
