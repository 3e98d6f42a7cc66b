// Package kube is the part of Stockade that knows of Kubernetes. On each node it writes what
// the cluster's policies say into a folder that the agent watches, and tells the cluster what
// the agent holds; once in the cluster it judges policies as they are made and sums up what
// nodes tell. No decision of the kernel waits for it.
package kube

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"

	"github.com/stockade-dev/stockade/agent/kube/v1alpha1"
)

// scheme has the kinds that are spoken of.
var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(corev1.AddToScheme(s))
	utilruntime.Must(eventsv1.AddToScheme(s))
	utilruntime.Must(appsv1.AddToScheme(s))
	utilruntime.Must(nodev1.AddToScheme(s))
	utilruntime.Must(policyv1.AddToScheme(s))
	utilruntime.Must(v1alpha1.AddToScheme(s))
	return s
}()

// several managers may be in one process, one after the other.
var several = config.Controller{SkipNameValidation: new(true)}

// slim drops from what is kept in memory what nobody here reads.
func slim(in any) (any, error) {
	object, ok := in.(client.Object)
	if !ok {
		return in, nil
	}
	object.SetManagedFields(nil)
	if pod, ok := object.(*corev1.Pod); ok {
		slimPod(pod)
	}
	return in, nil
}

// slimPod leaves of a pod who it is, what it is of, and what its containers are called and do.
func slimPod(pod *corev1.Pod) {
	names := func(list []corev1.Container) (out []corev1.Container) {
		for _, c := range list {
			out = append(out, corev1.Container{Name: c.Name})
		}
		return out
	}
	spec := corev1.PodSpec{
		NodeName: pod.Spec.NodeName, ServiceAccountName: pod.Spec.ServiceAccountName, RuntimeClassName: pod.Spec.RuntimeClassName,
		InitContainers: names(pod.Spec.InitContainers), Containers: names(pod.Spec.Containers),
	}
	for _, c := range pod.Spec.EphemeralContainers {
		spec.EphemeralContainers = append(spec.EphemeralContainers, corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: c.Name}})
	}
	pod.Spec = spec
}

// ownedBy is the reference of what goes when a node goes.
func ownedBy(node *corev1.Node) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}}
}
