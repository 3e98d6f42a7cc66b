package envtest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/stockade-dev/stockade/agent/container"
	"github.com/stockade-dev/stockade/agent/kube"
	"github.com/stockade-dev/stockade/agent/kube/v1alpha1"
	"github.com/stockade-dev/stockade/bpf/abi"
)

const soon = 20 * time.Second

func newPod(namespace, name, node string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "main", Image: "example"}}}}
}

// runs has the container of a pod run, as its kubelet would tell.
func runs(t *testing.T, pod *corev1.Pod, id string) {
	t.Helper()
	pod.Status.Phase = corev1.PodRunning
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", ContainerID: "containerd://" + id,
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	if err := admin.Status().Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
}

func factsOf(pod *corev1.Pod, id string) container.Facts {
	return container.Facts{ID: id, Name: "main", Pod: pod.Namespace + "/" + pod.Name + "/" + string(pod.UID)}
}

func agentPolicy(namespace, name, text string) *v1alpha1.AgentPolicy {
	p := &v1alpha1.AgentPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	p.Spec.Policies = text
	return p
}

func condition(p *v1alpha1.AgentPolicy, name string) string {
	c := meta.FindStatusCondition(p.Status.Conditions, name)
	if c == nil {
		return "unknown"
	}
	return string(c.Status) + " " + c.Reason + ": " + c.Message
}

// get reads an object anew.
func get[T client.Object](t *testing.T, o T) T {
	t.Helper()
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestPoliciesReachTheAgentAndItsStateTheCluster(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}
	create(t, node, space)
	web, other := newPod("team", "web", "n1"), newPod("team", "elsewhere", "n2")
	create(t, web, other)
	a := newAgent(t)
	options := kube.NodeOptions{Node: "n1", Dir: filepath.Join(a.dir, "kubernetes"), Socket: a.socket, Version: "test", Metrics: "0", Probes: "0", Every: 200 * time.Millisecond}
	run := func(ctx context.Context) error { return kube.RunNode(ctx, asNode, options) }
	stop := start(t, "node", run)
	start(t, "control", controlOf(t, 0))

	within(t, soon, "the folder", func() (bool, string) {
		_, err := os.Stat(filepath.Join(options.Dir, "containers.yaml"))
		return err == nil, fmt.Sprint(err)
	})
	if got := a.template(factsOf(web, "1")); got != nil {
		t.Fatalf("a pod without a policy has template %+v", got)
	}
	if got := a.template(container.Facts{Pod: "team/web/x", Sandbox: true}); got == nil || !got.Unconfined {
		t.Fatalf("the pause container has template %+v", got)
	}

	// A policy comes: the folder has its template.
	policy := agentPolicy("team", "work", "@id(\"work\")\npermit (principal, action, resource in file_system::Dir::\"/work\");")
	policy.Spec.PodSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	create(t, policy)
	within(t, soon, "a template", func() (bool, string) {
		got := a.template(factsOf(web, "1"))
		return got != nil && got.Mode == abi.Audit && got.Principal == `k8s::Pod::"team/web"`, fmt.Sprintf("%+v", got)
	})
	if got := a.template(factsOf(other, "2")); got != nil {
		t.Errorf("a pod of another node has template %+v", got)
	}

	// It runs unheld, then held, in audit, then enforced: the status tells.
	tells := func(want string) {
		t.Helper()
		within(t, soon, "condition Enforced "+want, func() (bool, string) {
			got := condition(get(t, policy), v1alpha1.Enforced)
			return strings.HasPrefix(got, want), got
		})
	}
	runs(t, web, "c1")
	within(t, soon, "condition Enforced with its reason", func() (bool, string) {
		got := condition(get(t, policy), v1alpha1.Enforced)
		return strings.HasPrefix(got, "False Incomplete: 0 of 1 nodes") && strings.Contains(got, "container main: runs and is not held"), got
	})
	a.starts(factsOf(web, "c1"))
	tells("False Audit: 1 of 1 nodes")
	policy.Spec.Mode = v1alpha1.Enforce
	if err := admin.Update(t.Context(), policy); err != nil {
		t.Fatal(err)
	}
	tells("True Held: 1 of 1 nodes hold all pods of it under digest " + policy.Status.Digest[:0])
	if s := policy.Status; s.Nodes != (v1alpha1.Count{Ready: 1, Total: 1}) || s.Pods != (v1alpha1.Count{Ready: 1, Total: 1}) || s.ObservedGeneration != policy.Generation || len(s.Digest) != 16 ||
		!strings.HasPrefix(condition(policy, v1alpha1.Accepted), "True") {
		t.Errorf("%+v", s)
	}

	// The node's own object.
	within(t, soon, "the StockadeNode", func() (bool, string) {
		sn := get(t, &v1alpha1.StockadeNode{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
		owned := len(sn.OwnerReferences) == 1 && sn.OwnerReferences[0].UID == node.UID && len(sn.Finalizers) == 0
		return owned && sn.Status.Ready && sn.Status.Version == "test" && sn.Status.KernelSide == "test" && len(sn.Status.Policies) == 1 && len(sn.Status.Pods) == 1 &&
			len(sn.Status.Pods[0].Containers) == 1 && sn.Status.Pods[0].Containers[0].Current && sn.Status.Pods[0].Containers[0].Mode == "enforce", fmt.Sprintf("%+v", sn)
	})
	if got := get(t, node).Labels[v1alpha1.LabelEnforcing]; got != "true" {
		t.Errorf("label %q", got)
	}

	// Labels change, as where a warm pod is claimed: policies see them.
	before := a.template(factsOf(web, "c1"))
	get(t, web).Labels["owner"] = "ann"
	if err := admin.Update(t.Context(), web); err != nil {
		t.Fatal(err)
	}
	within(t, soon, "the new label", func() (bool, string) {
		got := a.template(factsOf(web, "c1"))
		text, _ := os.ReadFile(got.Entities)
		return got.Name == before.Name && strings.Contains(string(text), `"owner":"ann"`), string(text)
	})

	// A policy that does not compile concerns what it selects; here nothing judged it.
	bad := agentPolicy("team", "bad", "permit (principal);")
	create(t, bad)
	within(t, soon, "no template", func() (bool, string) {
		return a.template(factsOf(web, "c1")) == nil, "there is one"
	})
	within(t, soon, "condition Accepted", func() (bool, string) {
		got := condition(get(t, bad), v1alpha1.Accepted)
		return strings.HasPrefix(got, "False Refused: policies:1:18: "), got
	})
	tells("False Incomplete: 0 of 1 nodes")

	// The API server goes for the node, as one that denies all: the folder stays.
	stop()
	if err := admin.Delete(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	was, _ := os.ReadFile(filepath.Join(options.Dir, "containers.yaml"))
	away := rest.CopyConfig(asNode)
	away.Host = "https://127.0.0.1:1"
	stop = start(t, "node without API", func(ctx context.Context) error {
		_ = kube.RunNode(ctx, away, options) // it may end, to be started again
		return nil
	})
	time.Sleep(time.Second)
	stop()
	if is, err := os.ReadFile(filepath.Join(options.Dir, "containers.yaml")); err != nil || string(is) != string(was) || len(was) == 0 {
		t.Errorf("without an API server the folder changed: %v\n%s", err, is)
	}
	// It comes back: what changed meanwhile is written.
	start(t, "node, again", run)
	within(t, soon, "the template, again", func() (bool, string) { return a.template(factsOf(web, "c1")) != nil, "none" })
	tells("True Held")
}

func TestDenialsAreEventsOfPods(t *testing.T) {
	create(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n3"}}, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "denials"}})
	pod := newPod("denials", "web", "n3")
	create(t, pod, agentPolicy("denials", "p", "permit (principal, action, resource);"))
	a := newAgent(t)
	start(t, "node", func(ctx context.Context) error {
		return kube.RunNode(ctx, asNode, kube.NodeOptions{Node: "n3", Dir: filepath.Join(a.dir, "kubernetes"), Socket: a.socket, Metrics: "0", Probes: "0", Every: 200 * time.Millisecond})
	})
	within(t, soon, "a template", func() (bool, string) {
		if _, err := os.Stat(filepath.Join(a.dir, "kubernetes/containers.yaml")); err != nil {
			return false, err.Error()
		}
		return a.template(factsOf(pod, "c")) != nil, "none"
	})
	workload := a.template(factsOf(pod, "c")).Name + ".c"
	deny := func(workload, policies, path string) {
		quoted, _ := json.Marshal(path)
		a.denied <- fmt.Sprintf(`{"type":"denial","workload":%q,"mode":"enforce","actions":["read"],"path":%s,"exe":"/bin/cat","reason":"no policy permits it","policies":[%s]}`, workload, quoted, policies)
	}
	const a1, a2 = `{"id":"denials/p/secrets","effect":"forbid"}`, `{"id":"denials/q/x","effect":"forbid"}`
	deny("another.c", a1, "/of-another")
	deny(workload, a1, "/se\ncret\x1b[2J")
	deny(workload, a1, "/again")
	deny(workload, `{"id":"denials/p/other","effect":"forbid"}`, "/again")
	deny(workload, "", "/nobody")
	deny(workload, a2, "/last")
	var list eventsv1.EventList
	within(t, soon, "events", func() (bool, string) {
		if err := admin.List(t.Context(), &list, client.InNamespace("denials")); err != nil {
			return false, err.Error()
		}
		return len(list.Items) >= 3, fmt.Sprintf("%d", len(list.Items))
	})
	time.Sleep(time.Second) // more would have come
	if err := admin.List(t.Context(), &list, client.InNamespace("denials")); err != nil {
		t.Fatal(err)
	}
	notes := ""
	for _, e := range list.Items {
		notes += e.Note + "\n"
		if e.Regarding.Kind != "Pod" || e.Regarding.UID != pod.UID || e.Reason != "Denied" || e.Type != "Warning" || e.ReportingInstance != "n3" {
			t.Errorf("%+v", e)
		}
	}
	for _, want := range []string{
		`container main: read "/se\ncret\x1b[2J" by /bin/cat: policy denials/p/secrets`,
		`container main: read /nobody by /bin/cat: no policy permits it`,
		`container main: read /last by /bin/cat: policy denials/q/x`,
	} {
		if !strings.Contains(notes, want) {
			t.Errorf("none says %s", want)
		}
	}
	if len(list.Items) != 3 {
		t.Errorf("%d events, want one a policy and one for none\n%s", len(list.Items), notes)
	}
}
