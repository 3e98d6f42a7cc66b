package kube

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/kube/plan"
	"github.com/stockade-dev/stockade/agent/kube/v1alpha1"
)

func running(name string, containers ...string) corev1.Pod {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, UID: types.UID("u-" + name)}, Spec: corev1.PodSpec{NodeName: "n"}}
	for _, c := range containers {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: c})
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: c, ContainerID: "containerd://" + name + "-" + c,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}})
	}
	return p
}

func TestWhatIsHeldIsComparedWithWhatShouldBe(t *testing.T) {
	ref := plan.Ref{Namespace: "team", Name: "p"}
	planned := func(change func(*plan.Container)) plan.Container {
		c := plan.Container{Namespace: "team", Pod: "web", UID: "u-web", Name: "main", Policies: []plan.Ref{ref}, Template: "t", Digest: "d", Enforced: true}
		if change != nil {
			change(&c)
		}
		return c
	}
	held := func(mode, digest string) []api.Workload {
		return []api.Workload{{Name: "t.x", Mode: mode, Digest: digest, Container: &api.Container{ID: "web-main"}}, {Name: "other"}}
	}
	for _, c := range []struct {
		what    string
		planned plan.Container
		held    []api.Workload
		ready   int32
		says    string
	}{
		{"as it should be", planned(nil), held("enforce", "d"), 1, ""},
		{"locked down", planned(nil), held("lockdown", "d"), 1, ""},
		{"in audit, where it should be enforced", planned(nil), held("audit", "d"), 0, "is held under other policies"},
		{"under other policies", planned(nil), held("enforce", "e"), 0, "is held under other policies"},
		{"not at all", planned(nil), nil, 0, "runs and is not held"},
		{"by policies that do not compile", planned(func(c *plan.Container) { c.Problem = errors.New("policies:1:1: wrong") }), held("enforce", "d"), 0, "policies:1:1: wrong"},
		{"exempt", planned(func(c *plan.Container) { c.Exempt = true }), nil, 0, "a ClusterAgentPolicy exempts it"},
		{"not started yet", planned(func(c *plan.Container) { c.Name = "later" }), nil, 1, ""},
	} {
		status := &v1alpha1.StockadeNodeStatus{}
		compare(status, &plan.Plan{Policies: []plan.Policy{{Ref: ref, Digest: "p1"}, {Ref: plan.Ref{Name: "of nobody"}}}, Containers: []plan.Container{c.planned}},
			[]corev1.Pod{running("web", "main"), running("other", "main")}, c.held)
		if len(status.Policies) != 1 || len(status.Pods) != 1 {
			t.Errorf("%s: %+v", c.what, status)
			continue
		}
		p := status.Policies[0]
		if p.Digest != "p1" || p.Pods != (v1alpha1.Count{Ready: c.ready, Total: 1}) || (c.says == "") != (p.Message == "") || !strings.Contains(p.Message, c.says) || !strings.Contains(status.Pods[0].Message, c.says) {
			t.Errorf("%s: %+v, %+v, want %s", c.what, p, status.Pods[0], c.says)
		}
	}
}

func TestStatusesSumUpWhatNodesTell(t *testing.T) {
	one := running("web", "main")
	pods := []*corev1.Pod{&one}
	node := func(change func(*v1alpha1.StockadeNodeStatus)) []v1alpha1.StockadeNode {
		n := v1alpha1.StockadeNode{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
		n.Status = v1alpha1.StockadeNodeStatus{Ready: true, Seen: metav1.Now(),
			Policies: []v1alpha1.NodePolicy{{Namespace: "team", Name: "p", Digest: "d", Pods: v1alpha1.Count{Ready: 1, Total: 1}}}}
		if change != nil {
			change(&n.Status)
		}
		return []v1alpha1.StockadeNode{n}
	}
	for _, c := range []struct {
		what  string
		wrong error
		mode  v1alpha1.Mode
		nodes []v1alpha1.StockadeNode
		pods  []*corev1.Pod
		want  string
		ready int32
	}{
		{"held", nil, v1alpha1.Enforce, node(nil), pods, "True Held: 1 of 1 nodes hold all pods of it under digest d", 1},
		{"audited", nil, v1alpha1.Audit, node(nil), pods, "False Audit: 1 of 1 nodes", 1},
		{"no pods", nil, v1alpha1.Enforce, node(nil), nil, "False NoPods", 0},
		{"no agent", nil, v1alpha1.Enforce, nil, pods, "False Incomplete: 0 of 1 nodes hold all pods of it under digest d; node n: no agent was heard of", 0},
		{"an agent that is silent", nil, v1alpha1.Enforce, node(func(s *v1alpha1.StockadeNodeStatus) { s.Seen = metav1.NewTime(time.Now().Add(-time.Hour)) }), pods, "False Incomplete: 0 of 1 nodes hold all pods of it under digest d; node n: not heard of since", 0},
		{"an agent that is not ready", nil, v1alpha1.Enforce, node(func(s *v1alpha1.StockadeNodeStatus) { s.Ready, s.Message = false, "agent: gone" }), pods, "node n: agent: gone", 0},
		{"another digest", nil, v1alpha1.Enforce, node(func(s *v1alpha1.StockadeNodeStatus) { s.Policies[0].Digest = "e" }), pods, "it has not taken the policy as it is now", 0},
		{"a pod that is not held", nil, v1alpha1.Enforce, node(func(s *v1alpha1.StockadeNodeStatus) {
			s.Policies[0].Pods.Ready, s.Policies[0].Message = 0, "team/web: x"
		}), pods, "node n: team/web: x", 0},
		{"a node that does not know the policy", nil, v1alpha1.Enforce, node(func(s *v1alpha1.StockadeNodeStatus) { s.Policies = nil }), pods, "it has not taken the policy yet", 0},
		{"a node that does not know all pods", nil, v1alpha1.Enforce, node(nil), append(pods, &one), "the node does not know all pods yet", 0},
		{"wrong", errors.New("policies:1:1: x"), v1alpha1.Enforce, nil, pods, "False Refused", 0},
	} {
		p := &v1alpha1.AgentPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "p", Generation: 7}}
		s := &subject{p, plan.Ref{Namespace: "team", Name: "p"}, "d", c.mode, false, &p.Status}
		is := s.sum(c.wrong, c.nodes, c.pods)
		enforced := meta.FindStatusCondition(is.Conditions, v1alpha1.Enforced)
		got := fmt.Sprintf("%s %s: %s", enforced.Status, enforced.Reason, enforced.Message)
		if !strings.Contains(got, c.want) || is.Nodes.Ready != c.ready || is.ObservedGeneration != 7 || int(is.Pods.Total) != len(c.pods) {
			t.Errorf("%s: %s, %+v, want %s", c.what, got, is, c.want)
		}
		if accepted := meta.FindStatusCondition(is.Conditions, v1alpha1.Accepted); (accepted.Status == metav1.ConditionTrue) != (c.wrong == nil) {
			t.Errorf("%s: %+v", c.what, accepted)
		}
	}
}

// A guard enforces nothing where a container's own policies only report.
func TestAGuardOfWhatIsInAuditIsNotEnforced(t *testing.T) {
	own, guard := plan.Ref{Namespace: "team", Name: "p"}, plan.Ref{Name: "g"}
	for mode, want := range map[string]int32{"audit": 0, "enforce": 1} {
		status := &v1alpha1.StockadeNodeStatus{}
		compare(status, &plan.Plan{Policies: []plan.Policy{{Ref: own}, {Ref: guard, Enforces: true}},
			Containers: []plan.Container{{Namespace: "team", Pod: "web", UID: "u-web", Name: "main", Policies: []plan.Ref{own, guard}, Template: "t", Digest: "d", Enforced: mode == "enforce"}}},
			[]corev1.Pod{running("web", "main")}, []api.Workload{{Name: "t.x", Mode: mode, Digest: "d", Container: &api.Container{ID: "web-main"}}})
		if len(status.Policies) != 2 || status.Policies[0].Pods.Ready != 1 || status.Policies[1].Pods.Ready != want || (status.Policies[1].Message == "") != (want == 1) {
			t.Errorf("%s: %+v", mode, status.Policies)
		}
	}
}

func TestDenialsAreToldOfNowAndThen(t *testing.T) {
	l := teller{told: map[string]time.Time{}}
	now := time.Now()
	for _, c := range []struct {
		key   string
		after time.Duration
		want  bool
	}{{"a", 0, true}, {"a", time.Second, false}, {"b", time.Second, true}, {"a", tellAgain - 1, false}, {"a", tellAgain, true}, {"a", tellAgain + time.Second, false}} {
		if got := l.may(c.key, now.Add(c.after)); got != c.want {
			t.Errorf("%s after %s: %v", c.key, c.after, got)
		}
	}
	for i := range 2 * maxTold { // pods come and go: what is remembered stays bounded
		l.may(fmt.Sprint(i), now)
	}
	if len(l.told) > maxTold {
		t.Errorf("%d are remembered", len(l.told))
	}
	if !l.may("later", now.Add(2*tellAgain)) {
		t.Error("nothing is told of any more")
	}
}

func TestNotesAreShortAndEscaped(t *testing.T) {
	c := &plan.Container{Name: "main"}
	for _, d := range []struct {
		is     denial
		policy string
		want   string
	}{
		{denial{Actions: []string{"open", "read"}, Path: "/a b", Exe: "/bin/x\n", Reason: "no policy permits it"}, "", `container main: open,read "/a b" by "/bin/x\n": no policy permits it (`},
		{denial{Actions: []string{"read"}, Path: "/a"}, "team/p/\x1b[2J", `container main: read /a by "": policy "team/p/\x1b[2J" (`},
		{denial{Path: strings.Repeat("é", 4096)}, "p", "container main:  é"},
	} {
		if got := noteOf(c, &d.is, d.policy); !strings.HasPrefix(got, d.want) || len(got) > maxNote {
			t.Errorf("%d bytes: %s\nwant %s", len(got), got, d.want)
		}
	}
}
