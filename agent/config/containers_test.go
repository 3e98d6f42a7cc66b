package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/agent/container"
	"github.com/stockade-dev/stockade/bpf/abi"
)

const box = `containers:
  - name: box
    match: {annotation: {stockade.dev/policy: box}, image: "debian:*", name: [a, b], label: {app: x}}
    principal: User::"a"
    policies: p.cedar
`

func TestTemplatesAreRead(t *testing.T) {
	c, err := Parse("/d/f", []byte("log: {file: l}\n"+box+"    mode: audit\n  - {name: pause, match: {name: pause}, unconfined: true}\n"))
	if err != nil || len(c.Containers) != 2 || len(c.Workloads) != 0 {
		t.Fatalf("%+v, %v", c, err)
	}
	b := c.Containers[0]
	want := container.Selector{Annotations: map[string]string{"stockade.dev/policy": "box"}, Labels: map[string]string{"app": "x"},
		Names: []string{"a", "b"}, Images: []string{"debian:*"}}
	if !reflect.DeepEqual(b.Match, want) || b.Mode != abi.Audit || b.Policies[0] != "/d/p.cedar" || b.Log.File != "/d/l" || b.Baseline != "runtime" || b.Handled != abi.DefaultActions {
		t.Errorf("%+v", b)
	}
	if p := c.Containers[1]; !p.Unconfined || p.Match.Names[0] != "pause" {
		t.Errorf("%+v", p)
	}
}

func TestMoreTemplatesComeFromAFileApart(t *testing.T) {
	dir := t.TempDir()
	from := filepath.Join(dir, "more.yaml")
	text := []byte("log: {file: l}\ncontainers_from: more.yaml\n" + box)
	read := func(more string) (*Config, error) {
		if err := os.WriteFile(from, []byte(more), 0o600); err != nil {
			t.Fatal(err)
		}
		return Parse(dir+"/f", text)
	}
	if c, err := Parse(dir+"/f", text); err != nil || len(c.Containers) != 1 || c.ContainersFrom != from {
		t.Errorf("without that file: %+v, %v", c, err)
	}
	c, err := read("containers:\n  - {name: more, match: {pod: ns/*, sandbox: true}, principal: 'User::\"a\"', policies: q.cedar}\n")
	if err != nil || len(c.Containers) != 2 {
		t.Fatalf("%+v, %v", c, err)
	}
	m := c.Containers[1]
	if !m.Apart || c.Containers[0].Apart || m.Policies[0] != dir+"/q.cedar" || m.Log.File != dir+"/l" || m.Match.Pods[0] != "ns/*" || !m.Match.Sandbox {
		t.Errorf("%+v", m)
	}
	for more, want := range map[string]string{
		"socket: s\n":                 `more.yaml:1:1: "socket": no key of containers_from`,
		"containers: {}\n":            "more.yaml:1:13: containers: not a list",
		"":                            "more.yaml:1:1: configuration: empty",
		"[":                           "more.yaml:1:1: YAML",
		"containers: []\n---\na: b\n": "a second document",
	} {
		if _, err := read(more); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "nothing is changed") {
			t.Errorf("%q: %v\nwant %s", more, err, want)
		}
	}
}

// A template apart that is wrong is left out: it hinders no other, and selects nothing.
func TestWrongTemplatesApartAreLeftOut(t *testing.T) {
	dir := t.TempDir()
	const other = "  - {name: other, match: {pod: a/b/c}, principal: 'User::\"a\"', policies: p}\n"
	for item, want := range map[string]string{
		"  - {name: more}\n": `more.yaml:2:5: workload "more": match is missing`,
		"  - {name: more, match: {name: main, pod: \"a/b\\0\"}, principal: x, policies: p}\n": "more.yaml:2:43: pod: text with a NUL byte",
		"  - {name: box, match: {name: main}, principal: x, policies: p}\n":                   `more.yaml:2:12: name "box": two workloads`,
		"  - nonsense\n": "more.yaml:2:5: a template for containers: not a mapping",
	} {
		if err := os.WriteFile(filepath.Join(dir, "more.yaml"), []byte("containers:\n"+item+other), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Parse(dir+"/f", []byte("containers_from: more.yaml\n"+box))
		if err != nil || len(c.Containers) != 3 {
			t.Errorf("%s: %+v, %v", item, c, err)
			continue
		}
		wrong := c.Containers[1]
		if wrong.Broken == nil || !strings.Contains(wrong.Broken.Error(), want) || !wrong.Apart || !wrong.Match.Empty() {
			t.Errorf("%s: %+v, %v\nwant %s", item, wrong, wrong.Broken, want)
		}
		if c.Containers[2].Name != "other" || c.Containers[2].Broken != nil || len(c.All()) != 2 {
			t.Errorf("%s: %+v", item, c.Containers[2])
		}
	}
}

func TestErrorsOfTemplatesHaveTheirPlace(t *testing.T) {
	swap := func(old, new string) string {
		text := strings.Replace(box, old, new, 1)
		if text == box {
			t.Fatalf("%q is not in the text", old)
		}
		return text
	}
	const match = `{annotation: {stockade.dev/policy: box}, image: "debian:*", name: [a, b], label: {app: x}}`
	for _, c := range []struct{ what, text, want string }{
		{"not a list", "containers: {}\n", "f:1:13: containers: not a list"},
		{"empty match", swap(match, "{}"), "f:3:12: match: empty"},
		{"key of a workload", swap(match, "{cgroup: x}"), `f:3:13: "cgroup": no key of match`},
		{"no match", swap("    match: "+match+"\n", ""), `f:2:5: workload "box": match is missing`},
		{"no policies", swap("    policies: p.cedar\n", ""), `f:2:5: workload "box": policies is missing`},
		{"a root", box + "    root: 7\n", `f:6:5: "root": no key of a template for containers`},
		{"annotation without a value", swap("{stockade.dev/policy: box}", "stockade.dev/policy"), "f:3:25: annotation: not a mapping"},
		{"annotation with a list", swap("{stockade.dev/policy: box}", "{a: [b]}"), "f:3:29: annotation: not a text"},
		{"annotation twice", swap("{stockade.dev/policy: box}", "{a: b, a: c}"), `f:3:32: "a": twice`},
		{"policies of who is not confined", box + "    unconfined: true\n", `f:5:15: policies: without effect`},
		{"unconfined", box + "    unconfined: perhaps\n", `f:6:17: unconfined "perhaps": unknown`},
		{"a long name", swap("box", strings.Repeat("b", 41)), `f:2:11: name "bbbb`},
		{"the name of a workload", box + strings.Replace(good, "name: a", "name: box", 1), `f:2:11: name "box": two workloads`},
	} {
		_, err := Parse("f", []byte(c.text))
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || !strings.Contains(err.Error(), ": nothing is changed") {
			t.Errorf("%s: %v\nwant %s…", c.what, err, c.want)
		}
	}
}
