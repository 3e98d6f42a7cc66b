package engine

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/agent/container"
)

// has fails unless a text has all parts.
func has(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in\n%s", part, text)
		}
	}
}

const toml1 = "/etc/containerd/config.toml"

func TestContainerdsEntryIsLikeTheUsualOne(t *testing.T) {
	h := newHost(t, map[string]string{toml1: `version = 2
[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "nvidia"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia]
    runtime_type = "io.containerd.runc.v2"
    base_runtime_spec = "/etc/containerd/base.json"
    pod_annotations = ["nvidia.com/*"]
    snapshotter = ""
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia.options]
      BinaryName = "/usr/bin/crun"
      SystemdCgroup = true
`})
	h.install("containerd")
	has(t, h.get(toml1), `base_runtime_spec = "/etc/containerd/base.json"
container_annotations = ["stockade.dev/*"]
pod_annotations = ["nvidia.com/*", "stockade.dev/*"]
runtime_type = "io.containerd.runc.v2"

[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.stockade.options]
BinaryName = "/usr/local/bin/stockade-runc"
SystemdCgroup = true
`)
	if strings.Contains(h.get(toml1), "runtimes.runc]") {
		t.Error("runc has an entry that it needs not")
	}
	has(t, h.get(container.SettingsFile), `"runtime": "/usr/bin/crun"`)
	// What the node's entry changes to is followed, once it is asked for again.
	h.edit(toml1, "SystemdCgroup = true", "SystemdCgroup = false")
	h.install("containerd")
	has(t, h.get(toml1), "stockade-runc\"\nSystemdCgroup = false\n")
	if n := strings.Count(h.get(toml1), "runtimes.stockade]"); n != 1 {
		t.Errorf("%d entries:\n%s", n, h.get(toml1))
	}
}

func TestAPluginsTableElsewhereIsRefusedForContainerd1(t *testing.T) {
	files := map[string]string{
		toml1:                           "version = 2\nimports = ['/etc/containerd/conf.d/*.toml']\n",
		"/etc/containerd/conf.d/a.toml": "[plugins.'io.containerd.grpc.v1.cri']\nsandbox_image = 'x'\n",
	}
	h := newHost(t, files)
	before := h.files()
	_, err := Install(h.options("containerd"))
	if err == nil || !strings.Contains(err.Error(), "a.toml: its table of io.containerd.grpc.v1.cri takes the place") || !strings.Contains(err.Error(), "--config /etc/containerd/conf.d/a.toml") {
		t.Error(err)
	}
	h.same(before, "after an error")
	// As it says: that file, which has no version of its own.
	o := h.options("containerd")
	o.Config = "/etc/containerd/conf.d/a.toml"
	h.do(Install(o))
	has(t, h.get(o.Config), "runtimes.stockade]", "sandbox_image = 'x'", "runtimes.runc]")
	h.do(Remove(o))
	h.same(before, "after the removal")
	// Another version merges.
	o = h.options("containerd")
	o.Version = func() (string, error) { return "containerd github.com/containerd/containerd/v2 2.1.9+unknown", nil }
	h.do(Install(o))
	has(t, h.get(toml1), "runtimes.stockade]")
	// Who cannot say is taken for the older one.
	o.Version = func() (string, error) { return "", errors.New("no program") }
	o.Name = "other"
	if _, err := Install(o); err == nil {
		t.Error("an unknown version is taken for one that merges")
	}
}

func TestK3sDropInLiesWhereItsFileImportsFrom(t *testing.T) {
	const main, dir = "/var/lib/rancher/k3s/agent/etc/containerd/config.toml", "/var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.d/"
	text := "version = 3\nimports = [\"" + dir + "*.toml\"]\n"
	h := newHost(t, map[string]string{main: text})
	o := h.options("containerd")
	o.Config = main
	h.do(Install(o))
	has(t, h.get(dir+dropIn), "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.stockade]")
	if h.get(main) != text {
		t.Errorf("the main file is changed:\n%s", h.get(main))
	}
	// Docker's entry goes; k3s's still needs the wrapper's configuration.
	h.install("docker")
	has(t, h.remove("docker"), "runtime.json: stays: "+dir+dropIn+" uses the wrapper")
	has(t, h.do(Remove(o)), "runtime.json: removed")
}

func TestContainerd2WithoutAFileGetsOneOfVersion3(t *testing.T) {
	h := newHost(t, nil)
	o := h.options("containerd")
	o.Version = func() (string, error) { return "containerd v2.1.0", nil }
	h.do(Install(o))
	has(t, h.get(toml1), "version = 3\n", "imports = ['/etc/containerd/conf.d/*.toml']\n")
	has(t, h.get("/etc/containerd/conf.d/stockade.toml"), "version = 3\n", "runtimes.stockade]")
	h.do(Remove(o))
	h.same(nil, "after the removal")
}

func TestWhatAPersonChangedSinceStays(t *testing.T) {
	const daemon, podman, crio = "/etc/docker/daemon.json", "/etc/containers/containers.conf.d/50-stockade.conf", "/etc/crio/crio.conf.d/50-stockade.conf"
	const dropped = "/etc/containerd/conf.d/stockade.toml"
	for _, c := range []struct {
		engine, path, old, replacement, want string
		files                                map[string]string
	}{
		{"docker", daemon, `"debug": true`, `"debug": false`, "{\n  \"debug\": false\n}\n", map[string]string{daemon: "{\n  \"debug\": true\n}\n"}},
		{"docker", daemon, "\n    }\n", "\n    },\n    \"x\": {\"path\": \"/x\"}\n", "{\n  \"debug\": true,\n  \"runtimes\": {\n    \"x\": {\"path\": \"/x\"}\n  }\n}\n", map[string]string{daemon: "{\n  \"debug\": true\n}\n"}},
		{"containerd", toml1, "version = 2\n", "version = 2\noom_score = 1 # mine\n", "version = 2\noom_score = 1 # mine\n", map[string]string{toml1: "version = 2\n"}},
		// Theirs now: it is other than what was put there.
		{"containerd", toml1, "runtimes.runc]\n", "runtimes.runc]\nsnapshotter = 'x'\n", "version = 2\n\n" + marker + "containerd's own, which it lacks once another one is named\n[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]\nsnapshotter = 'x'\nruntime_type = \"io.containerd.runc.v2\"\n", map[string]string{toml1: "version = 2\n"}},
		{"containerd", toml1, "SystemdCgroup = false\n", "SystemdCgroup = false\n\n# theirs\n[grpc]\ngid = 1\n", "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\noptions.SystemdCgroup = false\n\n# theirs\n[grpc]\ngid = 1\n",
			map[string]string{toml1: "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\noptions.SystemdCgroup = false\n"}},
		{"containerd", dropped, "version = 3\n", "version = 3\noom_score = 1\n", marker + "its drop-in\nversion = 3\noom_score = 1\n", map[string]string{toml1: "version = 3\n"}},
		{"podman", podman, "[engine]\n", "[engine]\nevents_logger = \"file\"\n", marker + "its drop-in\n[engine]\nevents_logger = \"file\"\n", nil},
		{"crio", crio, "runtime_type = \"oci\"\n", "runtime_type = \"oci\"\n\n[crio.image]\npause_image = 'x'\n", "\n[crio.image]\npause_image = 'x'\n", nil},
	} {
		h := newHost(t, c.files)
		h.install(c.engine)
		if c.engine == "containerd" && c.path == toml1 && c.old == "SystemdCgroup = false\n" {
			// The last one is that of the entry.
			text := h.get(toml1)
			at := strings.LastIndex(text, c.old)
			h.put(toml1, text[:at]+c.replacement+text[at+len(c.old):])
		} else {
			h.edit(c.path, c.old, c.replacement)
		}
		h.install(c.engine)
		h.remove(c.engine)
		if is := h.get(c.path); is != c.want {
			t.Errorf("%s, %q: left is\n%s\nand not\n%s", c.engine, c.replacement, is, c.want)
		}
		if kept := h.get(toml1 + suffix); c.path == toml1 && kept != c.files[toml1] {
			t.Errorf("%s, %q: the copy is %q", c.engine, c.replacement, kept)
		}
	}
}

func TestTheUsualRuntimeIsNotTakenAway(t *testing.T) {
	for _, c := range []struct{ engine, path, text string }{
		{"docker", "/etc/docker/daemon.json", `{"default-runtime": "stockade", "runtimes": {"stockade": {"path": "/usr/local/bin/stockade-runc"}}}`},
		{"containerd", toml1, "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.containerd]\ndefault_runtime_name = 'stockade'\nruntimes.stockade.options.BinaryName = '/usr/local/bin/stockade-runc'\n"},
		{"podman", "/etc/containers/containers.conf", "[engine]\nruntime = 'stockade'\n"},
		{"crio", "/etc/crio/crio.conf", "[crio.runtime]\ndefault_runtime = 'stockade'\n"},
	} {
		h := newHost(t, map[string]string{c.path: c.text})
		before := h.files()
		if _, err := Remove(h.options(c.engine)); err == nil || !strings.Contains(err.Error(), "name another one there first") {
			t.Errorf("%s: %v", c.engine, err)
		}
		h.same(before, c.engine)
		if c.engine != "containerd" {
			h.install(c.engine) // the real one is not the wrapper
			has(t, h.get(container.SettingsFile), `"runtime": "/usr/sbin/runc"`)
		}
	}
}

func TestAnEntryThatIsNoTextOfItsOwnIsLeftToPeople(t *testing.T) {
	for _, c := range []struct{ engine, path, text string }{
		{"containerd", toml1, "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.containerd]\nruntimes = {stockade = {runtime_type = 'x'}}\n"},
		{"podman", "/etc/containers/containers.conf.d/50-stockade.conf", marker + "\nengine = {runtimes = {stockade = ['/x']}}\n"},
		{"crio", "/etc/crio/crio.conf.d/50-stockade.conf", "[crio]\nruntime.runtimes = {stockade = {runtime_path = '/x'}}\n"},
	} {
		h := newHost(t, map[string]string{c.path: c.text})
		before := h.files()
		if _, err := Remove(h.options(c.engine)); err == nil || !strings.Contains(err.Error(), "by hand") {
			t.Errorf("%s: %v", c.engine, err)
		}
		h.same(before, c.engine)
	}
	// Dotted keys are lines of their own.
	h := newHost(t, map[string]string{toml1: "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.containerd]\nsnapshotter = 'x' # mine\nruntimes.stockade.runtime_type = 'x'\nruntimes.stockade.options.BinaryName = '/x'\n\n# theirs\n[grpc]\n"})
	h.remove("containerd")
	if is := h.get(toml1); is != "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.containerd]\nsnapshotter = 'x' # mine\n\n# theirs\n[grpc]\n" {
		t.Error(is)
	}
}

func TestPodmansListsAreRepeated(t *testing.T) {
	h := newHost(t, map[string]string{"/etc/containers/containers.conf": "[engine]\nruntime = 'mine'\nruntime_supports_json = ['mine']\n[engine.runtimes]\nmine = ['/none', '/usr/bin/crun']\n"})
	h.install("podman")
	const path = "/etc/containers/containers.conf.d/50-stockade.conf"
	has(t, h.get(container.SettingsFile), `"runtime": "/usr/bin/crun"`)
	has(t, h.get(path), "runtime_supports_nocgroups = [\"crun\", \"krun\", \"stockade\"]\n")
	if strings.Contains(h.get(path), "supports_json") {
		t.Errorf("crun is not in that list, and the wrapper is:\n%s", h.get(path))
	}
}

func TestCriosEntryIsLikeTheUsualOne(t *testing.T) {
	h := newHost(t, map[string]string{"/etc/crio/crio.conf.d/10-crio.conf": testdata(t, "10-crio.conf")})
	h.install("crio")
	if is := h.get("/etc/crio/crio.conf.d/50-stockade.conf"); is != marker+`its drop-in
[crio.runtime.runtimes.stockade]
allowed_annotations = ["io.containers.trace-syscall"]
monitor_path = "/usr/libexec/crio/conmon"
runtime_path = "/usr/local/bin/stockade-runc"
runtime_root = "/run/crun"
runtime_type = "oci"
` {
		t.Error(is)
	}
	has(t, h.get(container.SettingsFile), `"runtime": "/usr/libexec/crio/crun"`)
}

func TestWrapperConfigKeepsWhatIsThere(t *testing.T) {
	const mine = `{"wait": "5s", "runtime": "/usr/bin/crun", "more": [1, {"a": null}]}`
	h := newHost(t, map[string]string{container.SettingsFile: mine})
	h.install("docker")
	if is := h.get(container.SettingsFile); is != strings.TrimSuffix(mine, "}")+`,"socket": "/run/stockade/agent.sock"}` {
		t.Error(is)
	}
	o := h.options("docker")
	o.Runtime, o.Socket = "/usr/sbin/runc", "/run/other.sock"
	h.do(Install(o))
	var is map[string]any
	if err := json.Unmarshal([]byte(h.get(container.SettingsFile)), &is); err != nil {
		t.Fatal(err)
	}
	if is["runtime"] != o.Runtime || is["socket"] != o.Socket || is["wait"] != "5s" || is["more"] == nil {
		t.Errorf("%v", is)
	}
	// One that is gone is looked for anew.
	h.edit(container.SettingsFile, "/usr/sbin/runc", "/usr/sbin/gone")
	h.install("docker")
	has(t, h.get(container.SettingsFile), "/usr/sbin/runc")
}

func TestNerdctlNeedsTheWrappersConfigurationAlone(t *testing.T) {
	h := newHost(t, nil)
	has(t, h.install("nerdctl"), "nerdctl run --runtime stockade-runc", "ctr run --runc-binary "+DefaultWrapper)
	if files := h.files(); len(files) != 1 || files[container.SettingsFile] == "" {
		t.Errorf("%v", files)
	}
	h.remove("nerdctl")
	h.same(nil, "after the removal")
}

func TestOnlyWhatIsAskedForIsTakenOutOfJSON(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`{"a":1,"b":2,"c":3}`, `{"a":1,"c":3}`},
		{`{ "b" : {"x":[{}]} , "c":3}`, `{ "c":3}`},
		{`{"a":"\"b\\", "b":2 }`, `{"a":"\"b\\" }`},
		{`{"\"b":1}`, `{"\"b":1}`},
		{`{ "b":1 }`, `{}`},
	} {
		tree, err := parseJSON("x", []byte(c.text))
		if err != nil {
			t.Fatal(err)
		}
		if is := string(tree.drop([]byte(c.text), "b")); is != c.want {
			t.Errorf("%s without b: %s, not %s", c.text, is, c.want)
		}
	}
}
