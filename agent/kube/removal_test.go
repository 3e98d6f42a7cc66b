package kube

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/stockade-dev/stockade/agent/kube/v1alpha1"
)

// removed is a cluster out of which Stockade is taken. What of it tests look at is noted in
// the order in which it was done.
type removed struct {
	client.WithWatch
	done    []string
	budget  int             // evictions that are refused first
	outcome corev1.PodPhase // of the pods that end enforcement
}

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }

func newRemoved(t *testing.T) *removed {
	t.Helper()
	class := "stockade"
	in := func(name string, class *string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "agents", UID: types.UID(name)}, Spec: corev1.PodSpec{RuntimeClassName: class}}
	}
	over := in("over", &class)
	over.Status.Phase = corev1.PodSucceeded
	node := func(name string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{v1alpha1.LabelEnforcing: "true", "other": "x"}}}
	}
	c := &removed{outcome: corev1.PodSucceeded}
	c.WithWatch = fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&corev1.Pod{}).WithObjects(
		&nodev1.RuntimeClass{ObjectMeta: named("stockade")}, in("held", &class), in("free", nil), over,
		&appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "s-node", Namespace: "sys"}},
		node("n1"), node("n2"), &v1alpha1.StockadeNode{ObjectMeta: named("n1")}, &v1alpha1.StockadeNode{ObjectMeta: named("n2")},
	).WithInterceptorFuncs(interceptor.Funcs{
		SubResourceCreate: func(ctx context.Context, under client.Client, sub string, o client.Object, body client.Object, opts ...client.SubResourceCreateOption) error {
			if c.budget > 0 {
				c.budget--
				return apierrors.NewTooManyRequests("a budget", 1)
			}
			c.note(sub, o)
			return under.SubResource(sub).Create(ctx, o, body, opts...)
		},
		Delete: func(ctx context.Context, under client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			c.note("delete", o)
			return under.Delete(ctx, o, opts...)
		},
		Create: func(ctx context.Context, under client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if err := under.Create(ctx, o, opts...); err != nil {
				return err
			}
			pod := o.(*corev1.Pod)
			c.done = append(c.done, "pod on "+pod.Spec.NodeName)
			pod.Status.Phase = c.outcome
			return under.Status().Update(ctx, pod)
		},
	}).Build()
	return c
}

func (c *removed) note(what string, o client.Object) {
	name := o.GetName()
	if strings.HasPrefix(name, "s-node-removal-") {
		name = "of a removal"
	}
	c.done = append(c.done, fmt.Sprintf("%s %s", what, name))
}

func (c *removed) remove(t *testing.T) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r := &Removal{client: c, RuntimeClass: "stockade", Namespace: "sys", DaemonSet: "s-node",
		Pod: []byte("spec: {containers: [{name: a, image: i}]}"), Say: func(string) {}, every: time.Millisecond}
	return r.do(ctx)
}

func TestWhatIsHeldEndsBeforeWhatHoldsIt(t *testing.T) {
	c := newRemoved(t)
	c.budget = 3
	if err := c.remove(t); err != nil {
		t.Fatal(err)
	}
	want := "delete stockade, eviction held, delete s-node, pod on n1, pod on n2, delete of a removal, delete of a removal"
	if got := strings.Join(c.done, ", "); got != want {
		t.Errorf("done: %s\nwant: %s", got, want)
	}
	ctx := context.Background()
	var pods corev1.PodList
	var nodes corev1.NodeList
	var told v1alpha1.StockadeNodeList
	if err := c.List(ctx, &pods); err != nil || len(pods.Items) != 2 { // free and over
		t.Errorf("%v: pods %+v", err, pods.Items)
	}
	if err := c.List(ctx, &nodes); err != nil || fmt.Sprint(nodes.Items[0].Labels, nodes.Items[1].Labels) != "map[other:x] map[other:x]" {
		t.Errorf("%v: nodes %+v", err, nodes.Items)
	}
	if err := c.List(ctx, &told); err != nil || len(told.Items) > 0 {
		t.Errorf("%v: %+v", err, told.Items)
	}
	if err := c.remove(t); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

func TestARemovalThatCannotBeDoneSaysWhatIsLeft(t *testing.T) {
	c := newRemoved(t)
	c.budget = 1 << 30
	if err := c.remove(t); err == nil || !strings.Contains(err.Error(), "agents/held") || !strings.Contains(err.Error(), "not removed") {
		t.Errorf("a budget that allows none: %v", err)
	}
	if got := strings.Join(c.done, ", "); got != "delete stockade" {
		t.Errorf("done: %s", got)
	}
	c = newRemoved(t)
	c.outcome = corev1.PodFailed
	if err := c.remove(t); err == nil || !strings.Contains(err.Error(), "enforcement: it goes on: node n1: its pod") {
		t.Errorf("a node on which it fails: %v", err)
	}
	if err := (&Removal{client: c, Pod: []byte("nonsense: 1"), Say: func(string) {}}).do(context.Background()); err == nil || !strings.Contains(err.Error(), "nothing was removed") {
		t.Errorf("no pod: %v", err)
	}
}
