package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/stockade-dev/stockade/agent/kube/plan"
	"github.com/stockade-dev/stockade/agent/kube/v1alpha1"
)

// How often statuses are written at most; how often all are looked at, for nodes that fell
// silent; and after how long one has.
const (
	sumEvery  = 2 * time.Second
	sumAgain  = time.Minute
	sumSilent = 3 * statusSeen
)

// summary writes the statuses of policies, from what nodes tell.
type summary struct {
	client  client.Client
	last    time.Time
	checked map[string]verdict // by policy and digest
}

// verdict is the compiler's.
type verdict struct{ err error }

func (s *summary) join(m manager.Manager) error {
	one := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{}}
	})
	said := builder.WithPredicates(predicate.GenerationChangedPredicate{}) // what it writes itself is no news
	return builder.ControllerManagedBy(m).Named("summary").WithOptions(controller.Options{MaxConcurrentReconciles: 1}).
		Watches(&corev1.Pod{}, one).Watches(&corev1.Namespace{}, one).Watches(&v1alpha1.StockadeNode{}, one).
		Watches(&v1alpha1.AgentPolicy{}, one, said).Watches(&v1alpha1.ClusterAgentPolicy{}, one, said).
		Complete(s)
}

// Reconcile brings all statuses up to date.
func (s *summary) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	if wait := sumEvery - time.Since(s.last); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	s.last = time.Now()
	state, err := stateOf(ctx, s.client)
	var nodes v1alpha1.StockadeNodeList
	if err = errors.Join(err, s.client.List(ctx, &nodes)); err != nil {
		return reconcile.Result{}, err
	}
	selected, now := plan.Select(state), map[string]verdict{}
	var errs []error
	for _, one := range subjects(&state) {
		key := one.ref.String() + " " + one.digest
		v, known := s.checked[key]
		if !known {
			_, v.err = check(one.object)
		}
		now[key] = v
		is := one.sum(v.err, nodes.Items, selected[one.ref])
		errs = append(errs, s.write(ctx, one, is))
	}
	s.checked = now
	return reconcile.Result{RequeueAfter: sumAgain}, errors.Join(errs...)
}

// write writes a status, if it is another.
func (s *summary) write(ctx context.Context, one *subject, is *v1alpha1.PolicyStatus) error {
	if equality.Semantic.DeepEqual(one.status, is) {
		return nil
	}
	was, _ := one.object.DeepCopyObject().(client.Object)
	*one.status = *is
	return client.IgnoreNotFound(s.client.Status().Patch(ctx, one.object, client.MergeFrom(was)))
}

// subject is a policy of either kind.
type subject struct {
	object client.Object
	ref    plan.Ref
	digest string
	mode   v1alpha1.Mode
	exempt bool
	status *v1alpha1.PolicyStatus
}

func subjects(state *plan.State) (list []*subject) {
	for i := range state.Policies {
		p := &state.Policies[i]
		list = append(list, &subject{p, plan.Ref{Namespace: p.Namespace, Name: p.Name}, plan.DigestOf(p.Spec), p.Spec.Mode, false, &p.Status})
	}
	for i := range state.ClusterPolicies {
		p := &state.ClusterPolicies[i]
		list = append(list, &subject{p, plan.Ref{Name: p.Name}, plan.DigestOf(p.Spec), p.Spec.Mode, p.Spec.Exempt, &p.Status})
	}
	return list
}

// sum makes the status of a policy that has some pods, from what nodes tell of it.
func (one *subject) sum(wrong error, nodes []v1alpha1.StockadeNode, pods []*corev1.Pod) *v1alpha1.PolicyStatus {
	is := one.status.DeepCopy()
	is.ObservedGeneration, is.Digest = one.object.GetGeneration(), one.digest
	is.Nodes, is.Pods = v1alpha1.Count{}, v1alpha1.Count{Total: int32(len(pods))}
	on := map[string]int32{}
	for _, pod := range pods {
		if pod.Spec.NodeName != "" {
			on[pod.Spec.NodeName]++
		}
	}
	is.Nodes.Total = int32(len(on))
	lacks := ""
	for _, name := range slices.Sorted(maps.Keys(on)) {
		ready, why := one.on(name, nodes)
		is.Pods.Ready += min(ready, on[name])
		if why == "" && ready < on[name] {
			why = "the node does not know all pods yet"
		}
		if why == "" {
			is.Nodes.Ready++
		} else if lacks == "" {
			lacks = "node " + name + ": " + why
		}
	}
	accepted := metav1.Condition{Type: v1alpha1.Accepted, Status: metav1.ConditionTrue, Reason: "Compiles", Message: "digest " + one.digest, ObservedGeneration: is.ObservedGeneration}
	if wrong != nil {
		accepted.Status, accepted.Reason, accepted.Message = metav1.ConditionFalse, "Refused", shorten(wrong.Error())
	}
	enforced := metav1.Condition{Type: v1alpha1.Enforced, Status: metav1.ConditionFalse, ObservedGeneration: is.ObservedGeneration,
		Message: fmt.Sprintf("%d of %d nodes hold all pods of it under digest %s", is.Nodes.Ready, is.Nodes.Total, one.digest)}
	switch {
	case wrong != nil:
		enforced.Reason, enforced.Message = "Refused", "its pods do not start"
	case one.exempt:
		enforced.Reason, enforced.Message = "Exempt", "its pods start, and are not held"
	case len(pods) == 0:
		enforced.Reason, enforced.Message = "NoPods", "it selects no pod"
	case lacks != "":
		enforced.Reason, enforced.Message = "Incomplete", shorten(enforced.Message+"; "+lacks)
	case is.Nodes.Total == 0:
		enforced.Reason, enforced.Message = "Unscheduled", "no pod of it is on a node"
	case one.mode != v1alpha1.Enforce:
		enforced.Reason, enforced.Message = "Audit", enforced.Message+"; its mode is Audit: where no other policy of a container says Enforce, what it does not permit is only reported"
	default:
		enforced.Status, enforced.Reason = metav1.ConditionTrue, "Held"
	}
	meta.SetStatusCondition(&is.Conditions, accepted)
	meta.SetStatusCondition(&is.Conditions, enforced)
	return is
}

// on returns how many pods of the policy a node holds, and what is wrong there.
func (one *subject) on(name string, nodes []v1alpha1.StockadeNode) (ready int32, why string) {
	i := slices.IndexFunc(nodes, func(n v1alpha1.StockadeNode) bool { return n.Name == name })
	if i < 0 {
		return 0, "no agent was heard of"
	}
	is := &nodes[i].Status
	if silent := time.Since(is.Seen.Time); silent > sumSilent {
		return 0, fmt.Sprintf("not heard of since %s", is.Seen.UTC().Format(time.RFC3339))
	}
	if !is.Ready {
		return 0, is.Message
	}
	for _, p := range is.Policies {
		switch {
		case p.Namespace != one.ref.Namespace || p.Name != one.ref.Name:
		case p.Digest != one.digest:
			return 0, "it has not taken the policy as it is now"
		case p.Pods.Ready < p.Pods.Total:
			return p.Pods.Ready, p.Message
		default:
			return p.Pods.Ready, ""
		}
	}
	return 0, "it has not taken the policy yet"
}
