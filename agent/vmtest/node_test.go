package vmtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What makes the machine a node of Kubernetes:
//
//	/etc/containerd
//	├── config.toml       as little as is needed
//	└── conf.d            what install-runtime adds, and what the tests do
//	/etc/kubernetes
//	├── kubelet.yaml
//	└── manifests         static pods
//	/var/log
//	├── containerd, kubelet
//	└── etcd, kube-apiserver
const (
	nodeName  = "vm"
	nodeIP    = "10.0.0.1"
	manifests = "/etc/kubernetes/manifests/"

	containerdConf    = "/etc/containerd/config.toml"
	containerdDefault = "/etc/containerd/conf.d/default.toml"
	kubeletConf       = "/etc/kubernetes/kubelet.yaml"
)

const containerdTOML = `version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = 'docker.io/` + pauseImage + `'
`

// defaultTOML makes a runtime the one of pods that name none: a kubelet without a cluster
// knows no RuntimeClass.
const defaultTOML = `version = 3
[plugins.'io.containerd.cri.v1.runtime'.containerd]
default_runtime_name = '%s'
`

// kubeletYAML: pods that end begin anew soon, and no disk is too full.
const kubeletYAML = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
staticPodPath: ` + manifests + `
failSwapOn: false
localStorageCapacityIsolation: false
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: "0%", nodefs.available: "0%", imagefs.available: "0%", nodefs.inodesFree: "0%"}
crashLoopBackOff: {maxContainerRestartPeriod: 1s}
resolvConf: ""
syncFrequency: 10s
fileCheckFrequency: 5s
`

// node is what runs on it.
type node struct {
	t       *testing.T
	daemons map[string]*exec.Cmd
	cluster []string // arguments of a kubelet that has one
}

// newNode makes the machine one, of which nothing runs yet.
func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, daemons: map[string]*exec.Cmd{}}
	put(containerdConf, containerdTOML)
	put(kubeletConf, kubeletYAML)
	must(os.MkdirAll(manifests, 0o755))
	// An address that is not the loopback's.
	if _, err := os.Stat("/sys/class/net/eth0"); err != nil {
		for _, argv := range []string{"link add eth0 type veth peer name eth1", "link set eth1 up", "link set eth0 up",
			"addr add " + nodeIP + "/24 dev eth0", "route add default via 10.0.0.254"} {
			if out, err := command(append([]string{"ip"}, strings.Fields(argv)...)...); err != nil {
				t.Fatalf("ip %s: %v: %s", argv, err, out)
			}
		}
	}
	t.Cleanup(func() {
		n.stop(policyNode, policyControl, "kubelet", "containerd", "kube-apiserver", "etcd")
		for _, name := range []string{policyNode, policyControl, "kubelet", "containerd", "kube-apiserver"} {
			if t.Failed() {
				t.Logf("%s: %s", name, n.said(name, 12000))
			}
		}
	})
	return n
}

// start starts a daemon, and waits until it is ready.
func (n *node) start(ready func() bool, argv ...string) {
	n.t.Helper()
	began, name := time.Now(), argv[0]
	log, err := os.OpenFile("/var/log/"+name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	must(err)
	defer log.Close()
	daemon := exec.Command(name, argv[1:]...)
	daemon.Stdout, daemon.Stderr = log, log
	must(daemon.Start())
	n.daemons[name] = daemon
	for end := time.Now().Add(6 * time.Minute); !ready(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatalf("%s is not ready: %s", name, n.said(name, 12000))
		}
	}
	n.t.Logf("%s was ready after %v", name, time.Since(began).Round(100*time.Millisecond))
}

// said is the end of what a daemon said.
func (n *node) said(name string, most int) string {
	text, err := os.ReadFile("/var/log/" + name)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-most):])
}

// stop kills daemons, which lets containers run on.
func (n *node) stop(names ...string) {
	for _, name := range names {
		if d := n.daemons[name]; d != nil {
			d.Process.Kill()
			d.Wait()
			delete(n.daemons, name)
		}
	}
}

func (n *node) startContainerd(runtime string) {
	n.t.Helper()
	put(containerdDefault, fmt.Sprintf(defaultTOML, runtime))
	n.start(func() bool { _, err := command("ctr", "version"); return err == nil }, "containerd")
}

func (n *node) startKubelet() {
	n.t.Helper()
	n.start(func() bool { _, err := kubelet("GET", "/pods"); return err == nil },
		append([]string{"kubelet", "--config", kubeletConf, "--hostname-override", nodeName, "--node-ip", nodeIP, "--v", "2"}, n.cluster...)...)
}

// fall is what a power failure leaves: files.
func (n *node) fall() {
	n.t.Helper()
	n.stop("kubelet")
	must(agents.cmd.Process.Kill())
	<-agents.done
	n.stop("containerd")
	shims, err := filepath.Glob("/proc/[0-9]*/comm")
	must(err)
	for _, comm := range shims {
		if text, _ := os.ReadFile(comm); strings.HasPrefix(string(text), "containerd-shim") {
			var pid int
			fmt.Sscanf(comm, "/proc/%d", &pid)
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	pods := "/sys/fs/cgroup/kubepods"
	must(os.WriteFile(pods+"/cgroup.kill", []byte("1"), 0))
	await(n.t, "the end of all pods", func() bool {
		text, err := os.ReadFile(pods + "/cgroup.events")
		return err == nil && strings.Contains(string(text), "populated 0")
	})
	// Deepest first: cgroups, and what is mounted.
	out, err := command("find", pods, "-depth", "-type", "d", "-delete")
	if err != nil {
		n.t.Errorf("cgroups: %v: %s", err, out)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	must(err)
	for line := range strings.Lines(string(mounts)) {
		if at := strings.Fields(line)[1]; strings.HasPrefix(at, "/run/containerd/") || strings.HasPrefix(at, "/var/lib/kubelet/pods/") {
			syscall.Unmount(at, syscall.MNT_DETACH)
		}
	}
	if r := stockade(n.t, "uninstall", "--force"); r.code != 0 {
		n.t.Errorf("uninstall: exit %d: %s", r.code, r.stderr)
	}
	for _, dir := range []string{"/run/containerd", "/run/stockade"} {
		must(os.RemoveAll(dir))
	}
}
