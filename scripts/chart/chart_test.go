package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const dir = "../deploy/kubernetes/chart"

func TestTheRenderedChartIsThatOfToday(t *testing.T) {
	want, err := render(dir, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../deploy/kubernetes/stockade.yaml")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v: not what the chart renders to; run make chart", err)
	}
}

// objects are those of a rendered chart, by kind and name.
func objects(t *testing.T, values map[string]any) map[string]map[string]any {
	t.Helper()
	text, err := render(dir, values, true)
	if err != nil {
		t.Fatal(err)
	}
	list := map[string]map[string]any{}
	for doc := range strings.SplitSeq(string(text), "\n---\n") {
		var o map[string]any
		if err := yaml.UnmarshalStrict([]byte(doc), &o); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		if o == nil {
			continue
		}
		kind, _ := o["kind"].(string)
		meta, _ := o["metadata"].(map[string]any)
		name, _ := meta["name"].(string)
		if kind == "" || name == "" || list[kind+"/"+name] != nil {
			t.Errorf("%q %q: no kind, no name, or twice", kind, name)
		}
		list[kind+"/"+name] = o
	}
	return list
}

func at(o any, path ...any) any {
	for _, key := range path {
		switch k := key.(type) {
		case string:
			m, _ := o.(map[string]any)
			o = m[k]
		case int:
			l, _ := o.([]any)
			if k >= len(l) {
				return nil
			}
			o = l[k]
		}
	}
	return o
}

func TestValuesReachWhatTheyAreFor(t *testing.T) {
	all := objects(t, nil)
	pod := []any{"spec", "template", "spec"}
	ds := at(all["DaemonSet/stockade-node"], pod...)
	if at(ds, "hostPID") != true || at(ds, "containers", 0, "securityContext", "privileged") != nil || at(ds, "containers", 1, "securityContext", "capabilities", "add") != nil {
		t.Errorf("%v", ds)
	}
	if at(all["RuntimeClass/stockade"], "scheduling", "nodeSelector", "stockade.dev/enforcing") != "true" || all["ServiceMonitor/stockade"] != nil || all["NetworkPolicy/stockade"] == nil {
		t.Error("a RuntimeClass without its nodes, or what was not asked for")
	}
	all = objects(t, map[string]any{
		"image":         map[string]any{"repository": "r.example/x", "tag": "1"},
		"engine":        map[string]any{"wrapper": "/opt/stockade-runc", "config": "/etc/c", "runtime": "/usr/bin/crun", "reload": false},
		"runtimeClass":  map[string]any{"name": "held"},
		"node":          map[string]any{"config": "asks: {deadline: 3s}\nworkloads: []"},
		"metrics":       map[string]any{"port": 9999, "serviceMonitor": map[string]any{"enabled": true}},
		"networkPolicy": map[string]any{"enabled": false},
	})
	install := at(all["DaemonSet/stockade-node"], append(pod, "initContainers", 0)...)
	args, err := yaml.Marshal(at(install, "args"))
	for _, want := range []string{"--copy-to=/opt/stockade-runc", "--config=/etc/c", "--runtime=/usr/bin/crun", "--name=held"} {
		if err != nil || !strings.Contains(string(args), want) {
			t.Errorf("%s is missing in\n%s", want, args)
		}
	}
	if strings.Contains(string(args), "--reload") || at(install, "image") != "r.example/x:1" {
		t.Errorf("%s %v", args, at(install, "image"))
	}
	conf, _ := at(all["ConfigMap/stockade-node"], "data", "agent.yaml").(string)
	var parsed map[string]any
	if err := yaml.UnmarshalStrict([]byte(conf), &parsed); err != nil || at(parsed, "asks", "deadline") != "3s" || at(parsed, "metrics", "listen") != "0.0.0.0:9999" {
		t.Errorf("%v in\n%s", err, conf)
	}
	if all["RuntimeClass/held"] == nil || all["ServiceMonitor/stockade"] == nil || all["NetworkPolicy/stockade"] != nil {
		t.Error("what was asked for is not there, or the other way round")
	}
	rule, _ := at(all["ValidatingAdmissionPolicy/stockade-required"], "spec", "validations", 0, "expression").(string)
	if !strings.HasSuffix(rule, "== 'held'") {
		t.Errorf("the rule: %s", rule)
	}
}

// What ends enforcement on a node has the agent's own rights and mounts.
func TestTheRemovalDoesAsTheAgentDid(t *testing.T) {
	all := objects(t, map[string]any{"runtimeClass": map[string]any{"name": "held"}, "engine": map[string]any{"config": "/etc/c"}})
	var pod map[string]any
	text, _ := at(all["ConfigMap/stockade-removal"], "data", "pod.yaml").(string)
	if err := yaml.UnmarshalStrict([]byte(text), &pod); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	agent := at(all["DaemonSet/stockade-node"], "spec", "template", "spec")
	for _, key := range []string{"securityContext", "image"} {
		if a, b := fmt.Sprint(at(agent, "containers", 0, key)), fmt.Sprint(at(pod, "spec", "initContainers", 0, key)); a != b {
			t.Errorf("%s: the agent's %s, the removal's %s", key, a, b)
		}
	}
	if args := fmt.Sprint(at(pod, "spec", "containers", 0, "args")); args != "[install-runtime --root=/host --copy-to=/usr/local/bin/stockade-runc --engine=containerd --name=held --config=/etc/c --reload --remove]" {
		t.Error(args)
	}
	command := fmt.Sprint(at(all["Job/stockade-removal"], "spec", "template", "spec", "containers", 0, "command"))
	for _, want := range []string{"--runtime-class held", "--daemonset stockade-system/stockade-node"} {
		if !strings.Contains(command, want) {
			t.Errorf("%s is missing in %s", want, command)
		}
	}
	if all := objects(t, map[string]any{"uninstall": map[string]any{"enabled": false}}); all["Job/stockade-removal"] != nil {
		t.Error("a removal that was not asked for")
	}
}

func TestWrongValuesAreRefused(t *testing.T) {
	for what, values := range map[string]map[string]any{
		"an unknown value":   {"imag": map[string]any{}},
		"an unknown engine":  {"engine": map[string]any{"name": "docker"}},
		"a size":             {"node": map[string]any{"limits": map[string]any{"tables": "64"}}},
		"no replicas":        {"control": map[string]any{"replicas": 0}},
		"a RuntimeClass":     {"runtimeClass": map[string]any{"name": "a'b"}},
		"a port":             {"metrics": map[string]any{"port": 80}},
		"a relative runtime": {"engine": map[string]any{"runtime": "runc"}},
	} {
		if text, err := render(dir, values, true); err == nil {
			t.Errorf("%s: rendered:\n%s", what, text)
		}
	}
}
