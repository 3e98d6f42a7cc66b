package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestInstallRuntimeSaysWhatItDoes(t *testing.T) {
	root := t.TempDir()
	for _, program := range []string{"usr/bin/wrapper", "usr/sbin/runc"} {
		path := filepath.Join(root, program)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\n# "+program), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	daemon := filepath.Join(root, "etc/docker/daemon.json")
	args := []string{"install-runtime", "--root", root, "--engine", "docker", "--wrapper", "/usr/bin/wrapper"}
	for _, c := range []struct {
		more  []string
		wants []string
		there bool
	}{
		{[]string{"--dry-run"}, []string{"+++ /etc/docker/daemon.json\n", `+            "path": "/usr/bin/wrapper"`, "to do: then `docker run --runtime stockade …`\n"}, false},
		{nil, []string{"/etc/docker/daemon.json: has the runtime stockade, /usr/bin/wrapper\n", "/etc/stockade/runtime.json: names the real runtime, /usr/sbin/runc\n"}, true},
		{nil, []string{"nothing to change\n"}, true},
		{[]string{"--remove", "--dry-run"}, []string{"--- /etc/docker/daemon.json\n+++ /dev/null\n"}, true},
		{[]string{"--remove"}, []string{"/etc/docker/daemon.json: no longer has the runtime stockade\n"}, false},
	} {
		code, out, errs := call("", append(args, c.more...)...)
		if code != 0 || errs != "" {
			t.Fatalf("%q: exit %d, %s", c.more, code, errs)
		}
		for _, want := range c.wants {
			if !strings.Contains(out, want) {
				t.Errorf("%q: no %q in\n%s", c.more, want, out)
			}
		}
		if _, err := os.Stat(daemon); (err == nil) != c.there {
			t.Errorf("%q: %s: %v", c.more, daemon, err)
		}
	}
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{2, "--engine: missing: nothing was done; use one of docker, containerd, podman, crio, nerdctl", []string{"install-runtime"}},
		{2, "x: unexpected argument", []string{"install-runtime", "x"}},
		{2, "--engine: rkt: unknown: nothing was done", []string{"install-runtime", "--engine", "rkt"}},
		{1, "copy-to /usr/bin/other: not called stockade-runc: nothing was changed", append(args, "--copy-to", "/usr/bin/other")},
		{1, "wrapper /nowhere: no program there: nothing was changed", append(args, "--wrapper", "/nowhere")},
	} {
		if code, out, errs := call("", c.args...); code != c.code || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("%q: exit %d, %s%s", c.args, code, out, errs)
		}
	}
}
