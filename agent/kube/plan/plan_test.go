package plan

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/stockade-dev/stockade/agent/config"
	"github.com/stockade-dev/stockade/agent/kube/v1alpha1"
	"github.com/stockade-dev/stockade/agent/policies"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

const permit = "permit (principal, action, resource in file_system::Dir::\"/work\");"

// mirrored is how a kubelet names a static pod, as its mirror has it.
const mirrored = "0123456789abcdef0123456789abcdef"

// Whoever makes a pod that says it is a mirror chooses what else it says.
func TestMirrorsOfNoKubeletHaveTheirOwnUID(t *testing.T) {
	for hash, want := range map[string]string{mirrored: mirrored, "": "u", "*": "u", "h\x00": "u", mirrored + "\n": "u", "a/b": "u"} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u", Annotations: map[string]string{mirrorOf: "x", staticHash: hash}}}
		if got := UIDOf(p); got != want {
			t.Errorf("%q: %q, want %q", hash, got, want)
		}
	}
}

func pod(namespace, name string, change ...func(*corev1.Pod)) corev1.Pod {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main"}}}}
	for _, c := range change {
		c(&p)
	}
	return p
}

func policyOf(namespace, name, text string, change ...func(*v1alpha1.AgentPolicySpec)) v1alpha1.AgentPolicy {
	p := v1alpha1.AgentPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	p.Spec.Policies, p.Spec.Mode = text, v1alpha1.Audit
	for _, c := range change {
		c(&p.Spec)
	}
	return p
}

func clusterPolicy(name, text string, change ...func(*v1alpha1.ClusterAgentPolicySpec)) v1alpha1.ClusterAgentPolicy {
	p := v1alpha1.ClusterAgentPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	p.Spec.Policies, p.Spec.Mode = text, v1alpha1.Audit
	for _, c := range change {
		c(&p.Spec)
	}
	return p
}

func app(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
}

func enforced(s *v1alpha1.AgentPolicySpec) { s.Mode = v1alpha1.Enforce }

func guard(s *v1alpha1.ClusterAgentPolicySpec) { s.Guard = true }

func namespaces(names ...string) (list []corev1.Namespace) {
	for _, name := range names {
		list = append(list, corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/metadata.name": name}}})
	}
	return list
}

// read has the agent read what was planned, and returns what each container would get: its
// template and the plan of it.
func read(t *testing.T, dir string, p *Plan) (map[string]config.Template, map[string]*compiler.Plan) {
	t.Helper()
	for name, text := range p.Files {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, text, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Parse(filepath.Join(dir, "agent.yaml"), []byte("containers_from: "+File+"\n"))
	if err != nil {
		t.Fatalf("%v\n%s", err, p.Files[File])
	}
	templates, plans := map[string]config.Template{}, map[string]*compiler.Plan{}
	for _, one := range c.Containers {
		key := strings.Join(one.Match.Pods, ",") + " " + strings.Join(one.Match.Names, ",")
		if templates[key] = one; one.Unconfined {
			continue
		}
		in, err := policies.InputOf(&one.Workload)
		if err != nil {
			t.Fatal(err)
		}
		if plans[key], err = compiler.Compile(in); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	if pause := templates[" "]; !pause.Unconfined || !pause.Match.Sandbox {
		t.Errorf("the pause container: %+v", pause)
	}
	delete(templates, " ")
	return templates, plans
}

// ids are the policies of a plan that are not of the baseline.
func ids(p *compiler.Plan) (list []string) {
	for _, one := range p.Rules.Policies {
		if !strings.HasPrefix(one.ID, "baseline-") {
			list = append(list, one.ID)
		}
	}
	slices.Sort(list)
	return list
}

func TestContainersGetWhatSelectsThem(t *testing.T) {
	init := func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{{Name: "init"}}
		p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug"}}}
	}
	const forbid = "@id(\"secrets\")\nforbid (principal, action, resource in file_system::Dir::\"/secret\");"
	type want struct {
		mode abi.Mode
		ids  string // "unconfined" of one that is not held
	}
	one := State{Pods: []corev1.Pod{pod("team", "web")}, Namespaces: namespaces("team", "other")}
	for _, c := range []struct {
		what string
		s    State
		want map[string]want
	}{
		{"no policy", one, nil},
		{"one in audit", State{Pods: one.Pods, Policies: []v1alpha1.AgentPolicy{policyOf("team", "all", permit)}},
			map[string]want{"team/web/uid-web main": {abi.Audit, "team/all/0"}}},
		{"of another namespace", State{Pods: one.Pods, Policies: []v1alpha1.AgentPolicy{policyOf("other", "all", permit)}}, nil},
		{"united: one enforces", State{Pods: one.Pods, Policies: []v1alpha1.AgentPolicy{policyOf("team", "b", permit), policyOf("team", "a", forbid+permit, enforced)}},
			map[string]want{"team/web/uid-web main": {abi.Enforce, "team/a/1 team/a/secrets team/b/0"}}},
		{"by label, account and container", State{
			Pods: []corev1.Pod{pod("team", "web", init), pod("team", "db", init), pod("team", "bot", func(p *corev1.Pod) { p.Spec.ServiceAccountName = "bot" })},
			Policies: []v1alpha1.AgentPolicy{
				policyOf("team", "web", permit, func(s *v1alpha1.AgentPolicySpec) { s.PodSelector = app("web") }),
				policyOf("team", "debug", permit, func(s *v1alpha1.AgentPolicySpec) {
					s.Containers, s.ServiceAccounts = []string{"debug"}, []string{"default"}
				}),
				policyOf("team", "bots", permit, func(s *v1alpha1.AgentPolicySpec) { s.ServiceAccounts = []string{"bot"} })}},
			map[string]want{
				"team/web/uid-web init": {abi.Audit, "team/web/0"}, "team/web/uid-web main": {abi.Audit, "team/web/0"},
				"team/web/uid-web debug": {abi.Audit, "team/debug/0 team/web/0"}, "team/db/uid-db debug": {abi.Audit, "team/debug/0"},
				"team/bot/uid-bot main": {abi.Audit, "team/bots/0"}}},
		{"a cluster's, by namespace", State{Pods: []corev1.Pod{pod("team", "web"), pod("other", "db")},
			ClusterPolicies: []v1alpha1.ClusterAgentPolicy{clusterPolicy("team", permit, func(s *v1alpha1.ClusterAgentPolicySpec) {
				s.NamespaceSelector.MatchLabels = map[string]string{"kubernetes.io/metadata.name": "team"}
			})}},
			map[string]want{"team/web/uid-web main": {abi.Audit, "*/team/0"}}},
		{"a guard alone selects nobody", State{Pods: one.Pods, ClusterPolicies: []v1alpha1.ClusterAgentPolicy{clusterPolicy("g", forbid, guard)}}, nil},
		{"a guard beside another, which says the mode", State{Pods: one.Pods, Policies: []v1alpha1.AgentPolicy{policyOf("team", "all", permit)},
			ClusterPolicies: []v1alpha1.ClusterAgentPolicy{clusterPolicy("g", forbid, guard, func(s *v1alpha1.ClusterAgentPolicySpec) { s.Mode = v1alpha1.Enforce })}},
			map[string]want{"team/web/uid-web main": {abi.Audit, "*/g/secrets team/all/0"}}},
		{"exempt, whatever others say", State{Pods: []corev1.Pod{pod("team", "web"), pod("team", "db")}, Policies: []v1alpha1.AgentPolicy{policyOf("team", "all", permit)},
			ClusterPolicies: []v1alpha1.ClusterAgentPolicy{clusterPolicy("x", "", func(s *v1alpha1.ClusterAgentPolicySpec) { s.Exempt, s.PodSelector = true, app("db") })}},
			map[string]want{"team/web/uid-web main": {abi.Audit, "team/all/0"}, "team/db/uid-db main": {0, "unconfined"}}},
		{"a static pod, by the uid that its kubelet gave it", State{Pods: []corev1.Pod{pod("team", "web", func(p *corev1.Pod) {
			p.Annotations = map[string]string{mirrorOf: mirrored, staticHash: mirrored}
		})}, Policies: []v1alpha1.AgentPolicy{policyOf("team", "all", permit)}},
			map[string]want{"team/web/" + mirrored + " main": {abi.Audit, "team/all/0"}}},
		{"one that has ended", State{Pods: []corev1.Pod{pod("team", "web", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })},
			Policies: []v1alpha1.AgentPolicy{policyOf("team", "all", permit)}}, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := t.TempDir()
			c.s.Namespaces = one.Namespaces
			p := New(dir).Plan(c.s)
			templates, plans := read(t, dir, p)
			if len(templates) != len(c.want) || len(p.Containers) != len(c.want) {
				t.Errorf("%d templates, %d containers, want %d\n%s", len(templates), len(p.Containers), len(c.want), p.Files[File])
			}
			for _, got := range p.Containers {
				key := got.Namespace + "/" + got.Pod + "/" + got.UID + " " + got.Name
				want, template := c.want[key], templates[key]
				if got.Problem != nil || got.Template != template.Name || template.Unconfined != (want.ids == "unconfined") || got.Exempt != template.Unconfined {
					t.Errorf("%s: %+v, %v\n%+v", key, got, got.Problem, template)
				}
				if template.Unconfined || got.Problem != nil {
					continue
				}
				if is := strings.Join(ids(plans[key]), " "); is != want.ids || template.Mode != want.mode || got.Digest != plans[key].DigestName() {
					t.Errorf("%s: %s in %s, want %s in %s; digest %s, the agent's %s", key, is, template.Mode, want.ids, want.mode, got.Digest, plans[key].DigestName())
				}
			}
		})
	}
}

// TestUnionsDecide asks the compiled tables.
func TestUnionsDecide(t *testing.T) {
	dir := t.TempDir()
	owner := func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "agents.x-k8s.io/v1alpha1", Kind: "Sandbox", Name: "box", Controller: ptr.To(true)}}
	}
	const dirs = `permit (principal in k8s::Namespace::"team", action, resource in file_system::Dir::"/ns");
permit (principal in k8s::ServiceAccount::"team/default", action, resource in file_system::Dir::"/account");
permit (principal in k8s::Sandbox::"team/box", action, resource in file_system::Dir::"/sandbox");
permit (principal == k8s::Pod::"team/web", action, resource in file_system::Dir::"/web");
permit (principal, action, resource in file_system::Dir::"/label") when { principal.hasTag("app") && principal.getTag("app") == "boxed" };
permit (principal is k8s::Pod, action, resource in file_system::Dir::"/all");
permit (principal, action, resource in file_system::Dir::"/class");`
	s := State{Namespaces: namespaces("team"), Pods: []corev1.Pod{pod("team", "web", func(p *corev1.Pod) { p.Labels = nil }), pod("team", "boxed", owner)},
		Policies: []v1alpha1.AgentPolicy{policyOf("team", "dirs", dirs, enforced), policyOf("team", "more", `permit (principal, action, resource in file_system::Dir::"/more");`)},
		ClusterPolicies: []v1alpha1.ClusterAgentPolicy{
			clusterPolicy("g", `forbid (principal, action, resource in file_system::Dir::"/all/secret"); forbid (principal, action, resource in DataClass::"pii");`, guard,
				func(s *v1alpha1.ClusterAgentPolicySpec) {
					s.Mode = v1alpha1.Enforce
					s.Entities = `[{"uid": {"type": "file_system::Dir", "id": "/class/pii"}, "parents": [{"type": "DataClass", "id": "pii"}], "attrs": {}}]`
				}),
			clusterPolicy("a", `forbid (principal, action, resource in file_system::Dir::"/all/reported");`, guard)}}
	p := New(dir).Plan(s)
	for _, c := range p.Containers {
		if c.Problem != nil {
			t.Fatal(c.Problem)
		}
	}
	_, plans := read(t, dir, p)
	for path, want := range map[string][2]bool{ // of web, of boxed
		"/ns/f": {true, true}, "/account/f": {true, true}, "/sandbox/f": {false, true}, "/web/f": {true, false}, "/label/f": {false, true},
		"/all/f": {true, true}, "/all/secret/f": {false, false}, "/all/reported/f": {true, true}, "/more/f": {true, true}, "/class/f": {true, true}, "/class/pii/f": {false, false}, "/else": {false, false},
	} {
		for i, key := range []string{"team/web/uid-web main", "team/boxed/uid-boxed main"} {
			if got := plans[key].Decide(abi.Request{Action: abi.Read, Kind: abi.File, Path: path}) == abi.Allow; got != want[i] {
				t.Errorf("%s reads %s: %v, want %v", key, path, got, want[i])
			}
		}
	}
	request := abi.Request{Action: abi.Read, Kind: abi.File, Path: "/all/reported/f"}
	if would, by := plans["team/web/uid-web main"].Audited(request); would != abi.Deny || len(by) != 1 || by[0].ID != "*/a/0" {
		t.Errorf("a guard in audit: %v, %v", would, by)
	}
}

func TestBadPoliciesConcernWhatTheySelect(t *testing.T) {
	web := func(s *v1alpha1.AgentPolicySpec) { s.PodSelector = app("web") }
	entity := func(text string) func(*v1alpha1.AgentPolicySpec) {
		return func(s *v1alpha1.AgentPolicySpec) { web(s); s.Entities = text }
	}
	pods := []corev1.Pod{pod("team", "web"), pod("team", "db"), pod("other", "web")}
	fine := []v1alpha1.AgentPolicy{policyOf("team", "fine", permit), policyOf("other", "fine", permit)}
	for _, c := range []struct {
		what string
		bad  []v1alpha1.AgentPolicy
		more []v1alpha1.ClusterAgentPolicy
		want string // of team/web; others are fine
		own  bool   // the policy is at fault by itself
	}{
		{"syntax", []v1alpha1.AgentPolicy{policyOf("team", "bad", "permit (\n  principal);", web)}, nil, "policy team/bad: policies:2:12: ", true},
		{"an unknown action", []v1alpha1.AgentPolicy{policyOf("team", "bad", `permit (principal, action == file_system::Action::"raed", resource);`, web)}, nil, "policy team/bad: policies:1:30: ", true},
		{"text that would end what is around it", []v1alpha1.AgentPolicy{policyOf("team", "bad", permit+"\n};\nforbid", web)}, nil, "policy team/bad: policies:2:1: ", true},
		{"entities", []v1alpha1.AgentPolicy{policyOf("team", "bad", permit, entity("[{]"))}, nil, "policy team/bad: entities:1:3: ", true},
		{"entities of the cluster", []v1alpha1.AgentPolicy{policyOf("team", "bad", permit, entity(`[{"uid": {"type": "k8s::Pod", "id": "team/web"}, "parents": [{"type": "k8s::Namespace", "id": "kube-system"}], "attrs": {}}]`))}, nil,
			"policy team/bad: entities: k8s::Pod::\"team/web\": entities of k8s are what the cluster has", true},
		{"an action that none enforces", []v1alpha1.AgentPolicy{policyOf("team", "bad", permit, func(s *v1alpha1.AgentPolicySpec) { web(s); s.Handle = []string{"dance"} })}, nil, "policy team/bad: handle[0]: \"dance\"", true},
		{"entities that differ", []v1alpha1.AgentPolicy{
			policyOf("team", "a", permit, entity(`[{"uid": {"type": "Group", "id": "g"}, "parents": [], "attrs": {"n": 1}}]`)),
			policyOf("team", "b", permit, entity(`[{"uid": {"type": "Group", "id": "g"}, "parents": [], "attrs": {"n": 2}}]`))}, nil,
			"policy team/b: entity Group::\"g\": another policy of the same pod", false},
		{"ids twice", []v1alpha1.AgentPolicy{policyOf("team", "bad", "@id(\"a\")"+permit+"@id(\"a\")"+permit, web)}, nil, "already taken", true},
		{"a guard that permits", nil, []v1alpha1.ClusterAgentPolicy{clusterPolicy("bad", "forbid (principal, action, resource);\n  "+permit, guard,
			func(s *v1alpha1.ClusterAgentPolicySpec) {
				s.PodSelector, s.NamespaceSelector.MatchLabels = app("web"), map[string]string{"kubernetes.io/metadata.name": "team"}
			})}, "policy */bad: policies:2:3: policy policies#1 permits: a guard only forbids", true},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := t.TempDir()
			p := New(dir).Plan(State{Pods: pods, Namespaces: namespaces("team", "other"), Policies: append(c.bad, fine...), ClusterPolicies: c.more})
			templates, _ := read(t, dir, p)
			if len(templates) != 2 {
				t.Errorf("%d templates, want those of the others\n%s", len(templates), p.Files[File])
			}
			for _, got := range p.Containers {
				if bad := got.Namespace == "team" && got.Pod == "web"; bad != (got.Problem != nil) || bad && !strings.Contains(got.Problem.Error(), c.want) || bad != (got.Template == "") {
					t.Errorf("%s/%s: %v, template %q, want %s", got.Namespace, got.Pod, got.Problem, got.Template, c.want)
				}
			}
			for _, got := range p.Policies {
				if at := strings.HasSuffix(got.String(), "/bad"); (got.Problem != nil) != (at && c.own) {
					t.Errorf("%s: %v", got, got.Problem)
				}
			}
		})
	}
}

func TestSelectorsThatMeanNothingHoldAllBack(t *testing.T) {
	bad := policyOf("team", "bad", permit, func(s *v1alpha1.AgentPolicySpec) {
		s.PodSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}}
	})
	p := New(t.TempDir()).Plan(State{Pods: []corev1.Pod{pod("team", "web"), pod("other", "web")}, Namespaces: namespaces("team", "other"),
		Policies: []v1alpha1.AgentPolicy{bad, policyOf("other", "fine", permit)}})
	if c := p.Containers; len(c) != 2 || c[0].Problem != nil || c[1].Problem == nil || !strings.Contains(c[1].Problem.Error(), "podSelector") {
		t.Errorf("%+v", c)
	}
}

func TestPodsOfAnUnknownNamespaceWait(t *testing.T) {
	p := New(t.TempDir()).Plan(State{Pods: []corev1.Pod{pod("team", "web")}, Policies: []v1alpha1.AgentPolicy{policyOf("team", "all", permit)}})
	if c := p.Containers; len(c) != 1 || c[0].Problem == nil || !strings.Contains(c[0].Problem.Error(), "namespace team: not known yet") {
		t.Errorf("%+v", c)
	}
}

// TestNamesOutlivePolicies: by its template's name the agent knows which plan a container that
// runs gets next.
func TestNamesOutlivePolicies(t *testing.T) {
	s := State{Pods: []corev1.Pod{pod("team", strings.Repeat("a.Very-Long.name", 9))}, Namespaces: namespaces("team"), Policies: []v1alpha1.AgentPolicy{policyOf("team", "all", permit)}}
	planner := New(t.TempDir())
	first := planner.Plan(s)
	if again := planner.Plan(s); string(again.Files[File]) != string(first.Files[File]) {
		t.Errorf("the same state, other files:\n%s\n%s", first.Files[File], again.Files[File])
	}
	s.Policies = append(s.Policies, policyOf("team", "more", permit))
	s.Pods[0].Labels["app"] = "claimed"
	second := planner.Plan(s)
	a, b := first.Containers[0], second.Containers[0]
	if a.Template == "" || a.Template != b.Template || a.Digest == b.Digest || len(a.Template) > 40 {
		t.Errorf("%+v\n%+v", a, b)
	}
	if len(planner.known) != 1 || len(planner.checked) != 2 {
		t.Errorf("%d plans and %d policies are kept, want what is needed", len(planner.known), len(planner.checked))
	}
}

func TestRefsAreReadFromIDs(t *testing.T) {
	for id, want := range map[string]Ref{"team/web/a/b": {"team", "web"}, "*/guard/0": {"", "guard"}} {
		if got, ok := ParseRef(id); !ok || got != want {
			t.Errorf("%s: %v, %v", id, got, ok)
		}
	}
	if _, ok := ParseRef("baseline-loader"); ok {
		t.Error("the baseline is nobody's")
	}
}
