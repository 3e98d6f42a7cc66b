package kube

import (
	"context"
	"fmt"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/stockade-dev/stockade/agent/kube/plan"
	"github.com/stockade-dev/stockade/agent/kube/v1alpha1"
)

// judgePath is where the API server asks about policies.
const judgePath = "/validate"

// judge refuses policies that do not compile, with the place of each mistake. What says the
// same as before may change otherwise, whatever it says.
type judge struct {
	decoder admission.Decoder
	turn    chan struct{} // one at a time: a policy may take seconds, and hundreds of MiB
}

// largest is the most bytes that a policy of the API has, its status and all: who asks may be
// somebody else.
const largest = 1 << 20

func newJudge() judge { return judge{admission.NewDecoder(scheme), make(chan struct{}, 1)} }

// Handle answers the API server.
func (j judge) Handle(ctx context.Context, r admission.Request) admission.Response {
	if len(r.Object.Raw) > largest {
		return admission.Errored(http.StatusRequestEntityTooLarge, fmt.Errorf("object: more than %d bytes: it is refused", largest))
	}
	select {
	case j.turn <- struct{}{}:
		defer func() { <-j.turn }()
	case <-ctx.Done():
		return admission.Errored(http.StatusServiceUnavailable, ctx.Err())
	}
	object, old, err := j.decode(r)
	if err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if old != nil && equality.Semantic.DeepEqual(specOf(old), specOf(object)) {
		return admission.Allowed("")
	}
	warnings, err := check(object)
	if err != nil {
		return admission.Denied(err.Error())
	}
	return admission.Allowed("").WithWarnings(warnings...)
}

// decode reads what is asked about, and of a change what it was; nil if there was nothing.
func (j judge) decode(r admission.Request) (object, old runtime.Object, err error) {
	kind := func() runtime.Object {
		if r.Kind.Kind == "ClusterAgentPolicy" {
			return &v1alpha1.ClusterAgentPolicy{}
		}
		return &v1alpha1.AgentPolicy{}
	}
	object = kind()
	if r.Kind.Group != v1alpha1.GroupVersion.Group {
		return nil, nil, fmt.Errorf("%s: not of %s: nothing is judged", r.Kind.Kind, v1alpha1.GroupVersion.Group)
	}
	if err = j.decoder.Decode(r, object); err == nil && r.Operation == admissionv1.Update {
		old = kind()
		err = j.decoder.DecodeRaw(r.OldObject, old)
	}
	return object, old, err
}

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
