package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/stockade-dev/stockade/agent/container"
)

// admit lets a container be made that the agent will hold.
func admit(s *settings, c *call) error {
	bundle := c.bundle
	if bundle == "" {
		bundle = "."
	}
	_, err := ask(s, c, bundle, nil)
	return err
}

// confine has the agent hold a container that is prepared.
func confine(s *settings, c *call) error {
	now, err := stateOf(s, c)
	if err != nil {
		return err
	}
	if now.Status != "created" {
		return nil // the runtime says what is wrong with that
	}
	p := &container.Process{PID: now.PID}
	if p.Start, err = startOf(now.PID); err != nil {
		return err
	}
	_, err = ask(s, c, now.Bundle, p)
	return err
}

func ask(s *settings, c *call, bundle string, p *container.Process) (container.Started, error) {
	facts, err := container.ReadBundle(bundle, c.id)
	if err != nil {
		return container.Started{}, err
	}
	facts.Root = c.root
	ctx, cancel := context.WithTimeout(context.Background(), s.wait)
	defer cancel()
	return container.Ask(ctx, s.Socket, &container.Start{Facts: facts, Process: p})
}

// started lets a program be executed in a container only once that was started: before, its
// runtime is not confined yet.
func started(s *settings, c *call) error {
	now, err := stateOf(s, c)
	if err == nil && now.Status == "created" {
		err = fmt.Errorf("container %s: not started yet: nothing was executed; start it first", c.id)
	}
	return err
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
