package vmtest

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The two that bring policies of the cluster to the node, as they are logged: links to one
// program.
const (
	policyNode    = "stockade-kube-node"
	policyControl = "stockade-kube-control"
	policyHost    = "stockade-control.default.svc"
	kubeFolder    = "/run/stockade/kubernetes"
)

// followYAML is what the chart gives an agent.
const followYAML = `
log: {file: /var/log/stockade.jsonl, format: json}
containers_from: ` + kubeFolder + `/containers.yaml
`

// judging has the API server ask this machine about policies.
const judging = `{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "stockade-policies"}, "webhooks": [{
	"name": "policies.stockade.dev", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail", "sideEffects": "None", "timeoutSeconds": 30,
	"clientConfig": {"url": "https://` + policyHost + `:9443/validate"},
	"rules": [{"apiGroups": ["stockade.dev"], "apiVersions": ["v1alpha1"], "operations": ["CREATE", "UPDATE"], "resources": ["agentpolicies", "clusteragentpolicies"]}]}]}`

// policyOf is an AgentPolicy of pods with a label.
func policyOf(name, mode, cedar string) string {
	text, err := json.Marshal(map[string]any{"apiVersion": "stockade.dev/v1alpha1", "kind": "AgentPolicy",
		"metadata": map[string]any{"name": name, "namespace": "default"},
		"spec":     map[string]any{"podSelector": map[string]any{"matchLabels": map[string]string{"app": name}}, "mode": mode, "policies": cedar}})
	must(err)
	return string(text)
}

// refused has the API refuse an object, and say why.
func refused(t *testing.T, text, why string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "object")
	put(file, text)
	if out, err := kubectl("apply", "--validate=false", "-f", file); err == nil || !strings.Contains(out, why) {
		t.Errorf("%v: %s\nwant a refusal that says %s", err, out, why)
	}
}

// startPolicies starts what the chart has in a cluster.
func (n *node) startPolicies() {
	n.t.Helper()
	crds, err := filepath.Glob("/vmtest/deploy/kubernetes/chart/crds/*.yaml")
	must(err)
	if len(crds) != 3 {
		n.t.Fatalf("kinds: %q", crds)
	}
	for _, name := range crds {
		text, err := os.ReadFile(name)
		must(err)
		apply(n.t, string(text))
	}
	apply(n.t, runtimeClass)
	apply(n.t, judging)
	hosts, err := os.ReadFile("/etc/hosts")
	if err != nil && !os.IsNotExist(err) {
		must(err)
	}
	put("/etc/hosts", string(hosts)+"127.0.0.1 "+policyHost+"\n")
	for _, link := range []string{policyNode, policyControl} {
		_ = os.Remove("/usr/bin/" + link)
		must(os.Symlink("stockade-kube", "/usr/bin/"+link))
	}
	answers := func(address string) func() bool {
		return func() bool {
			conn, err := net.Dial("tcp", address)
			if err == nil {
				conn.Close()
			}
			return err == nil
		}
	}
	n.start(answers("127.0.0.1:9443"), policyControl, "--kubeconfig", adminConf, "control", "--namespace", "default", "--alone", "--certificates", "/run/certificates")
	n.start(func() bool { _, err := os.Stat(kubeFolder + "/containers.yaml"); return err == nil },
		policyNode, "--kubeconfig", adminConf, "node", "--node", nodeName, "--dir", kubeFolder)
}

// TestKubernetesPolicies has policies of a cluster confine its pods.
func TestKubernetesPolicies(t *testing.T) {
	n := nodeOf(t)
	put(agentConf, followYAML)
	n.guard("runc")
	waitFor(2 * waits) // the agent answers late where a template may still come
	n.startCluster()
	startAgent(t)
	defer retireAgent(t)
	n.startPolicies()
	for _, c := range []struct {
		name string
		test func(*testing.T)
	}{
		{"what does not compile is refused", n.judged},
		{"a policy confines what it selects, and changes under it", n.selected},
		{"without a policy a pod of the class does not start", n.unselected},
		{"a policy in audit mode refuses nothing, and tells", n.audited},
		{"what the cluster's guard forbids nobody permits", n.guarded},
		{"policies go on without those that bring them", n.deserted},
	} {
		t.Run(c.name, func(t *testing.T) {
			attended(t)
			began := time.Now()
			c.test(t)
			t.Logf("took %v", time.Since(began).Round(100*time.Millisecond))
		})
	}
}

func (n *node) judged(t *testing.T) {
	await(t, "a judge", func() bool {
		out, err := kubectl("get", "validatingwebhookconfiguration", "stockade-policies", "-o", "jsonpath={.webhooks[0].clientConfig.caBundle}")
		return err == nil && len(out) > 100
	})
	refused(t, policyOf("wrong", "Enforce", "permit (principal,\n  acton, resource);"), ":2:3:")
	refused(t, strings.Replace(policyOf("wrong", "Enforce", boxPolicy), `"Enforce"`, `"Perhaps"`, 1), "spec.mode")
	if out, err := kubectl("get", "agentpolicies", "-o", "name"); err != nil || out != "" {
		t.Errorf("%v: %s", err, out)
	}
}

func labelled(app string) func(*pod) {
	return func(p *pod) { p.labels = map[string]string{"app": app} }
}

// held is what ps shows of a container of a pod of the cluster; nil: nothing.
func (p *pod) held(name string) *engineWorkload {
	p.t.Helper()
	for _, w := range allShown(p.t) {
		if w.Container != nil && w.Container.Name == name && strings.HasPrefix(w.Container.Pod, "default/"+p.name+"/") {
			return w
		}
	}
	return nil
}

// column is what kubectl shows of a policy: mode, accepted, enforced, ready and nodes.
func column(t *testing.T, policy string) string {
	t.Helper()
	out, err := kubectl("get", "agentpolicies", policy, "--no-headers")
	if fields := strings.Fields(out); err == nil && len(fields) > 5 {
		return strings.Join(fields[1:6], " ")
	}
	return fmt.Sprintf("%v: %s", err, out)
}

// columned waits until kubectl shows that.
func columned(t *testing.T, policy, want string) {
	t.Helper()
	end := time.Now().Add(90 * time.Second)
	for column(t, policy) != want {
		if time.Now().After(end) {
			out, _ := kubectl("get", "agentpolicies,stockadenodes", "-o", "yaml")
			t.Fatalf("kubectl shows of %s: %s, want %s\n%s", policy, column(t, policy), want, out)
		}
		time.Sleep(time.Second)
	}
}

func (n *node) selected(t *testing.T) {
	apply(t, policyOf("box", "Enforce", boxPolicy))
	p := newPod(t, "selected", classed, labelled("box"), withSetup).bind()
	p.ready()
	p.confined()
	p.execs(false, "permission denied", "/bin/cat", "/data/secret")
	const no = "open /data/secret: default/box/no-secret"
	w := p.held("main")
	if w == nil || w.Mode != "enforce" || w.Denied != 2 {
		t.Fatalf("ps shows %+v", w)
	}
	denied(t, w.Name, no, no)
	columned(t, "box", "Enforce True True 1 1")
	if out, err := kubectl("get", "node", nodeName, "-o", `jsonpath={.metadata.labels.stockade\.dev/enforcing}`); err != nil || out != "true" {
		t.Errorf("the node's label: %v: %s", err, out)
	}
	await(t, "an event of the pod", func() bool {
		out, err := kubectl("get", "events", "--field-selector", "involvedObject.name="+p.name, "-o", "yaml")
		return err == nil && strings.Contains(out, "default/box/no-secret")
	})
	// From now on it may read it, and nothing else.
	apply(t, policyOf("box", "Enforce", strings.Replace(boxPolicy, `"/data/secret"`, `"/data/ok"`, 1)))
	await(t, "the new policy", func() bool { return p.ask("read", "/data/secret") == "done: secret" })
	if got := p.ask("read", "/data/ok"); !strings.Contains(got, "ermission denied") {
		t.Errorf("what it may not read any more: %s", got)
	}
	columned(t, "box", "Enforce True True 1 1")
	apply(t, policyOf("box", "Enforce", boxPolicy))
	await(t, "the old policy", func() bool { return p.ask("read", "/data/ok") == "done: ok" })
	p.confined()
}

func (n *node) unselected(t *testing.T) {
	const says = kubeFolder + "/containers.yaml selects it"
	p := newPod(t, "unselected", classed, labelled("nothing")).bind()
	p.waits(n, says)
	// A policy that comes later has it start.
	apply(t, policyOf("nothing", "Enforce", boxPolicy))
	p.ready()
	p.confined()
}

func (n *node) audited(t *testing.T) {
	apply(t, policyOf("audit", "Audit", boxPolicy))
	p := newPod(t, "audited", classed, labelled("audit")).bind()
	p.ready()
	if got := p.ask("read", "/data/secret"); got != "done: secret" {
		t.Errorf("in audit mode: %s", got)
	}
	w := p.held("main")
	if w == nil || w.Mode != "audit" {
		t.Fatalf("ps shows %+v", w)
	}
	await(t, "what would be denied", func() bool { w := p.held("main"); return w != nil && w.Denied == 1 })
	columned(t, "audit", "Audit True False 1 1")
}

func (n *node) guarded(t *testing.T) {
	const guard = `{"apiVersion": "stockade.dev/v1alpha1", "kind": "ClusterAgentPolicy", "metadata": {"name": "guard"},
		"spec": {"namespaceSelector": {}, "guard": true, "mode": "Enforce", "policies": %q}}`
	refused(t, fmt.Sprintf(guard, "permit (principal, action, resource);"), "forbid")
	apply(t, policyOf("open", "Enforce", strings.Replace(boxPolicy, `"/data/secret"`, `"/data/none"`, 1)))
	p := newPod(t, "guarded", classed, labelled("open")).bind()
	p.ready()
	if got := p.ask("read", "/data/secret"); got != "done: secret" { // the control
		t.Errorf("without the guard: %s", got)
	}
	apply(t, fmt.Sprintf(guard, `@id("no") forbid (principal, action, resource == file_system::File::"/data/secret");`))
	await(t, "the guard", func() bool { return strings.Contains(p.ask("read", "/data/secret"), "ermission denied") })
	p.confined()
	w := p.held("main")
	if w == nil {
		t.Fatal("ps shows nothing")
	}
	denied(t, w.Name, "open /data/secret: */guard/no", "open /data/secret: */guard/no")
	if out, err := kubectl("delete", "clusteragentpolicy", "guard"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	await(t, "the guard's end", func() bool { return p.ask("read", "/data/secret") == "done: secret" })
}

// deserted: with control, node and agent gone, and the API server, too, what runs stays held.
func (n *node) deserted(t *testing.T) {
	apply(t, policyOf("box", "Enforce", boxPolicy))
	p := newPod(t, "deserted", classed, labelled("box")).bind()
	p.ready()
	n.stop(policyNode, policyControl)
	leave(t)
	p.confined()
	refused(t, policyOf("late", "Enforce", boxPolicy), "stockade") // nobody judges: fail closed
	startAgent(t)
	p.confined()
	if w := p.held("main"); w == nil || w.Mode != "enforce" {
		t.Errorf("ps shows %+v", w)
	}
	late := newPod(t, "late", classed, labelled("box")).bind()
	late.waits(n, "containers.yaml selects it")
}
