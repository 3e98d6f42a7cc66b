package main

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/agent/container"
)

func TestCallsOfEnginesAreUnderstood(t *testing.T) {
	for _, c := range []struct {
		args string
		want call
	}{
		{"--root /r --log /l --log-format json --systemd-cgroup create --bundle /b --pid-file /p --console-socket /s id",
			call{global: words("--root /r --systemd-cgroup"), root: "/r", log: "/l", logJSON: true, verb: "create", id: "id", bundle: "/b"}},
		{"--root=/r --log=file:/l create --bundle=/b --no-pivot -- id", call{global: words("--root=/r"), root: "/r", log: "/l", verb: "create", id: "id", bundle: "/b"}},
		{"--rootless=false --debug start id", call{global: words("--rootless=false --debug"), verb: "start", id: "id"}},
		{"exec --process /p --detach --env A=B id sh -c start", call{verb: "exec", id: "id"}},
		{"exec --cgroup x id", call{verb: "exec", id: "id"}},
		{"exec -t -u 0:0 id", call{verb: "exec", id: "id"}},
		{"kill --all id 9", call{verb: "kill"}},
		{"--log /l --log-format create", call{log: "/l"}},
		{"--version", call{global: words("--version")}},
		{"", call{}},
	} {
		got, err := parse(words(c.args))
		if err != nil || !reflect.DeepEqual(*got, c.want) {
			t.Errorf("%s: %+v, %v\nwant %+v", c.args, *got, err, c.want)
		}
	}
}

// What is read otherwise than the runtime reads it could hide a start.
func TestWhatIsNotKnownIsRefused(t *testing.T) {
	for args, want := range map[string]string{
		"--new start id":             "option --new: not known here",
		"--roo /r start id":          "option --roo: not known here",
		"-vstart id":                 "option -vstart: not known here",
		"--root":                     "option --root: without its value",
		"launch id":                  `"launch": no verb of a runtime`,
		"init":                       `"init": no verb`,
		"create id --bundle /b":      "create: not one container's id",
		"create --bundle /b":         "create: not one container's id",
		"create --config /c id":      "create: option --config: not known here",
		"create --annotation a=b id": "create: option --annotation: not known here",
		"start a b":                  "start: not one container's id",
		"exec --new id":              "exec: option --new",
	} {
		_, err := parse(words(args))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "nothing was done") {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}

func TestErrorsAreInTheRuntimesLog(t *testing.T) {
	dir := t.TempDir()
	for name, want := range map[string]string{"json": `"level":"error","msg":"stockade: no \"agent\""`, "text": `level=error msg="stockade: no \"agent\""`} {
		c := &call{log: filepath.Join(dir, name), logJSON: name == "json"}
		c.fail(errors.New(`no "agent"`))
		if text, err := os.ReadFile(c.log); err != nil || !strings.Contains(string(text), want) || !strings.HasSuffix(string(text), "\n") {
			t.Errorf("%s: %s, %v", name, text, err)
		}
	}
}

func TestSettings(t *testing.T) {
	dir := t.TempDir()
	runtime := filepath.Join(dir, "runc")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(runtime, nil, 0o755), os.Symlink("/proc/self/exe", dir+"/self")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text string
		mode os.FileMode
		want string // of the error
	}{
		{`{"runtime": "` + runtime + `"}`, 0o644, ""},
		{`{"runtime": "` + runtime + `", "wait": "5s", "socket": "/s"}`, 0o600, ""},
		{`{"runtime": "` + runtime + `"}`, 0o666, "others than root may write it"},
		{`{"runtime": "runc"}`, 0o644, "not a whole path"},
		{`{"runtime": "` + dir + `/none"}`, 0o644, "no such file"},
		{`{"runtime": "` + self + `"}`, 0o644, "this program itself"},
		{`{"runtime": "` + dir + `/self"}`, 0o644, "this program itself"},
		{`{"runtime": "` + runtime + `", "wait": "soon"}`, 0o644, `wait "soon": no time`},
		{`{"runtimes": {}}`, 0o644, "unknown field"},
		{`{`, 0o644, "unexpected EOF"},
	} {
		name := filepath.Join(dir, "runtime.json")
		if err := errors.Join(os.WriteFile(name, []byte(c.text), 0o600), os.Chmod(name, c.mode)); err != nil {
			t.Fatal(err)
		}
		s, err := readSettings(name)
		switch {
		case c.want == "" && (err != nil || s.Runtime != runtime || s.wait <= 0):
			t.Errorf("%s: %+v, %v", c.text, s, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "nothing was done")):
			t.Errorf("%s: %v, want %s", c.text, err, c.want)
		}
	}
}

func TestTheRuntimesBookSaysWhichCgroup(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"runc/state.json": `{"id": "runc", "cgroup_paths": {"": "/sys/fs/cgroup/boxes/runc"}}`,
		"crun/status":     `{"pid": 1, "cgroup-path": "/boxes/crun", "systemd-cgroup": false}`,
		"none/status":     `{"pid": 1, "cgroup-path": null}`,
		"torn/state.json": `{"cgroup_paths": {"": "/sys`,
		"old/state.json":  `{"cgroup_paths": {"memory": "/sys/fs/cgroup/memory/x"}}`,
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]string{"runc": "/sys/fs/cgroup/boxes/runc", "crun": "/boxes/crun", "none": "", "torn": "", "old": "", "gone": ""} {
		got, err := groupOf(&settings{Settings: container.Settings{Runtime: "/usr/bin/runc"}}, &call{root: dir, id: id})
		if got != want || (err == nil) != (want != "") || err != nil && !strings.Contains(err.Error(), "nothing was started") {
			t.Errorf("%s: %q, %v", id, got, err)
		}
	}
}
