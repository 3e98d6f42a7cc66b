package vmtest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// What the cluster of one node uses, beside what the node does:
//
//	/etc/kubernetes
//	├── admin.conf      of kubectl and the kubelet
//	├── tokens          who is who
//	├── accounts.key    signs what service accounts bear
//	└── pki             the API server's own
const (
	apiServer   = "https://" + nodeIP + ":6443"
	adminConf   = "/etc/kubernetes/admin.conf"
	tokens      = "/etc/kubernetes/tokens"
	accountsKey = "/etc/kubernetes/accounts.key"
)

const adminYAML = `apiVersion: v1
kind: Config
clusters: [{name: here, cluster: {server: "` + apiServer + `", insecure-skip-tls-verify: true}}]
users: [{name: admin, user: {token: admin}}]
contexts: [{name: here, context: {cluster: here, user: admin}}]
current-context: here
`

const runtimeClass = `{"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "stockade"}, "handler": "stockade"}`

// startCluster starts the API of a cluster, and has the node join it.
func (n *node) startCluster() {
	n.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	put(accountsKey, string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	put(tokens, "admin,admin,1,system:masters\n")
	put(adminConf, adminYAML)
	healthy := func(url string) func() bool {
		client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // of this machine
		return func() bool {
			resp, err := client.Get(url)
			if err == nil {
				resp.Body.Close()
			}
			return err == nil && resp.StatusCode == http.StatusOK
		}
	}
	n.start(healthy("http://127.0.0.1:2379/health"), "etcd", "--data-dir", "/var/lib/etcd", "--unsafe-no-fsync")
	n.start(healthy(apiServer+"/readyz"), "kube-apiserver", "--etcd-servers", "http://127.0.0.1:2379", "--advertise-address", nodeIP,
		"--bind-address", nodeIP, "--cert-dir", "/etc/kubernetes/pki", "--token-auth-file", tokens, "--authorization-mode", "RBAC",
		"--service-account-issuer", "https://here", "--service-account-key-file", accountsKey, "--service-account-signing-key-file", accountsKey,
		"--service-cluster-ip-range", "10.1.0.0/24", "--disable-admission-plugins", "ServiceAccount", "--allow-privileged")
	n.cluster = []string{"--kubeconfig", adminConf}
	n.startKubelet()
	await(n.t, "the node in the cluster", func() bool { _, err := kubectl("get", "node", nodeName); return err == nil })
}

func kubectl(args ...string) (string, error) {
	return command(append([]string{"kubectl", "--kubeconfig", adminConf, "--request-timeout", "60s"}, args...)...)
}

// apply has the API take an object.
func apply(t *testing.T, text string) {
	t.Helper()
	cmd := exec.Command("kubectl", "--kubeconfig", adminConf, "apply", "--validate=false", "-f", "-")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("kubectl apply: %v: %s", err, out)
	}
}

// classed is of the runtime class.
func classed(p *pod) { p.fields["runtimeClassName"] = "stockade" }

// bind makes it a pod of the cluster, on the node.
func (p *pod) bind() *pod {
	p.t.Helper()
	p.fields["nodeName"] = nodeName
	apply(p.t, p.text())
	p.t.Cleanup(func() {
		if out, err := kubectl("delete", "pod", p.name, "--grace-period", "1", "--wait=false"); err != nil {
			p.t.Errorf("delete: %v: %s", err, out)
		}
	})
	return p
}

// TestKubernetesCluster has the kubelet of a cluster start pods of a RuntimeClass.
func TestKubernetesCluster(t *testing.T) {
	n := nodeOf(t)
	n.guard("runc")
	n.startCluster()
	startAgent(t)
	defer retireAgent(t)
	apply(t, runtimeClass)
	for _, c := range []struct {
		name string
		test func(*testing.T)
	}{
		{"pods of the class are confined, others are not", n.classes},
		{"a pod of the class that no template selects says why", n.told},
		{"an ephemeral container is confined", n.debugged},
		{"a static pod of the class is confined", n.static},
	} {
		t.Run(c.name, func(t *testing.T) {
			attended(t)
			began := time.Now()
			c.test(t)
			t.Logf("took %v", time.Since(began).Round(100*time.Millisecond))
		})
	}
}

func (n *node) classes(t *testing.T) {
	free := newPod(t, "box-free").bind()
	held := newPod(t, "box-held", classed, withSetup).bind()
	free.ready()
	if got := free.ask("read", "/data/secret"); got != "done: secret" {
		t.Errorf("a pod of no class: %s", got)
	}
	held.ready()
	held.confined()
	held.execs(true, "ok", "/bin/cat", "/data/ok")
	held.execs(false, "permission denied", "/bin/cat", "/data/secret")
	main := held.workload("box", "main")
	denied(t, main, secretDenied, secretDenied)
	denied(t, held.workload("box", "setup"), secretDenied)
	if w := shown(t, main); w == nil || w.Container == nil || !strings.HasPrefix(w.Container.Pod, "default/box-held/") {
		t.Errorf("ps shows %+v", w)
	}
	if w := shown(t, free.workload("box", "main")); w != nil {
		t.Errorf("ps shows %+v", w)
	}
}

// told: kubectl shows what the agent says.
func (n *node) told(t *testing.T) {
	const says = "no template of /policy/agent.yaml selects it"
	p := newPod(t, "other", classed).bind()
	p.waits(n, says)
	await(t, "an event that says why", func() bool {
		out, err := kubectl("describe", "pod", "other")
		return err == nil && strings.Contains(out, says)
	})
}

func (n *node) debugged(t *testing.T) {
	p := newPod(t, "box-debugged", classed).bind()
	p.ready()
	extra := podContainer("extra", plainImage, "/bin/sh", "-c", "/bin/cat /data/secret >/vol/extra 2>&1; exec /bin/sleep 1000")
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"ephemeralContainers": []any{extra}}})
	must(err)
	if out, err := kubectl("patch", "pod", p.name, "--subresource", "ephemeralcontainers", "--patch", string(patch)); err != nil {
		t.Fatalf("patch: %v: %s", err, out)
	}
	want := "cat: can't open '/data/secret': Permission denied\n"
	await(t, "the ephemeral container", func() bool {
		text, _ := os.ReadFile(p.dir + "/extra")
		return len(text) >= len(want)
	})
	if text, err := os.ReadFile(p.dir + "/extra"); err != nil || string(text) != want {
		t.Errorf("it says %q, %v", text, err)
	}
	denied(t, p.workload("box", "extra"), secretDenied)
}

func (n *node) static(t *testing.T) {
	p := newPod(t, "box-static", classed).place()
	p.ready()
	p.confined()
	denied(t, p.workload("box", "main"), secretDenied)
	out, err := kubectl("get", "pod", p.full, "-o", "name")
	if want := fmt.Sprintf("pod/%s\n", p.full); err != nil || out != want {
		t.Errorf("get: %v: %s", err, out)
	}
}
