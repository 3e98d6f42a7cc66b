// Package plan turns what a cluster says into templates for the agent of one node: pure data
// in, files out. Nothing here talks to a cluster.
//
// The policies that select a container are united: what one permits is permitted, what one
// forbids is forbidden. What is wrong with a policy concerns the containers that it selects:
// they get no template, so they do not start, and those that run keep what they have.
package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	corev1 "k8s.io/api/core/v1"

	"github.com/stockade-dev/stockade/agent/kube/v1alpha1"
	"github.com/stockade-dev/stockade/agent/policies"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// File is the one that the agent's `containers_from` names. It names all others.
const File = "containers.yaml"

// State is what a node knows of its cluster.
type State struct {
	// Pods are those of the node.
	Pods            []corev1.Pod
	Namespaces      []corev1.Namespace
	Policies        []v1alpha1.AgentPolicy
	ClusterPolicies []v1alpha1.ClusterAgentPolicy
}

// Plan is what follows from it.
type Plan struct {
	// Files are all that are to be in the folder, by their names in it.
	Files map[string][]byte
	// Containers are those that a policy selects, by pod, in the pod's order.
	Containers []Container
	// Policies are all, by their names.
	Policies []Policy
}

// Ref names a policy: Namespace is "" of one of the cluster.
type Ref struct{ Namespace, Name string }

// String is what the ids of its Cedar policies begin with. No namespace is called *.
func (r Ref) String() string { return cmp.Or(r.Namespace, "*") + "/" + r.Name }

// ParseRef returns the policy whose Cedar policy has an id.
func ParseRef(id string) (r Ref, ok bool) {
	parts := strings.SplitN(id, "/", 3)
	if len(parts) < 3 {
		return r, false
	}
	return Ref{strings.TrimPrefix(parts[0], "*"), parts[1]}, true
}

// Policy is what is known of one.
type Policy struct {
	Ref
	// Digest tells what it says from what it said before.
	Digest string
	// Enforces: its mode is Enforce.
	Enforces bool
	// Problem is what is wrong with it by itself; nil is nothing.
	Problem error
}

// Container is one that policies select.
type Container struct {
	Namespace, Pod, UID, Name string
	// Policies are those that select it, guards among them.
	Policies []Ref
	// Exempt: it is not held.
	Exempt bool
	// Template is the name of the one that is for it, Digest that of its policies, as the
	// agent tells it, and Enforced their mode.
	Template, Digest string
	Enforced         bool
	// Problem is why it has none; nil: it has one.
	Problem error
}

// Planner plans for one folder. It remembers what compiled, and is not for use by several at
// once.
type Planner struct {
	dir     string
	checked map[string]*policy // by kind, name and digest
	known   map[string]compiled
}

type compiled struct {
	digest string
	err    error
}

// New returns a planner for a folder, an absolute path as the agent sees it.
func New(dir string) *Planner { return &Planner{dir: dir} }

// Plan plans.
func (p *Planner) Plan(s State) *Plan {
	m := &maker{
		Planner: p, plan: &Plan{Files: map[string][]byte{}}, namespaces: map[string]*corev1.Namespace{},
		names: map[string]bool{}, now: map[string]compiled{},
		list: []template{{Name: "kubernetes.pause", Match: match{Sandbox: true}, Unconfined: true}},
	}
	for i := range s.Namespaces {
		m.namespaces[s.Namespaces[i].Name] = &s.Namespaces[i]
	}
	m.policies(&s)
	pods := slices.Clone(s.Pods)
	slices.SortFunc(pods, func(a, b corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
	})
	for i := range pods {
		if !Ended(&pods[i]) {
			m.pod(&pods[i])
		}
	}
	p.known = m.now // what is no longer needed is forgotten
	m.plan.Files[File] = render(m.list)
	return m.plan
}

// maker makes one plan.
type maker struct {
	*Planner
	plan       *Plan
	namespaces map[string]*corev1.Namespace
	all        []*policy
	list       []template
	names      map[string]bool // of templates
	now        map[string]compiled
}

// policies prepares those of a state.
func (m *maker) policies(s *State) {
	checked := map[string]*policy{}
	add := func(fresh *policy) {
		key := fresh.ref.String() + " " + fresh.digest
		p := m.checked[key]
		if p == nil {
			p = fresh
			_, p.problem = p.check()
		}
		checked[key] = p
		m.all = append(m.all, p)
		m.plan.Policies = append(m.plan.Policies, Policy{p.ref, p.digest, p.rules.Mode == v1alpha1.Enforce, p.problem})
	}
	for i := range s.ClusterPolicies {
		add(ofCluster(&s.ClusterPolicies[i]))
	}
	for i := range s.Policies {
		add(ofNamespace(&s.Policies[i]))
	}
	m.checked = checked
	slices.SortFunc(m.all, func(a, b *policy) int { return cmp.Compare(a.ref.String(), b.ref.String()) })
	slices.SortFunc(m.plan.Policies, func(a, b Policy) int { return cmp.Compare(a.String(), b.String()) })
}

// pod adds the templates of a pod.
func (m *maker) pod(pod *corev1.Pod) {
	for _, name := range containersOf(pod) {
		c := Container{Namespace: pod.Namespace, Pod: pod.Name, UID: UIDOf(pod), Name: name}
		some := m.selecting(pod, name)
		for _, p := range some {
			c.Policies = append(c.Policies, p.ref)
			c.Exempt = c.Exempt || p.exempt && p.problem == nil
		}
		if !slices.ContainsFunc(some, holds) {
			continue
		}
		t, err := m.template(pod, &c, some)
		if err == nil {
			m.list = append(m.list, *t)
		}
		c.Problem = err
		m.plan.Containers = append(m.plan.Containers, c)
	}
}

// selecting lists the policies that select a container.
func (m *maker) selecting(pod *corev1.Pod, container string) (list []*policy) {
	for _, p := range m.all {
		if p.selects(pod, m.namespaces[pod.Namespace], container) {
			list = append(list, p)
		}
	}
	return list
}

// template makes that of a container, and the files that it names.
func (m *maker) template(pod *corev1.Pod, c *Container, some []*policy) (*template, error) {
	t := &template{Name: templateName(c), Match: match{Pod: c.Namespace + "/" + c.Pod + "/" + c.UID, Name: c.Name}}
	namespace := m.namespaces[pod.Namespace]
	switch {
	case m.names[t.Name]:
		return nil, fmt.Errorf("container %s: the name of its template, %s, is another's: it does not start; name the container otherwise", c.Name, t.Name)
	case namespace == nil:
		return nil, fmt.Errorf("namespace %s: not known yet: its pods do not start", pod.Namespace)
	case c.Exempt:
		t.Unconfined = true
	default:
		if err := m.confine(t, pod, namespace, c, some); err != nil {
			return nil, err
		}
	}
	m.names[t.Name], c.Template = true, t.Name
	return t, nil
}

// confine fills in how a container is held.
func (m *maker) confine(t *template, pod *corev1.Pod, namespace *corev1.Namespace, c *Container, some []*policy) error {
	files := map[string][]byte{}
	data := principal(pod, namespace)
	in := compiler.Input{Principal: PrincipalOf(c.Namespace, c.Pod), Handled: abi.DefaultActions}
	for _, p := range some {
		if p.problem != nil {
			return fmt.Errorf("policy %s: %w", p.ref, p.problem)
		}
		if err := unite(data, p); err != nil {
			return err
		}
		in.Handled |= p.handled
		if !p.guard {
			c.Enforced = c.Enforced || p.rules.Mode == v1alpha1.Enforce
			t.Strict = t.Strict || p.rules.Strict
			t.Handle = append(t.Handle, p.rules.Handle...)
		}
		t.Policies = append(t.Policies, p.source.Name)
		files[p.source.Name] = p.source.Text
		in.Sources = append(in.Sources, compiler.Source{Name: filepath.Join(m.dir, p.source.Name), Text: p.source.Text})
	}
	entities, err := data.MarshalJSON()
	if err != nil {
		return fmt.Errorf("entities: %w: pod %s/%s does not start", err, c.Namespace, c.Pod)
	}
	t.Entities = "entities/" + sum(entities) + ".json"
	files[t.Entities] = entities
	in.Entities, in.EntitiesName = entities, filepath.Join(m.dir, t.Entities)
	t.Principal, t.Labels, t.Mode = in.Principal, labelsOf(pod), "audit"
	slices.Sort(t.Handle)
	t.Handle = slices.Compact(t.Handle)
	if c.Enforced {
		t.Mode = "enforce"
	}
	if c.Digest, err = m.compile(in); err != nil {
		return err
	}
	maps.Copy(m.plan.Files, files)
	return nil
}

// compile compiles what the agent will, and returns the digest that the agent tells.
func (m *maker) compile(in compiler.Input) (string, error) {
	if err := policies.AddBaseline(&in, baseline); err != nil {
		return "", err
	}
	key := policies.DigestOf(in)
	c, ok := m.known[key]
	if !ok {
		c, ok = m.now[key]
	}
	if !ok {
		plan, err := compiler.Compile(in)
		if c.err = err; err == nil {
			c.digest = plan.DigestName()
		} else {
			c.err = errors.New(strings.ReplaceAll(err.Error(), m.dir+"/", "")) // where they lie says nothing
		}
	}
	m.now[key] = c
	return c.digest, c.err
}

// unite adds the entities of a policy to those that are there already.
func unite(data types.EntityMap, p *policy) error {
	for _, uid := range slices.SortedFunc(maps.Keys(p.entities), func(a, b types.EntityUID) int { return cmp.Compare(a.String(), b.String()) }) {
		if was, there := data[uid]; there && !was.Equal(p.entities[uid]) {
			return fmt.Errorf("policy %s: entity %s: another policy of the same pod says other things of it: the pod does not start; make them alike", p.ref, uid)
		}
		data[uid] = p.entities[uid]
	}
	return nil
}

// sum names content.
func sum(text ...[]byte) string {
	h := sha256.New()
	for _, t := range text {
		fmt.Fprintf(h, "%d ", len(t))
		h.Write(t)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
