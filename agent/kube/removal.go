package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/stockade-dev/stockade/agent/kube/plan"
	"github.com/stockade-dev/stockade/agent/kube/v1alpha1"
)

// Removal says what is taken out of a cluster: first what is held ends, then what holds it.
type Removal struct {
	// RuntimeClass is that of the pods which are held, DaemonSet the name of the agents' in
	// Namespace.
	RuntimeClass, Namespace, DaemonSet string
	// Pod, a pod as YAML, ends enforcement on the node that it runs on.
	Pod []byte
	// Say is told each step.
	Say func(string)

	client client.Client
	every  time.Duration // between two looks
}

const lookEvery = 2 * time.Second

// Uninstall takes Stockade out of a cluster. What it did before an error stays done, and can
// be done again.
func Uninstall(ctx context.Context, cfg *rest.Config, r Removal) error {
	c, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("cluster: %w: nothing was removed; check the address and the certificate", err)
	}
	r.client, r.every = c, lookEvery
	return r.do(ctx)
}

func (r *Removal) do(ctx context.Context) error {
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict(r.Pod, pod); err != nil {
		return fmt.Errorf("pod that ends enforcement: %w: nothing was removed; correct its file", err)
	}
	for _, step := range []func(context.Context) error{r.close, r.drain, r.withdraw, func(ctx context.Context) error { return r.clean(ctx, pod) }, r.forget} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("%w: Stockade is not removed; do it again once that is mended", err)
		}
	}
	return nil
}

// close lets no more pods of the class be made.
func (r *Removal) close(ctx context.Context) error {
	err := r.client.Delete(ctx, &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: r.RuntimeClass}})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("RuntimeClass %s: %w", r.RuntimeClass, err)
	}
	r.Say(fmt.Sprintf("RuntimeClass %s: removed: no more pods of it are made", r.RuntimeClass))
	return nil
}

// await looks again and again until what is left is nothing. Its error names that.
func (r *Removal) await(ctx context.Context, look func(context.Context) (left []string, err error)) error {
	var last []string
	err := wait.PollUntilContextCancel(ctx, r.every, true, func(ctx context.Context) (bool, error) {
		left, err := look(ctx)
		last = left
		return err == nil && len(left) == 0, err
	})
	if err != nil && len(last) > 0 {
		const shown = 10
		slices.Sort(last)
		return fmt.Errorf("%s: %w", strings.Join(last[:min(len(last), shown)], ", "), err)
	}
	return err
}

// drain evicts the pods that are held, as far and as fast as their disruption budgets allow.
func (r *Removal) drain(ctx context.Context) error {
	asked := map[types.UID]bool{}
	err := r.await(ctx, func(ctx context.Context) (left []string, err error) {
		var pods corev1.PodList
		if err := r.client.List(ctx, &pods); err != nil {
			return nil, err
		}
		for i := range pods.Items {
			pod := &pods.Items[i]
			if pod.Spec.RuntimeClassName == nil || *pod.Spec.RuntimeClassName != r.RuntimeClass || plan.Ended(pod) {
				continue
			}
			left = append(left, pod.Namespace+"/"+pod.Name)
			if asked[pod.UID] {
				continue
			}
			err := r.client.SubResource("eviction").Create(ctx, pod, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace}})
			switch {
			case err == nil || apierrors.IsNotFound(err):
				asked[pod.UID] = true
			case !apierrors.IsTooManyRequests(err): // a budget: later
				return left, err
			}
		}
		return left, nil
	})
	if err != nil {
		return fmt.Errorf("pods of the RuntimeClass %s: %w", r.RuntimeClass, err)
	}
	r.Say(fmt.Sprintf("pods of the RuntimeClass %s: %d evicted, none left", r.RuntimeClass, len(asked)))
	return nil
}

// withdraw ends the agents: what they hold stays held.
func (r *Removal) withdraw(ctx context.Context) error {
	set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: r.DaemonSet, Namespace: r.Namespace}}
	err := r.client.Delete(ctx, set, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("DaemonSet %s/%s: %w", r.Namespace, r.DaemonSet, err)
	}
	err = r.await(ctx, func(ctx context.Context) (left []string, err error) {
		var pods corev1.PodList
		if err := r.client.List(ctx, &pods, client.InNamespace(r.Namespace)); err != nil {
			return nil, err
		}
		for i := range pods.Items {
			owner := metav1.GetControllerOf(&pods.Items[i])
			if owner != nil && owner.Kind == "DaemonSet" && owner.Name == r.DaemonSet {
				left = append(left, pods.Items[i].Name)
			}
		}
		return left, nil
	})
	if err != nil {
		return fmt.Errorf("pods of the DaemonSet %s/%s: %w", r.Namespace, r.DaemonSet, err)
	}
	r.Say(fmt.Sprintf("DaemonSet %s/%s: removed", r.Namespace, r.DaemonSet))
	return nil
}

// clean ends enforcement on each node that had an agent.
func (r *Removal) clean(ctx context.Context, like *corev1.Pod) error {
	var nodes v1alpha1.StockadeNodeList
	if err := r.client.List(ctx, &nodes); err != nil {
		return fmt.Errorf("nodes: %w", err)
	}
	var pods []*corev1.Pod
	for _, node := range nodes.Items {
		pod := like.DeepCopy()
		pod.Namespace, pod.Name, pod.Spec.NodeName = r.Namespace, "", node.Name
		pod.GenerateName = r.DaemonSet + "-removal-"
		if err := r.client.Create(ctx, pod); err != nil {
			return errors.Join(fmt.Errorf("node %s: %w", node.Name, err), r.discard(pods))
		}
		pods = append(pods, pod)
	}
	err := r.await(ctx, func(ctx context.Context) (left []string, err error) {
		for _, pod := range pods {
			now := &corev1.Pod{}
			if err := r.client.Get(ctx, client.ObjectKeyFromObject(pod), now); err != nil {
				return nil, fmt.Errorf("node %s: %w", pod.Spec.NodeName, err)
			}
			if now.Status.Phase == corev1.PodFailed {
				return nil, fmt.Errorf("node %s: its pod %s failed", pod.Spec.NodeName, pod.Name)
			}
			if now.Status.Phase != corev1.PodSucceeded {
				left = append(left, fmt.Sprintf("node %s (pod %s is %s)", pod.Spec.NodeName, pod.Name, now.Status.Phase))
			}
		}
		return left, nil
	})
	if err != nil {
		return fmt.Errorf("enforcement: it goes on: %w", err) // the pods stay, with their logs
	}
	r.Say(fmt.Sprintf("enforcement: ended on %d nodes", len(pods)))
	return r.discard(pods)
}

// discard removes pods, though ctx may be over by now.
func (r *Removal) discard(pods []*corev1.Pod) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var errs []error
	for _, pod := range pods {
		errs = append(errs, client.IgnoreNotFound(r.client.Delete(ctx, pod)))
	}
	return errors.Join(errs...)
}

// forget removes what nodes said of themselves.
func (r *Removal) forget(ctx context.Context) error {
	var nodes corev1.NodeList
	if err := r.client.List(ctx, &nodes, client.HasLabels{v1alpha1.LabelEnforcing}); err != nil {
		return fmt.Errorf("nodes: %w", err)
	}
	for i := range nodes.Items {
		node := &nodes.Items[i]
		before := client.MergeFrom(node.DeepCopy())
		delete(node.Labels, v1alpha1.LabelEnforcing)
		if err := client.IgnoreNotFound(r.client.Patch(ctx, node, before)); err != nil {
			return fmt.Errorf("node %s: its label: %w", node.Name, err)
		}
	}
	if err := r.client.DeleteAllOf(ctx, &v1alpha1.StockadeNode{}); err != nil {
		return fmt.Errorf("StockadeNodes: %w", err)
	}
	r.Say("StockadeNodes and labels of nodes: removed")
	return nil
}
