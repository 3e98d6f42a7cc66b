package kube

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/kube/plan"
	"github.com/stockade-dev/stockade/agent/kube/v1alpha1"
)

// NodeOptions say for which node, and where its agent is.
type NodeOptions struct {
	Node string
	// Dir is the folder that the agent's `containers_from` is in, the same path for both;
	// Socket is the agent's.
	Dir, Socket string
	Version     string
	// Metrics and Probes are addresses to listen at, "0" for none.
	Metrics, Probes string
	// Every is how often the status is written at most; 0 is each 10 s.
	Every time.Duration
}

// How often a node writes its status: at most, and if nothing changed.
const (
	statusEvery = 10 * time.Second
	statusSeen  = time.Minute
)

// node is the part of a node.
type node struct {
	NodeOptions
	client client.Client
	agent  *api.Client
	folder folder
	plans  *plan.Planner
	every  time.Duration

	mu      sync.Mutex
	written *plan.Plan // what the folder holds
	failed  error      // why it does not hold what it should
}

// RunNode does what there is to do on a node until ctx ends. While the cluster's API is away
// the folder stays as it is.
func RunNode(ctx context.Context, cfg *rest.Config, o NodeOptions) error {
	m, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: scheme, Controller: several, Metrics: metricsserver.Options{BindAddress: o.Metrics}, HealthProbeBindAddress: o.Probes,
		Cache: cache.Options{DefaultTransform: slim, ByObject: map[client.Object]cache.ByObject{
			&corev1.Pod{}:            {Field: fields.OneTermEqualSelector("spec.nodeName", o.Node)},
			&corev1.Node{}:           {Field: fields.OneTermEqualSelector("metadata.name", o.Node)},
			&v1alpha1.StockadeNode{}: {Field: fields.OneTermEqualSelector("metadata.name", o.Node)},
		}},
	})
	if err != nil {
		return fmt.Errorf("cluster: %w: nothing is done; check the address and the certificate", err)
	}
	n := &node{NodeOptions: o, client: m.GetClient(), agent: api.NewClient(o.Socket), folder: folder{dir: o.Dir},
		plans: plan.New(o.Dir), every: cmp.Or(o.Every, statusEvery)}
	if err := n.join(m); err != nil {
		return err
	}
	return m.Start(ctx)
}

// join adds to a manager what is done.
func (n *node) join(m manager.Manager) error {
	one := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: n.Node}}}
	})
	said := builder.WithPredicates(predicate.GenerationChangedPredicate{}) // statuses change often, and say nothing new
	err := builder.ControllerManagedBy(m).Named("node").
		WithOptions(controller.Options{MaxConcurrentReconciles: 1}).
		Watches(&corev1.Pod{}, one).Watches(&corev1.Namespace{}, one).
		Watches(&v1alpha1.AgentPolicy{}, one, said).Watches(&v1alpha1.ClusterAgentPolicy{}, one, said).
		Complete(n)
	if err != nil {
		return err
	}
	for _, run := range []func(context.Context) error{n.tell, n.denials} {
		if err := m.Add(manager.RunnableFunc(run)); err != nil {
			return err
		}
	}
	if err := m.AddHealthzCheck("alive", func(*http.Request) error { return nil }); err != nil {
		return err
	}
	return m.AddReadyzCheck("written", func(*http.Request) error {
		if p, failed := n.now(); p == nil || failed != nil {
			return fmt.Errorf("folder %s: nothing was written yet, or not all (%v)", n.Dir, failed)
		}
		return nil
	})
}

// now returns what the folder holds, nil before it was first written.
func (n *node) now() (*plan.Plan, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.written, n.failed
}

// Reconcile makes the folder hold what the cluster says.
func (n *node) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	s, err := stateOf(ctx, n.client)
	if err != nil {
		return reconcile.Result{}, err
	}
	p := n.plans.Plan(s)
	changed, err := n.folder.write(p.Files)
	n.mu.Lock()
	n.failed = err
	if err == nil {
		n.written = p
	}
	n.mu.Unlock()
	if changed {
		ctrl.LoggerFrom(ctx).Info("written", "files", len(p.Files), "containers", len(p.Containers))
	}
	return reconcile.Result{}, err
}

// stateOf reads what a client knows of its cluster, or of a node of it.
func stateOf(ctx context.Context, from client.Client) (s plan.State, err error) {
	var pods corev1.PodList
	var namespaces corev1.NamespaceList
	var own v1alpha1.AgentPolicyList
	var all v1alpha1.ClusterAgentPolicyList
	for _, list := range []client.ObjectList{&pods, &namespaces, &own, &all} {
		if err := from.List(ctx, list); err != nil {
			return s, err
		}
	}
	return plan.State{Pods: pods.Items, Namespaces: namespaces.Items, Policies: own.Items, ClusterPolicies: all.Items}, nil
}
