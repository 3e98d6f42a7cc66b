package plan

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/stockade-dev/stockade/agent/kube/v1alpha1"
	"github.com/stockade-dev/stockade/agent/policies"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// policy is one of either kind.
type policy struct {
	ref                  Ref
	digest               string
	rules                *v1alpha1.Rules
	pods, spaces         labels.Selector // nil spaces: its own namespace
	accounts, containers []string
	guard, exempt        bool
	malformed            error // of its selectors: then it selects all that it could

	// What check leaves.
	source   compiler.Source // its ids and modes set, its name in the folder
	entities types.EntityMap
	handled  abi.ActionMask
	problem  error
}

func ofNamespace(p *v1alpha1.AgentPolicy) *policy {
	out := &policy{ref: Ref{p.Namespace, p.Name}, digest: DigestOf(p.Spec), rules: &p.Spec.Rules, accounts: p.Spec.ServiceAccounts, containers: p.Spec.Containers}
	out.pods = out.selector("podSelector", p.Spec.PodSelector)
	return out
}

func ofCluster(p *v1alpha1.ClusterAgentPolicy) *policy {
	out := &policy{ref: Ref{"", p.Name}, digest: DigestOf(p.Spec), rules: &p.Spec.Rules, guard: p.Spec.Guard, exempt: p.Spec.Exempt}
	out.pods = out.selector("podSelector", p.Spec.PodSelector)
	out.spaces = out.selector("namespaceSelector", &p.Spec.NamespaceSelector)
	return out
}

// DigestOf tells what a policy says from what it said before.
func DigestOf(spec any) string {
	text, err := json.Marshal(spec)
	if err != nil {
		panic(err) // plain data
	}
	return sum(text)
}

// selector reads one. Without one it selects all.
func (p *policy) selector(field string, s *metav1.LabelSelector) labels.Selector {
	if s == nil {
		return labels.Everything()
	}
	out, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		p.malformed = errors.Join(p.malformed, fmt.Errorf("%s: %w: whatever it could select does not start; correct it", field, err))
		return labels.Everything()
	}
	return out
}

// selects reports whether the policy is about a container. What cannot be told is selected,
// for it does not start then.
func (p *policy) selects(pod *corev1.Pod, namespace *corev1.Namespace, container string) bool {
	switch {
	case p.spaces == nil && p.ref.Namespace != pod.Namespace,
		p.spaces != nil && namespace != nil && !p.spaces.Matches(labels.Set(namespace.Labels)),
		len(p.accounts) > 0 && !slices.Contains(p.accounts, accountOf(pod)),
		len(p.containers) > 0 && !slices.Contains(p.containers, container):
		return false
	}
	return p.pods.Matches(labels.Set(pod.Labels))
}

// Select lists the pods that each policy selects, guards only those that another does, too.
func Select(s State) map[Ref][]*corev1.Pod {
	var all []*policy
	for i := range s.Policies {
		all = append(all, ofNamespace(&s.Policies[i]))
	}
	for i := range s.ClusterPolicies {
		all = append(all, ofCluster(&s.ClusterPolicies[i]))
	}
	namespaces := map[string]*corev1.Namespace{}
	for i := range s.Namespaces {
		namespaces[s.Namespaces[i].Name] = &s.Namespaces[i]
	}
	out := map[Ref][]*corev1.Pod{}
	for i := range s.Pods {
		pod := &s.Pods[i]
		if Ended(pod) {
			continue
		}
		var some []*policy
		for _, p := range all {
			if slices.ContainsFunc(containersOf(pod), func(name string) bool { return p.selects(pod, namespaces[pod.Namespace], name) }) {
				some = append(some, p)
			}
		}
		if !slices.ContainsFunc(some, holds) {
			continue
		}
		for _, p := range some {
			out[p.ref] = append(out[p.ref], pod)
		}
	}
	return out
}

// holds: a guard alone selects nobody.
func holds(p *policy) bool { return !p.guard }

// Ended: nothing of the pod runs or starts any more.
func Ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// Check says what is wrong with an AgentPolicy: its error has a line for each mistake, which
// begins with field:line:column. Warnings are about what may not do what it seems to.
func Check(p *v1alpha1.AgentPolicy) (warnings []string, err error) { return ofNamespace(p).check() }

// CheckCluster is Check for a ClusterAgentPolicy.
func CheckCluster(p *v1alpha1.ClusterAgentPolicy) (warnings []string, err error) {
	return ofCluster(p).check()
}

// Names under which errors tell of the parts of a policy.
const (
	fieldPolicies = "policies"
	fieldEntities = "entities"
)

// check checks the policy for a pod as it may be, and prepares what templates need of it.
func (p *policy) check() (warnings []string, err error) {
	if p.malformed != nil || p.exempt {
		return nil, p.malformed
	}
	if p.handled, err = handled(p.rules.Handle); err != nil {
		return nil, err
	}
	in := compiler.Input{Handled: abi.DefaultActions | p.handled, EntitiesName: fieldEntities}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: cmp.Or(p.ref.Namespace, "namespace"), Name: "pod"}}
	in.Principal = PrincipalOf(pod.Namespace, pod.Name)
	if err := p.readEntities(in); err != nil {
		return nil, err
	}
	data := principal(pod, &corev1.Namespace{})
	if err := unite(data, p); err != nil {
		return nil, err
	}
	if in.Entities, err = data.MarshalJSON(); err != nil {
		return nil, fmt.Errorf("%s: %w: nothing is compiled", fieldEntities, err)
	}
	source := compiler.Source{Name: fieldPolicies, Text: []byte(p.rules.Policies)}
	in.Sources = []compiler.Source{source}
	if err := policies.AddBaseline(&in, baseline); err != nil {
		return nil, err
	}
	plan, err := compiler.Compile(in)
	if err != nil {
		return nil, err
	}
	if p.guard {
		err = onlyForbids(plan)
	}
	if err == nil {
		p.source, err = compiler.Annotate(source, p.annotations)
	}
	p.source.Name = p.fileName()
	return slices.Concat(plan.Warnings, plan.Container.Warnings), err
}

// readEntities reads those of the policy, for errors in its own text.
func (p *policy) readEntities(in compiler.Input) error {
	p.entities = types.EntityMap{}
	if strings.TrimSpace(p.rules.Entities) == "" {
		return nil
	}
	in.Entities = []byte(p.rules.Entities)
	if _, err := compiler.Compile(in); err != nil {
		return err
	}
	if err := p.entities.UnmarshalJSON(in.Entities); err != nil {
		return fmt.Errorf("%s: %w: nothing is compiled", fieldEntities, err)
	}
	for uid := range p.entities {
		if strings.HasPrefix(string(uid.Type), reserved) {
			return fmt.Errorf("%s: %s: entities of %s are what the cluster has, and nothing else: nothing is compiled; take it out", fieldEntities, uid, strings.TrimSuffix(reserved, "::"))
		}
	}
	return nil
}

// annotations tell whose a policy is. What guards in audit alone forbid is only reported.
func (p *policy) annotations(one *rule.Policy, n int) map[string]string {
	id, own := one.Annotations["id"]
	if !own {
		id = strconv.Itoa(n)
	}
	set := map[string]string{"id": p.ref.String() + "/" + id}
	if p.guard && p.rules.Mode != v1alpha1.Enforce {
		set["mode"] = "audit"
	}
	return set
}

// fileName names the text in the folder, by its content.
func (p *policy) fileName() string {
	const longest = 200
	name := unfit.ReplaceAllString(p.ref.Namespace+"_"+p.ref.Name, "_")
	return "policies/" + name[:min(len(name), longest)] + "-" + sum(p.source.Text) + ".cedar"
}

// onlyForbids refuses a guard that permits.
func onlyForbids(plan *compiler.Plan) error {
	for _, one := range plan.Rules.Policies {
		if one.File == fieldPolicies && one.Effect != rule.Forbid {
			return fmt.Errorf("%s: policy %s permits: a guard only forbids, for it holds beside the policies of others: nothing is compiled; forbid, or take guard out", one.Position(), one.ID)
		}
	}
	return nil
}

// handled reads names of actions.
func handled(names []string) (mask abi.ActionMask, err error) {
	for i, name := range names {
		a, ok := abi.ParseEnforced(name)
		if !ok {
			return 0, fmt.Errorf("handle[%d]: %q: no action that can be enforced: nothing is compiled; use some of %s", i, name, abi.EnforcedActions)
		}
		mask |= abi.MaskOf(a)
	}
	return mask, nil
}
