package kube

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/stockade-dev/stockade/agent/kube/plan"
	"github.com/stockade-dev/stockade/agent/kube/v1alpha1"
)

// judge refuses policies that do not compile, with the place of each mistake.
type judge[T runtime.Object] struct{}

// ValidateCreate judges a policy.
func (judge[T]) ValidateCreate(_ context.Context, object T) (admission.Warnings, error) {
	warnings, err := check(object)
	if err != nil {
		return nil, fmt.Errorf("the policy is refused:\n%w", err)
	}
	return warnings, nil
}

// ValidateUpdate judges what a policy says from now on. Where it says what it said, labels and
// the like may change, whatever it says.
func (j judge[T]) ValidateUpdate(ctx context.Context, old, object T) (admission.Warnings, error) {
	if equality.Semantic.DeepEqual(specOf(old), specOf(object)) {
		return nil, nil
	}
	return j.ValidateCreate(ctx, object)
}

// ValidateDelete lets all go.
func (judge[T]) ValidateDelete(context.Context, T) (admission.Warnings, error) { return nil, nil }

func check(object runtime.Object) ([]string, error) {
	switch p := object.(type) {
	case *v1alpha1.AgentPolicy:
		return plan.Check(p)
	case *v1alpha1.ClusterAgentPolicy:
		return plan.CheckCluster(p)
	}
	return nil, fmt.Errorf("%T: no policy", object)
}

func specOf(object runtime.Object) any {
	switch p := object.(type) {
	case *v1alpha1.AgentPolicy:
		return &p.Spec
	case *v1alpha1.ClusterAgentPolicy:
		return &p.Spec
	}
	return nil
}
