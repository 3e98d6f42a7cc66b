package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// LabelEnforcing is the label of a node on which an agent holds what it should: "true".
const LabelEnforcing = "stockade.dev/enforcing"

// MaxNodePods bounds the pods that a node tells of one by one.
const MaxNodePods = 512

// StockadeNodeStatus is what is held on a node.
type StockadeNodeStatus struct {
	// Ready: the agent answers, and has taken what was last written for it.
	Ready bool `json:"ready"`

	// Message is why it is not.
	//
	// +optional
	Message string `json:"message,omitempty"`

	// Seen is when the node last said this: a minute ago at most, while it lives.
	Seen metav1.Time `json:"seen"`

	// Version is that of stockade-kube, KernelSide identifies the programs in the kernel.
	//
	// +optional
	Version string `json:"version,omitempty"`
	// +optional
	KernelSide string `json:"kernelSide,omitempty"`

	// Policies are those that select pods of the node.
	//
	// +listType=atomic
	// +optional
	Policies []NodePolicy `json:"policies,omitempty"`

	// Pods are those that a policy selects, by namespace and name, as many as there is room
	// for (512).
	//
	// +listType=atomic
	// +optional
	Pods []NodePod `json:"pods,omitempty"`
}

// NodePolicy is a policy on a node.
type NodePolicy struct {
	// Namespace is "" of a ClusterAgentPolicy.
	//
	// +optional
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// Digest is that of the policy as the node has it.
	Digest string `json:"digest"`
	// Pods that it selects; those are ready whose running containers are all held so.
	Pods Count `json:"pods"`
	// Message is what is wrong.
	//
	// +optional
	Message string `json:"message,omitempty"`
}

// NodePod is a pod on a node.
type NodePod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	// Containers are those that run.
	//
	// +listType=atomic
	// +optional
	Containers []NodeContainer `json:"containers,omitempty"`
	// Message is why some do not start, or are not held.
	//
	// +optional
	Message string `json:"message,omitempty"`
}

// NodeContainer is a container that is held.
type NodeContainer struct {
	Name string `json:"name"`
	// Mode is enforce, audit or lockdown.
	Mode string `json:"mode"`
	// Digest is that of the policies that hold now, as the agent's events have it.
	Digest string `json:"digest"`
	// Current: these are the policies that it should have.
	Current bool `json:"current"`
}

// StockadeNode tells what is held on the node of its name, whose it is.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,path=stockadenodes,shortName=sn,categories=stockade
// +kubebuilder:printcolumn:name="Ready",type=boolean,JSONPath=`.status.ready`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.version`
// +kubebuilder:printcolumn:name="Seen",type=date,JSONPath=`.status.seen`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.message`
type StockadeNode struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Status StockadeNodeStatus `json:"status,omitzero"`
}

// StockadeNodeList is a list of them.
//
// +kubebuilder:object:root=true
type StockadeNodeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []StockadeNode `json:"items"`
}
