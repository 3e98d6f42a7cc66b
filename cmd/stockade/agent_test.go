package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAgentChecksItsConfiguration(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "agent.yaml")
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("p.cedar", `permit (principal, action, resource in file_system::Dir::"/a");`)
	write("agent.yaml", "workloads:\n  - {name: a, match: {cgroup: x}, principal: 'User::\"a\"', policies: p.cedar}\n")
	if code, out, errs := call("", "agent", "--check", "--config", config); code != 0 || !strings.HasSuffix(out, ": ok: 1 workload\n") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	write("agent.yaml", "containers:\n  - {name: a, match: {name: x}, principal: 'User::\"a\"', policies: p.cedar}\n")
	if code, out, errs := call("", "agent", "--check", "--config", config); code != 0 || !strings.HasSuffix(out, ": ok: 0 workloads, 1 template for containers\n") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	write("p.cedar", `permit (principal, action == file_system::Action::"read", resource in file_system::Dir::"/var/run/a") when { context has user && context.user.uid == 7 };`)
	if code, out, errs := call("", "agent", "--check", "--config", config); code != 0 || !strings.Contains(out, `p.cedar:1:1: file_system::Dir::"/var/run/a": in most images this is a link to /run/a: `) {
		t.Errorf("a warning: exit %d: %s%s", code, out, errs)
	}
	for args, want := range map[string]int{"--idle 0": 0, "--idle 0 --strict": 0, "--container --idle 0": 0, "--container --idle 0 --strict": 1} {
		code, out, _ := call("", append(append([]string{"check"}, strings.Fields(args)...), filepath.Join(dir, "p.cedar"))...)
		if warned := strings.Contains(out, "link to /run/a") && strings.Contains(out, "p.cedar:1:1: tests users or groups"); code != want || warned != strings.Contains(args, "--container") {
			t.Errorf("check %s: exit %d: %s", args, code, out)
		}
	}
	write("agent.yaml", "workloads:\n  - {name: a, match: {cgroup: x}, principal: 'User::\"a\"', policies: p.cedar}\n")
	write("p.cedar", "permit (\n")
	if code, _, errs := call("", "agent", "--check", "--config", config); code != 1 || !strings.Contains(errs, "p.cedar:") {
		t.Errorf("bad policy: exit %d: %s", code, errs)
	}
	write("agent.yaml", "workloads: 5\n")
	if code, _, errs := call("", "agent", "--check", "--config", config); code != 1 || !strings.Contains(errs, "agent.yaml:1:12: workloads: not a list") {
		t.Errorf("bad configuration: exit %d: %s", code, errs)
	}
}

func TestVerbsNeedAnAgent(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "none")
	for _, args := range [][]string{
		{"ps", "--socket", socket}, {"reload", "--socket", socket}, {"events", "--socket", socket},
		{"policy", "rollback", "--socket", socket, "a"}, {"mode", "--socket", socket, "a", "audit"},
		{"policy", "apply", "a", "--socket", socket, "--policy", "testdata/good.cedar"},
		{"policy", "apply", "--socket", socket, "--policy", "testdata/good.cedar", "a"},
	} {
		if code, _, errs := call("", args...); code != 1 || !strings.Contains(errs, "no agent listens at "+socket) {
			t.Errorf("%v: exit %d: %s", args, code, errs)
		}
	}
	// A process that is there is asked about; one that there is not needs no agent.
	if code, _, errs := call("", "ps", "--socket", socket, "--pid", "1"); code != 1 || !strings.Contains(errs, "no agent listens at "+socket) {
		t.Errorf("exit %d: %s", code, errs)
	}
	if code, _, errs := call("", "ps", "--socket", socket, "--pid", "999999999"); code != 2 || !strings.HasPrefix(errs, "stockade: process 999999999: there is none: ") {
		t.Errorf("exit %d: %s", code, errs)
	}
	for _, args := range [][]string{{"ps", "x"}, {"reload", "x"}, {"policy", "apply"}, {"policy", "apply", "a"}, {"policy", "undo"}, {"mode", "a"}, {"uninstall", "x"}} {
		if code, _, _ := call("", args...); code != 2 {
			t.Errorf("%v: exit %d, want 2", args, code)
		}
	}
}
