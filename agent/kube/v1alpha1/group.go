// Package v1alpha1 has the kinds of the API group stockade.dev/v1alpha1. Comments on fields
// are what `kubectl explain` shows.
//
// +kubebuilder:object:generate=true
// +groupName=stockade.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

//go:generate go tool controller-gen object paths=. crd output:crd:dir=../../../scripts/deploy/kubernetes/chart/crds

// GroupVersion is the group with its version.
var GroupVersion = schema.GroupVersion{Group: "stockade.dev", Version: "v1alpha1"}

// AddToScheme makes the kinds known to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&AgentPolicy{}, &AgentPolicyList{},
		&ClusterAgentPolicy{}, &ClusterAgentPolicyList{},
		&StockadeNode{}, &StockadeNodeList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
