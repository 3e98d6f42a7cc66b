package engine

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/agent/container"
)

// host is a root directory with the wrapper, runc and some files in it.
type host struct {
	t    *testing.T
	root string
}

func newHost(t *testing.T, files map[string]string) *host {
	h := &host{t, t.TempDir()}
	for _, program := range []string{DefaultWrapper, "/usr/sbin/runc", "/usr/bin/crun", "/usr/libexec/crio/crun"} {
		h.put(program, "#!/bin/sh\n# "+program)
		if err := os.Chmod(h.at(program), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, text := range files {
		h.put(path, text)
	}
	return h
}

func (h *host) at(path string) string { return filepath.Join(h.root, path) }

func (h *host) put(path, text string) {
	h.t.Helper()
	if err := os.MkdirAll(filepath.Dir(h.at(path)), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(h.at(path), []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// get is a file's text; "" if there is none.
func (h *host) get(path string) string {
	h.t.Helper()
	text, err := os.ReadFile(h.at(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.t.Fatal(err)
	}
	return string(text)
}

// edit changes a file as a person would.
func (h *host) edit(path, old, replacement string) {
	h.t.Helper()
	text := h.get(path)
	if !strings.Contains(text, old) {
		h.t.Fatalf("%s: has no %q:\n%s", path, old, text)
	}
	h.put(path, strings.Replace(text, old, replacement, 1))
}

// files are all below /etc.
func (h *host) files() map[string]string {
	all := map[string]string{}
	err := filepath.WalkDir(h.at("/etc"), func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			path := strings.TrimPrefix(name, h.root)
			all[path] = h.get(path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return all
}

func (h *host) options(engine string) Options {
	return Options{Engine: engine, Root: h.root, Version: func() (string, error) { return "containerd x 1.7.24 y", nil }}
}

// do carries a plan out and returns what was said.
func (h *host) do(plan *Plan, err error) string {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
	var said []string
	if err := plan.Apply(func(text string) { said = append(said, text) }); err != nil {
		h.t.Fatal(err)
	}
	return strings.Join(slices.Concat(said, plan.Notes, []string{plan.Left()}, plan.Todo), "\n")
}

func (h *host) install(engine string) string {
	h.t.Helper()
	return h.do(Install(h.options(engine)))
}

func (h *host) remove(engine string) string {
	h.t.Helper()
	return h.do(Remove(h.options(engine)))
}

// same fails unless the files are those of before.
func (h *host) same(before map[string]string, when string) {
	h.t.Helper()
	now := h.files()
	for _, path := range slices.Sorted(maps.Keys(now)) {
		if was, is := before[path]; !is {
			h.t.Errorf("%s: %s is new:\n%s", when, path, now[path])
		} else if was != now[path] {
			h.t.Errorf("%s: %s is other than before:\n%s", when, path, difference([]byte(was), []byte(now[path])))
		}
	}
	for path := range before {
		if _, is := now[path]; !is {
			h.t.Errorf("%s: %s is gone", when, path)
		}
	}
}

func testdata(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// cases are hosts as they are found, with where the entry of each is written.
func cases(t *testing.T) []struct {
	name, engine, main, entry string
	files                     map[string]string
} {
	const containerd, docker, crio = "/etc/containerd/config.toml", "/etc/docker/daemon.json", "/etc/crio/crio.conf.d/10-crio.conf"
	const dropped, podman = "/etc/containerd/conf.d/stockade.toml", "/etc/containers/containers.conf.d/50-stockade.conf"
	of := func(path, name string) map[string]string { return map[string]string{path: testdata(t, name)} }
	type files = map[string]string
	return []struct {
		name, engine, main, entry string
		files                     map[string]string
	}{
		{"containerd 1.7, its default", "containerd", containerd, containerd, of(containerd, "containerd-1.7.toml")},
		{"containerd 2.1, its default", "containerd", containerd, dropped, of(containerd, "containerd-2.1.toml")},
		{"containerd, Debian's file", "containerd", containerd, containerd, of(containerd, "containerd-debian.toml")},
		{"containerd, no file", "containerd", containerd, containerd, nil},
		{"containerd, imports in use", "containerd", containerd, dropped, files{containerd: "version = 3\nimports = ['/etc/containerd/conf.d/*.toml']\n", "/etc/containerd/conf.d/a.toml": "version = 3\n"}},
		{"containerd, imports of many lines", "containerd", containerd, dropped, files{containerd: "# mine\nversion = 3\nimports = [\n  # that\n  '/etc/other/that.toml',\n]\n\n[grpc] # here\n  gid = 0\n"}},
		{"containerd, no end of line", "containerd", containerd, containerd, files{containerd: "version = 2\n[plugins]"}},
		{"docker, a list", "docker", docker, docker, files{docker: "{\n  \"default-runtime\": \"x\",\n  \"runtimes\": {\n    \"x\": {\"path\": \"crun\"}\n  },\n  \"debug\":true\n}\n"}},
		{"docker, no list", "docker", docker, docker, files{docker: `{"live-restore":true}`}},
		{"docker, an empty list", "docker", docker, docker, files{docker: "{\n\t\"runtimes\": {}\n}"}},
		{"docker, an empty object", "docker", docker, docker, files{docker: "{}\n"}},
		{"docker, an empty file", "docker", docker, docker, files{docker: ""}},
		{"docker, no file", "docker", docker, docker, nil},
		{"podman", "podman", "", podman, of("/usr/share/containers/containers.conf", "containers.conf")},
		{"podman, no file", "podman", "", podman, nil},
		{"crio", "crio", "", "/etc/crio/crio.conf.d/50-stockade.conf", of(crio, "10-crio.conf")},
		{"crio, no file", "crio", "", "/etc/crio/crio.conf.d/50-stockade.conf", nil},
	}
}

func TestInstalledOnceAndTakenOutExactly(t *testing.T) {
	for _, c := range cases(t) {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t, c.files)
			before := h.files()
			if said := h.install(c.engine); !strings.Contains(said, c.entry+": has the runtime stockade, "+DefaultWrapper) {
				t.Errorf("said:\n%s", said)
			}
			if !strings.Contains(h.get(c.entry), DefaultWrapper) {
				t.Errorf("%s does not name the wrapper:\n%s", c.entry, h.get(c.entry))
			}
			after := h.files()
			for path, was := range before {
				if kept, copied := after[path+suffix]; copied != (after[path] != was) || copied && kept != was {
					t.Errorf("%s: changed is %v, copied is %v", path, after[path] != was, copied)
				}
				for _, line := range lines([]byte(was)) {
					line = strings.TrimRight(line, "\n]})")
					if !strings.HasPrefix(line, "imports") && !strings.Contains(after[path], line) {
						t.Errorf("%s: lost %q", path, line)
					}
				}
			}
			h.install(c.engine)
			h.same(after, "after a second run")
			if plan, err := Install(h.options(c.engine)); err != nil || len(plan.Changes) != 0 || plan.Diff() != "" {
				t.Errorf("a third run plans %v, %v", plan, err)
			}
			h.remove(c.engine)
			h.same(before, "after the removal")
			h.remove(c.engine)
			h.same(before, "after a second removal")
		})
	}
}

func TestFilesThatAreWrongAreRefusedWhereTheyAre(t *testing.T) {
	for _, c := range []struct{ engine, path, text, says string }{
		{"containerd", "/etc/containerd/config.toml", "version = 2\n[plugins\n", "config.toml:2:9: "},
		{"containerd", "/etc/containerd/config.toml", "version = 2\na = 1\na = 2\n", "config.toml:3:1: "},
		{"containerd", "/etc/containerd/config.toml", "{{ template \"base\" . }}\n", "config.toml:1:1: "},
		{"containerd", "/etc/containerd/config.toml", "disabled_plugins = [\"cri\"]\n", "--engine nerdctl"},
		{"containerd", "/etc/containerd/config.toml", "root = \"/x\"\n", "containerd config migrate"},
		{"containerd", "/etc/containerd/config.toml", "version = 2\nplugins = {'io.containerd.grpc.v1.cri' = {}}\n", "cannot be edited as text"},
		{"containerd", "/etc/containerd/config.toml", "version = 3\n\"imports\" = ['/x/y.toml']\n", "cannot be edited as text"},
		{"docker", "/etc/docker/daemon.json", "{\n  \"a\": 1\n  \"b\": 2\n}\n", "daemon.json:3:3: invalid character"},
		{"docker", "/etc/docker/daemon.json", "{\n  oops\n}\n", "daemon.json:2:3: invalid character"},
		{"docker", "/etc/docker/daemon.json", "{\n  \"a\": 1\n", "daemon.json:2:9: unexpected end"},
		{"docker", "/etc/docker/daemon.json", "[]", "daemon.json:1:1: not an object"},
		{"docker", "/etc/docker/daemon.json", "{\n  \"runtimes\": 5}", "daemon.json:2:3: runtimes: not an object"},
		{"docker", "/etc/docker/daemon.json", "{\"runtimes\": {\"x\": 5}}", "daemon.json: json: cannot unmarshal number"},
		{"docker", container.SettingsFile, "{,}", "runtime.json:1:2: "},
		{"podman", "/etc/containers/containers.conf", "[engine]\nx = \n", "containers.conf:2:"},
		{"podman", "/etc/containers/containers.conf.d/50-stockade.conf", "# mine\n", "not written by this program"},
		{"podman", "/etc/containers/containers.conf", "[engine.runtimes]\nstockade = ['/x']\n", "that is not ours"},
		{"crio", "/etc/crio/crio.conf.d/10-crio.conf", "[crio]\nx\n", "10-crio.conf:2:"},
	} {
		h := newHost(t, map[string]string{c.path: c.text})
		before := h.files()
		_, err := Install(h.options(c.engine))
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "nothing was changed; ") {
			t.Errorf("%s, %q: %v, not %q", c.engine, c.text, err, c.says)
		}
		h.same(before, c.text)
	}
}

func TestOptionsAreLookedAtFirst(t *testing.T) {
	for _, c := range []struct {
		says string
		set  func(*Options)
	}{
		{`engine "rkt": unknown`, func(o *Options) { o.Engine = "rkt" }},
		{`name "a b": not the name`, func(o *Options) { o.Name = "a b" }},
		{`name "runc": that of another runtime`, func(o *Options) { o.Name = "runc" }},
		{`wrapper "x": not a plain path`, func(o *Options) { o.Wrapper = "x" }},
		{`wrapper /nowhere: no program`, func(o *Options) { o.Wrapper = "/nowhere" }},
		{`runtime /nowhere: no program`, func(o *Options) { o.Runtime = "/nowhere" }},
		{"the wrapper itself", func(o *Options) { o.Runtime = DefaultWrapper }},
		{"the wrapper itself", func(o *Options) { o.Runtime = "/usr/bin/alias" }},
		{`socket "a\nb": not a plain path`, func(o *Options) { o.Socket = "a\nb" }},
	} {
		h := newHost(t, nil)
		if err := os.Link(h.at(DefaultWrapper), h.at("/usr/bin/alias")); err != nil {
			t.Fatal(err)
		}
		o := h.options("docker")
		c.set(&o)
		if _, err := Install(o); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v, not %q", err, c.says)
		}
	}
}

func TestApplyRefusesWhatChangedMeanwhile(t *testing.T) {
	h := newHost(t, map[string]string{"/etc/docker/daemon.json": "{}"})
	plan, err := Install(h.options("docker"))
	if err != nil {
		t.Fatal(err)
	}
	h.put("/etc/docker/daemon.json", `{"debug": true}`)
	err = plan.Apply(func(string) {})
	if err == nil || !strings.Contains(err.Error(), "daemon.json: somebody changed it meanwhile: nothing after it was changed") {
		t.Error(err)
	}
	if h.get("/etc/docker/daemon.json") != `{"debug": true}` {
		t.Error("the change is lost")
	}
}

func TestModeLinkAndFirstCopyStay(t *testing.T) {
	const path = "/etc/docker/daemon.json"
	h := newHost(t, map[string]string{"/srv/daemon.json": "{}", path + suffix: "the first"})
	if err := os.Chmod(h.at("/srv/daemon.json"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../srv/daemon.json", h.at(path)); err != nil {
		t.Fatal(err)
	}
	h.install("docker")
	info, err := os.Lstat(h.at(path))
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", info.Mode(), err)
	}
	info, err = os.Stat(h.at(path))
	if err != nil || info.Mode() != 0o640 || !strings.Contains(h.get("/srv/daemon.json"), DefaultWrapper) {
		t.Errorf("what it points to is %v, %v", info.Mode(), err)
	}
	if h.get(path+suffix) != "the first" {
		t.Errorf("the copy is %q", h.get(path+suffix))
	}
	left, err := filepath.Glob(h.at("/srv/.stockade-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestDiffShowsWhatApplyDoes(t *testing.T) {
	h := newHost(t, map[string]string{"/etc/docker/daemon.json": "{\n    \"debug\": true\n}\n"})
	before := h.files()
	plan, err := Install(h.options("docker"))
	if err != nil {
		t.Fatal(err)
	}
	const want = `--- /etc/docker/daemon.json
+++ /etc/docker/daemon.json
@@ -1,3 +1,8 @@
 {
-    "debug": true
+    "debug": true,
+    "runtimes": {
+        "stockade": {
+            "path": "/usr/local/bin/stockade-runc"
+        }
+    }
 }
`
	if !strings.HasSuffix(plan.Diff(), want) {
		t.Errorf("the difference is\n%s", plan.Diff())
	}
	h.same(before, "after a plan")
	if !bytes.Contains([]byte(plan.Diff()), []byte("--- /dev/null\n+++ /etc/stockade/runtime.json\n@@ -0,0 +1,5 @@\n")) {
		t.Errorf("the difference is\n%s", plan.Diff())
	}
}
