package plan

import (
	"cmp"
	"regexp"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	corev1 "k8s.io/api/core/v1"
)

// Types of the entities that pods come with. Policies may bring none of this namespace.
const (
	reserved       = "k8s::"
	typePod        = reserved + "Pod"
	typeAccount    = reserved + "ServiceAccount"
	typeNamespace  = reserved + "Namespace"
	typeSandbox    = reserved + "Sandbox"
	sandboxGroup   = "agents.x-k8s.io"
	sandboxKind    = "Sandbox"
	mirrorOf       = corev1.MirrorPodAnnotationKey
	staticHash     = "kubernetes.io/config.hash"
	defaultAccount = "default"
)

// PrincipalOf is the principal of a pod, as Cedar text.
func PrincipalOf(namespace, pod string) string { return podUID(namespace, pod).String() }

func podUID(namespace, pod string) types.EntityUID {
	return types.NewEntityUID(typePod, types.String(namespace+"/"+pod))
}

// validHash is what the kubelet writes.
var validHash = regexp.MustCompile(`^[0-9a-f]{32,64}$`)

// UIDOf is the uid of a pod as its containers' runtime has it. A static pod has one of its own,
// which is not that of the mirror that the API shows.
func UIDOf(pod *corev1.Pod) string {
	if _, mirror := pod.Annotations[mirrorOf]; mirror {
		if hash := pod.Annotations[staticHash]; validHash.MatchString(hash) { // whoever made the mirror wrote it
			return hash
		}
	}
	return string(pod.UID)
}

// principal returns the entities of a pod: itself, and what it is in. Of each type there is
// one more, which nothing is: it shows that a type exists and has tags, so that what is valid
// does not hang on labels and owners.
func principal(pod *corev1.Pod, namespace *corev1.Namespace) types.EntityMap {
	data := types.EntityMap{}
	add := func(uid types.EntityUID, tags map[string]string, parents ...types.EntityUID) types.EntityUID {
		m := types.RecordMap{}
		for key, value := range tags {
			m[types.String(key)] = types.String(value)
		}
		data[uid] = types.Entity{UID: uid, Parents: types.NewEntityUIDSet(parents...), Tags: types.NewRecord(m)}
		return uid
	}
	for _, t := range []types.EntityType{typePod, typeAccount, typeNamespace, typeSandbox} {
		add(types.NewEntityUID(t, ""), map[string]string{"": ""})
	}
	in := func(t types.EntityType, name string) types.EntityUID {
		return types.NewEntityUID(t, types.String(pod.Namespace+"/"+name))
	}
	space := add(types.NewEntityUID(typeNamespace, types.String(pod.Namespace)), namespace.Labels)
	parents := []types.EntityUID{space, add(in(typeAccount, accountOf(pod)), nil, space)}
	for _, owner := range pod.OwnerReferences {
		group, _, _ := strings.Cut(owner.APIVersion, "/")
		if group == sandboxGroup && owner.Kind == sandboxKind && owner.Controller != nil && *owner.Controller {
			parents = append(parents, add(in(typeSandbox, owner.Name), nil, space))
		}
	}
	add(podUID(pod.Namespace, pod.Name), pod.Labels, parents...)
	return data
}

func accountOf(pod *corev1.Pod) string {
	return cmp.Or(pod.Spec.ServiceAccountName, defaultAccount)
}

// containersOf names all containers of a pod.
func containersOf(pod *corev1.Pod) (names []string) {
	for _, c := range pod.Spec.InitContainers {
		names = append(names, c.Name)
	}
	for _, c := range pod.Spec.Containers {
		names = append(names, c.Name)
	}
	for _, c := range pod.Spec.EphemeralContainers {
		names = append(names, c.Name)
	}
	return names
}
