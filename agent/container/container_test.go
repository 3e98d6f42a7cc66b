package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestSelectorsWantAllThatTheyName(t *testing.T) {
	f := &Facts{ID: "c", Name: "agent-1", Image: "docker.io/library/debian:12", Pod: "ns/pod/7-8", Annotations: map[string]string{"a": "b", "empty": ""}, Labels: map[string]string{"app": "x"}}
	for _, c := range []struct {
		what string
		s    Selector
		want bool
	}{
		{"nothing", Selector{}, false},
		{"annotation", Selector{Annotations: map[string]string{"a": "b"}}, true},
		{"another value", Selector{Annotations: map[string]string{"a": "c"}}, false},
		{"annotation that is not there", Selector{Annotations: map[string]string{"z": "*"}}, false},
		{"annotation that is empty", Selector{Annotations: map[string]string{"empty": ""}}, true},
		{"any value", Selector{Annotations: map[string]string{"a": "*"}}, true},
		{"two of which one is there", Selector{Annotations: map[string]string{"a": "b", "z": ""}}, false},
		{"label", Selector{Labels: map[string]string{"app": "x"}}, true},
		{"name of a list", Selector{Names: []string{"other", "agent-*"}}, true},
		{"name and another image", Selector{Names: []string{"agent-*"}, Images: []string{"debian"}}, false},
		{"pod", Selector{Pods: []string{"ns/other/*", "ns/pod/*"}}, true},
		{"another pod", Selector{Pods: []string{"ns/po/*"}}, false},
		{"pod's sandbox", Selector{Pods: []string{"ns/pod/*"}, Sandbox: true}, false},
		{"image across slashes", Selector{Images: []string{"*/debian:*"}}, true},
		{"all of it", Selector{Annotations: map[string]string{"a": "b"}, Labels: map[string]string{"app": "*"}, Names: []string{"*"}, Images: []string{"docker.io/*"}}, true},
	} {
		if got := c.s.Selects(f); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
	if (&Selector{Names: []string{"*"}}).Selects(&Facts{ID: "c"}) {
		t.Error("a name that is not known is selected by any")
	}
	if !(&Selector{Sandbox: true}).Selects(&Facts{ID: "c", Sandbox: true}) {
		t.Error("a sandbox is not selected as one")
	}
}

func TestGlobs(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"a", "a", true}, {"a", "ab", false}, {"", "", true}, {"*", "", true}, {"a*", "a", true}, {"a*", "ba", false},
		{"*a", "ba", true}, {"*a", "ab", false}, {"a*b*c", "a1b2c", true}, {"a*b*c", "a1c2b", false}, {"a*a", "a", false},
		{"*ab*ab", "ab", false}, {"*ab*ab", "abab", true}, {"a**b", "ab", true}, {"[a]", "a", false},
	} {
		if got := glob(c.pattern, c.text); got != c.want {
			t.Errorf("%q of %q: %v, want %v", c.pattern, c.text, got, c.want)
		}
	}
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

const id = "3f2ac1d8e6b04c5f9a7e1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60"

const (
	tasks = "run/io.containerd.runtime.v2.task/"
	cri   = tasks + "k8s.io/" + id
	moby  = tasks + "moby/" + id
)

const sandbox = `{"io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-namespace": "ns", "io.kubernetes.cri.sandbox-name": "pod", "io.kubernetes.cri.sandbox-uid": "7-8"}`

func annotationsOf(text string) (list map[string]string) {
	_ = json.Unmarshal([]byte(text), &list) // else they are none, and the test fails
	return list
}

func TestBundlesTellWhatTheirEnginesKeep(t *testing.T) {
	for _, c := range []struct {
		what, bundle string
		files        map[string]string // @ is the folder
		want         Facts
	}{
		{"a bundle by hand", "b", map[string]string{"b/config.json": `{"annotations": {"stockade.dev/policy": "box"}}`},
			Facts{Annotations: map[string]string{PolicyAnnotation: "box"}}},
		{"Kubernetes on containerd", cri, map[string]string{cri + "/config.json": `{"annotations": {"io.kubernetes.cri.container-name": "main", "io.kubernetes.cri.image-name": "r/i:1"}}`},
			Facts{Name: "main", Image: "r/i:1", Annotations: map[string]string{"io.kubernetes.cri.container-name": "main", "io.kubernetes.cri.image-name": "r/i:1"}}},
		{"a sandbox of Kubernetes", cri, map[string]string{cri + "/config.json": `{"annotations": ` + sandbox + `}`},
			Facts{Pod: "ns/pod/7-8", Sandbox: true, Annotations: annotationsOf(sandbox)}},
		{"annotations by hand that lie", "b", map[string]string{"b/config.json": `{"annotations": ` + sandbox + `}`}, Facts{Annotations: annotationsOf(sandbox)}},
		{"Docker", moby, map[string]string{
			moby + "/config.json":                         `{"mounts": [{"destination": "/etc/hostname", "source": "@/docker/containers/` + id + `/hostname"}]}`,
			"docker/containers/" + id + "/config.v2.json": `{"ID": "` + id + `", "Name": "/worker", "Config": {"Image": "debian:12", "Labels": {"app": "x"}}}`},
			Facts{Name: "worker", Image: "debian:12", Labels: map[string]string{"app": "x"}}},
		{"Docker's files, elsewhere", "b", map[string]string{
			"b/config.json": `{"mounts": [{"destination": "/etc/hostname", "source": "@/docker/containers/` + id + `/hostname"}]}`,
			"docker/containers/" + id + "/config.v2.json": `{"ID": "` + id + `", "Name": "/worker"}`}, Facts{}},
		{"Docker's files of another container", moby, map[string]string{
			moby + "/config.json":                         `{"mounts": [{"destination": "/etc/hostname", "source": "@/docker/containers/` + id + `/hostname"}]}`,
			"docker/containers/" + id + "/config.v2.json": `{"ID": "other", "Name": "/worker"}`}, Facts{}},
		{"Podman", "s/" + id + "/userdata", map[string]string{"s/" + id + "/userdata/config.json": `{}`,
			"s/containers.json": `[{"id": "x", "names": ["no"]}, {"id": "` + id + `", "names": ["worker"], "metadata": "{\"image-name\":\"localhost/i:1\",\"name\":\"worker\"}"}]`},
			Facts{Name: "worker", Image: "localhost/i:1"}},
		{"Podman's --rm", "s/" + id + "/userdata", map[string]string{"s/" + id + "/userdata/config.json": `{}`, "s/containers.json": `[]`,
			"s/volatile-containers.json": `[{"id": "` + id + `", "names": ["worker"], "metadata": "{}"}]`}, Facts{Name: "worker"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range c.files {
				put(t, filepath.Join(dir, name), strings.ReplaceAll(text, "@", dir))
			}
			c.want.ID, c.want.Bundle = id, filepath.Join(dir, c.bundle)
			got, err := ReadBundle(c.want.Bundle, id)
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%+v, %v\nwant %+v", got, err, c.want)
			}
		})
	}
}

func TestBundlesThatCannotBeReadAreErrors(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/broken/config.json", "{")
	put(t, dir+"/"+moby+"/config.json", `{"mounts": [{"destination": "/etc/hostname", "source": "`+dir+"/"+id+`/hostname"}]}`)
	put(t, dir+"/"+id+"/config.v2.json", "{")
	put(t, dir+"/fine/config.json", "{}")
	for _, c := range []struct{ bundle, id, want string }{
		{"none", id, "no such file"},
		{"broken", id, "config.json"},
		{moby, id, "what Docker knows of it"},
		{"fine", "../x", "not an id"},
		{"fine", "", "not an id"},
	} {
		if _, err := ReadBundle(filepath.Join(dir, c.bundle), c.id); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "nothing was started") {
			t.Errorf("%s: %v, want %s", c.bundle, err, c.want)
		}
	}
}

// serve answers at a socket.
func serve(t *testing.T, socket string, answer http.HandlerFunc) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: answer}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
}

func TestAnAgentIsWaitedFor(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	begun := make(chan struct{})
	go func() {
		<-begun
		time.Sleep(3 * again)
		serve(t, socket, func(w http.ResponseWriter, r *http.Request) {
			var ask Start
			if json.NewDecoder(r.Body).Decode(&ask) != nil || ask.ID != "c" || ask.Process.PID != 7 || r.URL.Path != Path {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			fmt.Fprint(w, `{"template": "box", "workload": "box.c"}`)
		})
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	close(begun)
	got, err := Ask(ctx, socket, &Start{Facts: Facts{ID: "c"}, Process: &Process{7, "1"}})
	if err != nil || got != (Started{Template: "box", Workload: "box.c"}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestNothingStartsWithoutTheAgentsWord(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir+"/refuses", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusConflict)
		fmt.Fprint(w, `{"error": "no template: nothing was started"}`)
	})
	serve(t, dir+"/babbles", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "yes") })
	serve(t, dir+"/dies", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	for name, want := range map[string]string{
		"nobody":  "no agent listens at " + dir + "/nobody: c was not started",
		"refuses": "no template: nothing was started",
		"babbles": "agent: its answer",
		"dies":    "no agent answers at",
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 3*again)
		_, err := Ask(ctx, filepath.Join(dir, name), &Start{Facts: Facts{ID: "c"}})
		cancel()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}
