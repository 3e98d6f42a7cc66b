package kube

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/kube/plan"
	"github.com/stockade-dev/stockade/agent/kube/v1alpha1"
)

// tell writes the node's status, and its label, until ctx ends.
func (n *node) tell(ctx context.Context) error {
	log := ctrl.LoggerFrom(ctx).WithName("status")
	var last v1alpha1.StockadeNodeStatus
	for {
		status, err := n.look(ctx)
		if err == nil && status != nil {
			same := last
			same.Seen = status.Seen
			if !equality.Semantic.DeepEqual(&same, status) || time.Since(last.Seen.Time) >= statusSeen {
				if err = n.say(ctx, status); err == nil {
					last = *status
				}
			}
		}
		if err != nil && ctx.Err() == nil {
			log.Error(err, "the cluster does not know how this node is")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(n.every):
		}
	}
}

// look finds out how the node is; nil before anything was planned.
func (n *node) look(ctx context.Context) (*v1alpha1.StockadeNodeStatus, error) {
	p, failed := n.now()
	if p == nil && failed == nil {
		return nil, nil
	}
	var pods corev1.PodList
	if err := n.client.List(ctx, &pods); err != nil {
		return nil, err
	}
	short, cancel := context.WithTimeout(ctx, n.every)
	defer cancel()
	held, err := n.agent.Status(short)
	status := &v1alpha1.StockadeNodeStatus{Seen: metav1.Now().Rfc3339Copy(), Version: n.Version, KernelSide: held.Kernel}
	switch {
	case err != nil:
		status.Message = "agent: " + err.Error()
	case failed != nil:
		status.Message = failed.Error()
	case held.Error != "":
		status.Message = "agent: " + held.Error
	}
	status.Ready = status.Message == ""
	status.Message = shorten(status.Message)
	if p != nil {
		compare(status, p, pods.Items, held.Workloads)
	}
	return status, nil
}

// say writes a status.
func (n *node) say(ctx context.Context, status *v1alpha1.StockadeNodeStatus) error {
	var of corev1.Node
	if err := n.client.Get(ctx, types.NamespacedName{Name: n.Node}, &of); err != nil {
		return err
	}
	object := &v1alpha1.StockadeNode{ObjectMeta: metav1.ObjectMeta{Name: n.Node, OwnerReferences: ownedBy(&of)}}
	err := n.client.Get(ctx, client.ObjectKeyFromObject(object), object)
	if errors.IsNotFound(err) {
		err = n.client.Create(ctx, object)
	}
	if err != nil {
		return err
	}
	if refs := ownedBy(&of); !equality.Semantic.DeepEqual(object.OwnerReferences, refs) { // a node of that name, made anew
		was := object.DeepCopy()
		object.OwnerReferences = refs
		if err := n.client.Patch(ctx, object, client.MergeFrom(was)); err != nil {
			return err
		}
	}
	was := object.DeepCopy()
	object.Status = *status
	if err := n.client.Status().Patch(ctx, object, client.MergeFrom(was)); err != nil {
		return err
	}
	labeled := of.DeepCopy()
	if labeled.Labels == nil {
		labeled.Labels = map[string]string{}
	}
	if labeled.Labels[v1alpha1.LabelEnforcing] = strconv.FormatBool(status.Ready); equality.Semantic.DeepEqual(labeled.Labels, of.Labels) {
		return nil
	}
	return n.client.Patch(ctx, labeled, client.MergeFrom(&of))
}

// maxMessage bounds a message of a status: etcd has to hold them all.
const maxMessage = 1024

func shorten(text string) string {
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	return text
}

// compare fills in what is held of what should be.
func compare(status *v1alpha1.StockadeNodeStatus, p *plan.Plan, pods []corev1.Pod, workloads []api.Workload) {
	held := map[string]*api.Workload{}
	for i := range workloads {
		if c := workloads[i].Container; c != nil {
			held[c.ID] = &workloads[i]
		}
	}
	known := map[string]*corev1.Pod{}
	for i := range pods {
		known[pods[i].Namespace+"/"+pods[i].Name+"/"+plan.UIDOf(&pods[i])] = &pods[i]
	}
	policies, enforces := map[plan.Ref]*v1alpha1.NodePolicy{}, map[plan.Ref]bool{}
	for _, policy := range p.Policies {
		enforces[policy.Ref] = policy.Enforces
		policies[policy.Ref] = &v1alpha1.NodePolicy{Namespace: policy.Namespace, Name: policy.Name, Digest: policy.Digest}
	}
	for start := 0; start < len(p.Containers); {
		of := p.Containers[start]
		key := of.Namespace + "/" + of.Pod + "/" + of.UID
		end := start
		for end < len(p.Containers) && p.Containers[end].Namespace+"/"+p.Containers[end].Pod+"/"+p.Containers[end].UID == key {
			end++
		}
		if pod := known[key]; pod != nil {
			one := v1alpha1.NodePod{Namespace: of.Namespace, Name: of.Pod, UID: string(pod.UID)}
			for _, c := range p.Containers[start:end] {
				comparePod(&one, &c, pod, held)
			}
			count(policies, enforces, &one, p.Containers[start:end])
			status.Pods = append(status.Pods, one)
		}
		start = end
	}
	for _, policy := range p.Policies {
		if of := policies[policy.Ref]; of.Pods.Total > 0 {
			if policy.Problem != nil {
				of.Message = shorten(policy.Problem.Error())
			}
			status.Policies = append(status.Policies, *of)
		}
	}
	status.Pods = status.Pods[:min(len(status.Pods), v1alpha1.MaxNodePods)]
}

// comparePod adds to a pod what became of one of its containers.
func comparePod(to *v1alpha1.NodePod, c *plan.Container, pod *corev1.Pod, held map[string]*api.Workload) {
	id := runningID(pod, c.Name)
	w := held[id]
	message := ""
	switch {
	case c.Exempt:
		message = fmt.Sprintf("container %s: is not held: a ClusterAgentPolicy exempts it", c.Name)
	case c.Problem != nil:
		message = c.Problem.Error()
	case id != "" && w == nil:
		message = fmt.Sprintf("container %s: runs and is not held: its pod does not use the runtime of Stockade, or is older than that; see runtimeClassName", c.Name)
	}
	if w != nil {
		mode := "audit"
		if c.Enforced {
			mode = "enforce"
		}
		current := c.Problem == nil && !c.Exempt && w.Digest == c.Digest && (w.Mode == mode || w.Mode == "lockdown")
		to.Containers = append(to.Containers, v1alpha1.NodeContainer{Name: c.Name, Mode: w.Mode, Digest: w.Digest, Current: current})
		if !current && message == "" {
			message = cmp.Or(w.Error, fmt.Sprintf("container %s: is held under other policies than it should be: the agent has not taken them yet", c.Name))
		}
	}
	if to.Message == "" {
		to.Message = shorten(message)
	}
}

// runningID is the id of a container that runs, as its runtime has it, or "".
func runningID(pod *corev1.Pod, name string) string {
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses) {
		if s.Name == name && s.State.Running != nil {
			_, id, _ := strings.Cut(s.ContainerID, "://")
			return id
		}
	}
	return ""
}

// count adds a pod to the policies that select it.
func count(policies map[plan.Ref]*v1alpha1.NodePolicy, enforces map[plan.Ref]bool, one *v1alpha1.NodePod, containers []plan.Container) {
	seen := map[plan.Ref]bool{}
	for _, c := range containers {
		for _, ref := range c.Policies {
			of := policies[ref]
			if of == nil || seen[ref] {
				continue
			}
			seen[ref] = true
			of.Pods.Total++
			message := one.Message
			if message == "" && enforces[ref] && !c.Enforced { // it is a guard
				message = fmt.Sprintf("container %s: only reports: its own policies are in mode Audit", c.Name)
			}
			if message == "" {
				of.Pods.Ready++
			} else if of.Message == "" {
				of.Message = shorten(one.Namespace + "/" + one.Name + ": " + message)
			}
		}
	}
}
