package vmtest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Templates of pods: those that hold a pod's namespaces are free, some pods are confined.
const podsYAML = `
log: {file: /var/log/stockade.jsonl, format: json}
containers:
  - name: pause
    match: {sandbox: true}
    unconfined: true
  - name: box
    match: {pod: ['default/box-*']}
    policies: [box.cedar]
    principal: 'k8s::Pod::"default/box"'
`

// nodeOf makes the machine a node on which pods are free, with an image.
func nodeOf(t *testing.T) *node {
	t.Helper()
	inVM(t)
	must(os.RemoveAll(agentLog))
	must(os.MkdirAll(filepath.Dir(agentLog), 0o755))
	makeImage()
	put(agentConf, podsYAML)
	put("/policy/box.cedar", boxPolicy)
	n := newNode(t)
	n.startContainerd("runc")
	if out, err := command("ctr", "--namespace", "k8s.io", "images", "import", imageFile); err != nil {
		t.Fatalf("loading images: %v: %s", err, out)
	}
	for _, argv := range [][]string{{"containerd", "--version"}, {"runc", "--version"}, {"kubelet", "--version"}} {
		out, _ := command(argv...)
		t.Log(strings.TrimSpace(out))
	}
	return n
}

// guard registers the wrapper, which then is the runtime of some pods, or of all.
func (n *node) guard(runtime string) {
	n.t.Helper()
	out, err := command(program, "install-runtime", "--engine", "containerd")
	if err != nil {
		n.t.Fatalf("install-runtime: %v: %s", err, out)
	}
	n.t.Logf("%s", out)
	waitFor(waits)
	n.stop("containerd")
	n.startContainerd(runtime)
}

// waitFor sets how long the wrapper waits for an agent's answer.
func waitFor(d time.Duration) {
	text, err := os.ReadFile(wrapperConf)
	must(err)
	var settings map[string]any
	must(json.Unmarshal(text, &settings))
	settings["wait"] = d.String()
	text, err = json.Marshal(settings)
	must(err)
	put(wrapperConf, string(text))
}

// TestKubernetes has a kubelet without a cluster start static pods.
func TestKubernetes(t *testing.T) {
	n := nodeOf(t)
	n.startKubelet()
	t.Run("without the wrapper a pod is free", n.free)
	n.guard("stockade")
	startAgent(t)
	defer retireAgent(t)
	for _, c := range []struct {
		name string
		test func(*testing.T)
	}{
		{"what its containers may not read is denied", n.entry},
		{"an entry that no policy permits does not run", n.forbidden},
		{"what no template selects does not start", n.unmatched},
		{"without an agent it stays confined, and none starts", n.orphaned},
		{"killed, it begins again, confined", n.killed},
		{"it outlives its kubelet and containerd", n.outlived},
		{"after the fall of the node it is confined again", n.fallen},
	} {
		t.Run(c.name, func(t *testing.T) {
			attended(t)
			began := time.Now()
			c.test(t)
			t.Logf("took %v", time.Since(began).Round(100*time.Millisecond))
		})
	}
}

// free is the control of all below: what is denied there is done here.
func (n *node) free(t *testing.T) {
	p := newPod(t, "box-free", withSetup).place()
	p.ready()
	if got := p.ask("read", "/data/secret"); got != "done: secret" {
		t.Errorf("the entry: %s", got)
	}
	if text, err := os.ReadFile(p.dir + "/setup"); err != nil || string(text) != "ok\nsecret\n" {
		t.Errorf("the init container says %q, %v", text, err)
	}
	p.execs(true, "secret", "/bin/cat", "/data/secret")
	p.execs(true, "", "/bin/touch", "/vol/mark")
	if _, err := os.Stat(p.dir + "/mark"); err != nil {
		t.Error(err)
	}
	specs, err := filepath.Glob("/run/containerd/io.containerd.runtime.v2.task/k8s.io/*/config.json")
	must(err)
	for _, name := range specs {
		var spec struct{ Annotations map[string]string }
		text, err := os.ReadFile(name)
		must(err)
		must(json.Unmarshal(text, &spec))
		text, err = json.MarshalIndent(&spec, "", "  ")
		must(err)
		t.Logf("%s: %s", name, text)
	}
}

// withSetup: an init container reads what it may, and what it may not.
func withSetup(p *pod) {
	p.fields["initContainers"] = []any{podContainer("setup", plainImage, "/bin/sh", "-c", "(/bin/cat /data/ok; /bin/cat /data/secret) >/vol/setup 2>&1; :")}
}

func (n *node) entry(t *testing.T) {
	p := newPod(t, "box-entry", withSetup).place()
	p.ready()
	p.confined()
	p.execs(true, "ok", "/bin/cat", "/data/ok")
	p.execs(false, "permission denied", "/bin/cat", "/data/secret")
	p.execs(false, "permission denied", "/bin/touch", "/vol/mark")
	if _, err := os.Stat(p.dir + "/mark"); err == nil {
		t.Error("what no policy permits was executed")
	}
	if text, err := os.ReadFile(p.dir + "/setup"); err != nil || string(text) != "ok\ncat: can't open '/data/secret': Permission denied\n" {
		t.Errorf("the init container says %q, %v", text, err)
	}
	main := p.workload("box", "main")
	denied(t, main, secretDenied, secretDenied, touchDenied)
	denied(t, p.workload("box", "setup"), secretDenied)
	w := shown(t, main)
	if w == nil || w.Denied != 3 || w.Container == nil || w.Container.Name != "main" || w.Container.Image != "docker.io/"+plainImage ||
		!strings.HasPrefix(w.Container.Pod, "default/"+p.full+"/") {
		t.Errorf("ps shows %+v", w)
	}
}

func (n *node) forbidden(t *testing.T) {
	p := newPod(t, "box-touch", func(p *pod) {
		p.fields["containers"] = []any{podContainer("main", plainImage, "/bin/touch", "/vol/mark")}
	}).place()
	// The kubelet sees it start, and end: why is in its log, as kubectl logs shows it.
	await(t, "an entry that failed", func() bool { return strings.Contains(p.log(), "permission denied") })
	await(t, "its end", func() bool {
		c := p.container("main")
		return c.RestartCount > 0 || c.State.Terminated != nil && c.State.Terminated.ExitCode != 0
	})
	denied(t, p.workload("box", "main"), touchDenied)
	if _, err := os.Stat(p.dir + "/mark"); err == nil {
		t.Error("it ran")
	}
}

func (n *node) unmatched(t *testing.T) {
	const says = "no template of /policy/agent.yaml selects it"
	p := newPod(t, "other").place()
	p.waits(n, says)
	await(t, "its status to say so, after the log", func() bool {
		s := p.status()
		return s != nil && strings.Contains(s.whole, says)
	})
	p.silent()
}

func (n *node) orphaned(t *testing.T) {
	p := newPod(t, "box-orphaned").place()
	p.ready()
	p.confined()
	leave(t)
	p.confined()
	p.execs(true, "ok", "/bin/cat", "/data/ok")
	p.execs(false, "permission denied", "/bin/cat", "/data/secret")
	p.execs(false, "permission denied", "/bin/touch", "/vol/mark")
	late := newPod(t, "box-late").place()
	late.waits(n, "no agent listens at /run/stockade/agent.sock")
	startAgent(t)
	p.confined()
	began := time.Now()
	late.ready()
	t.Logf("the pod began %v after the agent", time.Since(began).Round(100*time.Millisecond))
	late.confined()
	denied(t, late.workload("box", "main"), secretDenied)
}

func (n *node) killed(t *testing.T) {
	p := newPod(t, "box-killed").place()
	p.ready()
	first := p.workload("box", "main")
	if r := respond(t, 0, "kill", first); r.Processes < 1 {
		t.Errorf("%+v", r)
	}
	p.ready()
	p.confined()
	await(t, "another container", func() bool { return p.workload("box", "main") != first })
	denied(t, p.workload("box", "main"), secretDenied)
}

func (n *node) outlived(t *testing.T) {
	p := newPod(t, "box-outlived").place()
	p.ready()
	before := p.workload("box", "main")
	n.stop("kubelet", "containerd")
	p.confined()
	n.startContainerd("stockade")
	n.startKubelet()
	await(t, "the kubelet to know it", func() bool { return p.container("main").State.Running != nil })
	p.execs(false, "permission denied", "/bin/cat", "/data/secret")
	p.confined()
	if now := p.workload("box", "main"); now != before {
		t.Errorf("it was %s, now it is %s", before, now)
	}
	denied(t, before, secretDenied, secretDenied, secretDenied)
}

func (n *node) fallen(t *testing.T) {
	p := newPod(t, "box-fallen").place()
	p.ready()
	p.confined()
	before := p.workload("box", "main")
	n.fall()
	n.startContainerd("stockade")
	n.startKubelet()
	time.Sleep(2 * waits)
	p.silent()
	startAgent(t)
	began := time.Now()
	p.ready()
	t.Logf("the pod began %v after the agent", time.Since(began).Round(100*time.Millisecond))
	p.confined()
	p.execs(false, "permission denied", "/bin/cat", "/data/secret")
	now := p.workload("box", "main")
	if now == before {
		t.Errorf("it is %s still", now)
	}
	denied(t, now, secretDenied, secretDenied)
	if w := shown(t, now); w == nil {
		t.Error("ps does not show it")
	}
}
