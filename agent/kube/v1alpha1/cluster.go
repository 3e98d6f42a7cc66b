package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ClusterAgentPolicySpec says which pods of the cluster are held, and how.
//
// +kubebuilder:validation:XValidation:rule="self.exempt || has(self.policies) && self.policies.matches('[^[:space:]]')",message="policies: empty: say something in Cedar, or exempt the pods"
// +kubebuilder:validation:XValidation:rule="!self.exempt || !has(self.policies) && !has(self.entities) && !has(self.handle) && !self.guard && !(has(self.strict) && self.strict)",message="exempt: pods that are not held have no policies, entities, handle, guard or strict: leave out one of the two"
// +kubebuilder:validation:XValidation:rule="!self.guard || !has(self.handle) && !(has(self.strict) && self.strict)",message="guard: what other policies select is held as these say: leave out handle and strict"
type ClusterAgentPolicySpec struct {
	// NamespaceSelector selects namespaces by their labels; {} is all of them.
	NamespaceSelector metav1.LabelSelector `json:"namespaceSelector"`

	// PodSelector selects pods of them by their labels. Without it, or empty: all.
	//
	// +optional
	PodSelector *metav1.LabelSelector `json:"podSelector,omitempty"`

	// Exempt: the pods start, and are not held, whatever other policies say.
	//
	// +kubebuilder:default=false
	// +optional
	Exempt bool `json:"exempt"`

	// Guard: its policies, which only forbid, hold for those of the pods that another policy
	// selects. It selects none by itself, and does not change whether they are enforced; in
	// mode Audit what it alone forbids is only reported.
	//
	// +kubebuilder:default=false
	// +optional
	Guard bool `json:"guard"`

	Rules `json:",inline"`
}

// ClusterAgentPolicy holds pods of many namespaces under Cedar policies, beside the policies
// of these: what it forbids nobody there can permit.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=cagp,categories=stockade
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name="Guard",type=boolean,JSONPath=`.spec.guard`
// +kubebuilder:printcolumn:name="Exempt",type=boolean,JSONPath=`.spec.exempt`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Enforced",type=string,JSONPath=`.status.conditions[?(@.type=="Enforced")].status`
// +kubebuilder:printcolumn:name="Ready",type=integer,JSONPath=`.status.nodes.ready`
// +kubebuilder:printcolumn:name="Nodes",type=integer,JSONPath=`.status.nodes.total`
// +kubebuilder:printcolumn:name="Pods",type=integer,JSONPath=`.status.pods.total`,priority=1
// +kubebuilder:printcolumn:name="Digest",type=string,JSONPath=`.status.digest`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ClusterAgentPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec ClusterAgentPolicySpec `json:"spec"`
	// +optional
	Status PolicyStatus `json:"status,omitzero"`
}

// ClusterAgentPolicyList is a list of them.
//
// +kubebuilder:object:root=true
type ClusterAgentPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ClusterAgentPolicy `json:"items"`
}
