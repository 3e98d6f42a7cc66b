package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Mode says whether what policies do not permit is refused, or only reported.
//
// +kubebuilder:validation:Enum=Audit;Enforce
type Mode string

// The modes.
const (
	Audit   Mode = "Audit"
	Enforce Mode = "Enforce"
)

// Conditions of policies.
const (
	// Accepted: its policies compile.
	Accepted = "Accepted"
	// Enforced: all nodes that have pods of it hold all of them under it.
	Enforced = "Enforced"
)

// Rules are what a policy says, of whatever it selects.
type Rules struct {
	// Policies are Cedar policies, as text. Paths in them are those that the container sees.
	// The principal is k8s::Pod::"NAMESPACE/NAME", in k8s::ServiceAccount::"NAMESPACE/NAME",
	// k8s::Namespace::"NAME" and, of a pod that one owns, k8s::Sandbox::"NAMESPACE/NAME"; the
	// pod's labels are its tags.
	//
	// +kubebuilder:validation:MaxLength=262144
	// +optional
	Policies string `json:"policies,omitempty"`

	// Entities are the entities that the policies speak of: Cedar's JSON, as text. Types of
	// the namespace k8s are Stockade's.
	//
	// +kubebuilder:validation:MaxLength=262144
	// +optional
	Entities string `json:"entities,omitempty"`

	// Mode is Audit, which reports what would be refused, or Enforce. Of several policies
	// that select a container one that says Enforce suffices.
	//
	// +kubebuilder:default=Audit
	// +optional
	Mode Mode `json:"mode,omitempty"`

	// Handle names actions to enforce beside the default ones, for example stat.
	//
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=32
	// +kubebuilder:validation:items:Pattern=`^[a-z_]+$`
	// +listType=set
	// +optional
	Handle []string `json:"handle,omitempty"`

	// Strict refuses executable memory that no file holds, which just-in-time compilers
	// need, and judges every use of a descriptor.
	//
	// +optional
	Strict bool `json:"strict,omitempty"`
}

// AgentPolicySpec says which containers of its namespace are held, and how.
//
// +kubebuilder:validation:XValidation:rule="has(self.policies) && self.policies.matches('[^[:space:]]')",message="policies: empty: permit something, in Cedar"
type AgentPolicySpec struct {
	// PodSelector selects pods by their labels. Without it, or empty: all of the namespace.
	//
	// +optional
	PodSelector *metav1.LabelSelector `json:"podSelector,omitempty"`

	// ServiceAccounts: only pods of one of these. Empty: of any.
	//
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=set
	// +optional
	ServiceAccounts []string `json:"serviceAccounts,omitempty"`

	// Containers: only containers of one of these names, init and ephemeral ones too. Empty:
	// all of the pod.
	//
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	// +optional
	Containers []string `json:"containers,omitempty"`

	Rules `json:",inline"`
}

// PolicyStatus is what became of a policy.
type PolicyStatus struct {
	// ObservedGeneration is the generation that the rest is about.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Digest tells what the policy says from what it said before.
	//
	// +optional
	Digest string `json:"digest,omitempty"`

	// Nodes that have pods which it selects.
	//
	// +optional
	Nodes Count `json:"nodes,omitzero"`

	// Pods that it selects.
	//
	// +optional
	Pods Count `json:"pods,omitzero"`

	// Conditions are Accepted and Enforced.
	//
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Count is how many of all.
type Count struct {
	// Ready are those that hold what they should.
	Ready int32 `json:"ready"`
	// Total are all.
	Total int32 `json:"total"`
}

// AgentPolicy holds containers of its namespace under Cedar policies. Those of one container
// are united: what one permits is permitted, what one forbids is forbidden.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=agp,categories=stockade
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Enforced",type=string,JSONPath=`.status.conditions[?(@.type=="Enforced")].status`
// +kubebuilder:printcolumn:name="Ready",type=integer,JSONPath=`.status.nodes.ready`
// +kubebuilder:printcolumn:name="Nodes",type=integer,JSONPath=`.status.nodes.total`
// +kubebuilder:printcolumn:name="Pods",type=integer,JSONPath=`.status.pods.total`,priority=1
// +kubebuilder:printcolumn:name="Digest",type=string,JSONPath=`.status.digest`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AgentPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec AgentPolicySpec `json:"spec"`
	// +optional
	Status PolicyStatus `json:"status,omitzero"`
}

// AgentPolicyList is a list of them.
//
// +kubebuilder:object:root=true
type AgentPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AgentPolicy `json:"items"`
}
