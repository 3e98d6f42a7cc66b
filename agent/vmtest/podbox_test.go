package vmtest

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// pod is one of Kubernetes. Its container, "main", does what a test says.
type pod struct {
	*talk
	full     string // its name: that of a static one ends with the node's
	labels   map[string]string
	fields   map[string]any
	manifest string // the file of a static one
}

// podsDir holds what the pods share with the host.
const podsDir = "/srv/pods/"

// podContainer is a container of a pod, as a manifest has it.
func podContainer(name, image string, command ...string) map[string]any {
	return map[string]any{
		"name": name, "image": "docker.io/" + image, "imagePullPolicy": "Never", "command": command,
		"volumeMounts": []any{map[string]any{"name": "vol", "mountPath": "/vol"}},
	}
}

// newPod makes the manifest of one.
func newPod(t *testing.T, name string, change ...func(*pod)) *pod {
	t.Helper()
	p := &pod{talk: newTalk(t, name, podsDir+name), full: name}
	p.patience = 4 * time.Minute // an API server in the emulator makes all others slow
	p.fields = map[string]any{
		"hostNetwork": true, "terminationGracePeriodSeconds": 1, "enableServiceLinks": false, "automountServiceAccountToken": false,
		"volumes":    []any{map[string]any{"name": "vol", "hostPath": map[string]any{"path": p.dir}}},
		"containers": []any{podContainer("main", plainImage, talking...)},
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func (p *pod) text() string {
	text, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{"name": p.name, "namespace": "default", "labels": p.labels}, "spec": p.fields})
	must(err)
	return string(text)
}

// place makes it a static pod of the node.
func (p *pod) place() *pod {
	p.t.Helper()
	p.put()
	p.t.Cleanup(p.remove)
	return p
}

// put has the kubelet find it.
func (p *pod) put() {
	p.full, p.manifest = p.name+"-"+nodeName, manifests+p.name+".json"
	put("/etc/kubernetes/half/"+p.name, p.text())
	must(os.Rename("/etc/kubernetes/half/"+p.name, p.manifest))
}

// remove takes a static pod away, and waits for its end.
func (p *pod) remove() {
	if os.Remove(p.manifest) != nil {
		return
	}
	for end := time.Now().Add(time.Minute); p.status() != nil; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Errorf("%s does not end: %+v", p.full, p.status())
			return
		}
	}
}

// podStatus is what the kubelet says of it.
type podStatus struct {
	whole    string
	Metadata struct{ Name, UID string }
	Status   struct {
		Phase                                                                string
		ContainerStatuses, InitContainerStatuses, EphemeralContainerStatuses []*containerStatus
	}
}

type containerStatus struct {
	Name, ContainerID string
	RestartCount      int
	State             struct {
		Waiting             *struct{ Reason, Message string }
		Running, Terminated *struct {
			Reason, Message string
			ExitCode        int
		}
	}
}

var kubeletClient = http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{
	TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}} // of this machine

// kubelet asks the one of this machine.
func kubelet(method, path string) (string, error) {
	req, err := http.NewRequest(method, "https://127.0.0.1:10250"+path, nil)
	must(err)
	resp, err := kubeletClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s", resp.Status)
	}
	return string(text), err
}

// status is nil where the kubelet knows of no such pod.
func (p *pod) status() *podStatus {
	p.t.Helper()
	text, err := kubelet("GET", "/pods")
	if err != nil {
		p.t.Fatalf("kubelet: %v: %s", err, text)
	}
	var list struct{ Items []json.RawMessage }
	must(json.Unmarshal([]byte(text), &list))
	for _, item := range list.Items {
		s := &podStatus{whole: string(item)}
		must(json.Unmarshal(item, s))
		if s.Metadata.Name == p.full {
			return s
		}
	}
	return nil
}

// container is what is known of one of its containers; of one that is not known, nothing.
func (p *pod) container(name string) *containerStatus {
	p.t.Helper()
	if s := p.status(); s != nil {
		for _, c := range slices.Concat(s.Status.ContainerStatuses, s.Status.InitContainerStatuses, s.Status.EphemeralContainerStatuses) {
			if c.Name == name {
				return c
			}
		}
	}
	return &containerStatus{}
}

// workload is what the agent calls a container, by its template.
func (p *pod) workload(template, name string) string {
	p.t.Helper()
	const scheme, short = "containerd://", 12
	var id string
	await(p.t, "the id of "+p.full+", "+name, func() bool {
		id = strings.TrimPrefix(p.container(name).ContainerID, scheme)
		return len(id) > short
	})
	return template + "." + id[:short]
}

// execs demands what a program says that is executed in it by the kubelet, in lower case,
// and how it ends.
func (p *pod) execs(well bool, says string, argv ...string) {
	p.t.Helper()
	query := url.Values{"cmd": {strings.Join(argv, " ")}}
	out, err := kubelet("POST", "/run/default/"+p.full+"/main?"+query.Encode())
	if (err == nil) != well || !strings.Contains(strings.ToLower(out), says) {
		p.t.Errorf("%s: exec %v: %v: %s", p.full, argv, err, out)
	}
}

// log is what the main container wrote to its descriptors, of each time that it ran.
func (p *pod) log() (all string) {
	files, err := filepath.Glob("/var/log/pods/default_" + p.full + "_*/main/*.log")
	must(err)
	for _, name := range files {
		text, _ := os.ReadFile(name) // older ones go
		all += string(text)
	}
	return all
}

// silent demands that nothing of it ran since it was heard last.
func (p *pod) silent() {
	p.t.Helper()
	if text, err := os.ReadFile(p.dir + "/out"); err != nil || len(text) > p.read {
		p.t.Errorf("%s says %q, %v", p.full, text, err)
	}
}

// waits demands that it does not start, and that the kubelet says why, in its log as well.
func (p *pod) waits(n *node, says string) {
	p.t.Helper()
	logged := func() bool {
		for line := range bytes.Lines([]byte(n.said("kubelet", 1<<30))) {
			if bytes.Contains(line, []byte(says)) && bytes.Contains(line, []byte(p.full)) {
				return true
			}
		}
		return false
	}
	for end := time.Now().Add(90 * time.Second); !logged(); time.Sleep(500 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("the kubelet does not say %q of %s: %s", says, p.full, n.said("kubelet", 8000))
		}
	}
	p.silent()
	if c := p.container("main"); c.State.Running != nil {
		p.t.Errorf("%s: main: %+v", p.full, c)
	}
}
