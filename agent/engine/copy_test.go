package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/agent/container"
)

// image is a host without the wrapper, and the wrapper of an image beside it.
func image(t *testing.T, engine string) (*host, Options) {
	h := newHost(t, map[string]string{"/etc/docker/daemon.json": "{}\n"})
	if err := os.Remove(h.at(DefaultWrapper)); err != nil {
		t.Fatal(err)
	}
	o := h.options(engine)
	o.Wrapper, o.CopyTo = filepath.Join(t.TempDir(), "wrapper"), DefaultWrapper
	program(t, o.Wrapper, "the wrapper\x00")
	return h, o
}

func program(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestWrapperIsCopiedOnceAndGoesWithTheLastEngine(t *testing.T) {
	h, docker := image(t, "docker")
	crio := docker
	crio.Engine = "crio"
	before := h.files()

	plan, err := Install(docker)
	if err != nil {
		t.Fatal(err)
	}
	if diff := plan.Diff(); !strings.HasPrefix(diff, "--- /dev/null\n+++ "+DefaultWrapper+"\n@@ a program: 0 bytes, then 12 @@\n") {
		t.Errorf("the difference is\n%s", diff)
	}
	said := h.do(plan, nil)
	if !strings.HasPrefix(said, DefaultWrapper+": a copy of "+docker.Wrapper+"\n") || !strings.Contains(h.get("/etc/docker/daemon.json"), `"`+DefaultWrapper+`"`) {
		t.Errorf("said:\n%s\n%s", said, h.get("/etc/docker/daemon.json"))
	}
	info, err := os.Stat(h.at(DefaultWrapper))
	if err != nil || info.Mode() != 0o755 || h.get(DefaultWrapper) != "the wrapper\x00" {
		t.Errorf("the copy is %v, %v", info, err)
	}
	if plan, err := Install(docker); err != nil || len(plan.Changes) != 0 {
		t.Errorf("a second run plans %v, %v", plan, err)
	}

	// A newer image's, and a mode that somebody spoilt.
	program(t, docker.Wrapper, "a newer one")
	if err := os.Chmod(h.at(DefaultWrapper), 0o644); err != nil {
		t.Fatal(err)
	}
	h.do(Install(crio))
	if info, err = os.Stat(h.at(DefaultWrapper)); err != nil || info.Mode() != 0o755 || h.get(DefaultWrapper) != "a newer one" {
		t.Errorf("the copy is %v, %v", info, err)
	}
	if left, _ := filepath.Glob(h.at("/usr/local/bin/*")); len(left) != 1 {
		t.Errorf("beside the copy: %v", left)
	}
	if left, _ := filepath.Glob(h.at("/usr/local/bin/.*")); len(left) != 0 {
		t.Errorf("beside the copy: %v", left)
	}

	if said := h.do(Remove(crio)); !strings.Contains(said, DefaultWrapper+": stays: /etc/docker/daemon.json uses the wrapper") || h.get(DefaultWrapper) == "" {
		t.Errorf("with an engine left:\n%s", said)
	}
	if said := h.do(Remove(docker)); !strings.Contains(said, DefaultWrapper+": removed: no engine uses it") {
		t.Errorf("with none left:\n%s", said)
	}
	if _, err := os.Stat(h.at(DefaultWrapper)); !os.IsNotExist(err) {
		t.Errorf("the copy is there: %v", err)
	}
	h.same(before, "after the removal")
	if plan, err := Remove(docker); err != nil || len(plan.Changes) != 0 {
		t.Errorf("a second removal plans %v, %v", plan, err)
	}
}

// Who put the wrapper there by other means keeps it.
func TestRemovalWithoutCopyToLeavesTheWrapper(t *testing.T) {
	h, o := image(t, "docker")
	h.do(Install(o))
	o.Wrapper, o.CopyTo = DefaultWrapper, ""
	h.do(Remove(o))
	if h.get(DefaultWrapper) == "" {
		t.Error("the wrapper is gone")
	}
}

func TestCopyIsRefused(t *testing.T) {
	for _, c := range []struct {
		says string
		set  func(*host, *Options)
	}{
		{"copy-to /usr/sbin/runc: not called stockade-runc: ", func(_ *host, o *Options) { o.CopyTo = "/usr/sbin/runc" }},
		{`copy-to "stockade-runc": not a plain path`, func(_ *host, o *Options) { o.CopyTo = "stockade-runc" }},
		{"/nowhere: no such file", func(_ *host, o *Options) { o.Wrapper = "/nowhere" }},
		{"wrapper: permission denied", func(_ *host, o *Options) {
			if err := os.Chmod(o.Wrapper, 0o644); err != nil {
				t.Fatal(err)
			}
		}},
		{"something that is no file", func(h *host, o *Options) {
			if err := os.Symlink("/usr/sbin/runc", h.at(o.CopyTo)); err != nil {
				t.Fatal(err)
			}
		}},
		{"/opt/bin/stockade-runc: a link leads out of ", func(h *host, o *Options) {
			o.CopyTo = "/opt/bin/stockade-runc"
			if err := os.Symlink(t.TempDir(), h.at("/opt")); err != nil {
				t.Fatal(err)
			}
		}},
		{"/etc/docker/daemon.json: a link leads out of ", func(h *host, _ *Options) {
			h.put("/srv/daemon.json", "{}")
			if err := os.Remove(h.at("/etc/docker/daemon.json")); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("/srv/daemon.json", h.at("/etc/docker/daemon.json")); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		h, o := image(t, "docker")
		c.set(h, &o)
		before := h.files()
		_, err := Install(o)
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), unchanged+"; ") {
			t.Errorf("%v, not %q", err, c.says)
		}
		h.same(before, c.says)
	}
}

// Links from the root are the host's: k3s has such a one to its programs.
func TestRuntimeIsFoundByAHostsLinks(t *testing.T) {
	h, o := image(t, "docker")
	h.put("/data/1/runc", "#!/bin/sh")
	if err := os.Chmod(h.at("/data/1/runc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/data/1", h.at("/data/current")); err != nil {
		t.Fatal(err)
	}
	o.Runtime = "/data/current/runc"
	h.do(Install(o))
	if text := h.get(container.SettingsFile); !strings.Contains(text, `"/data/current/runc"`) {
		t.Errorf("it is %s", text)
	}
}
