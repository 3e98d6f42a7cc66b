package envtest

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// TestShapes has the API server judge shapes, without the compiler.
func TestShapes(t *testing.T) {
	const cedar = "policies: 'permit (principal, action, resource);'"
	for _, c := range []struct {
		what, kind, spec, want string // "" is fine
	}{
		{"the least", "AgentPolicy", cedar, ""},
		{"all of it", "AgentPolicy", cedar + "\nentities: '[]'\npodSelector: {matchLabels: {a: b}}\nserviceAccounts: [a, b]\ncontainers: [main]\nmode: Enforce\nhandle: [stat]\nstrict: true", ""},
		{"no policies", "AgentPolicy", "mode: Audit", "policies: empty"},
		{"blank policies", "AgentPolicy", `policies: " \n\t"`, "policies: empty"},
		{"another mode", "AgentPolicy", cedar + "\nmode: enforce", `spec.mode: Unsupported value: "enforce"`},
		{"a container twice", "AgentPolicy", cedar + "\ncontainers: [a, a]", "spec.containers[1]: Duplicate value"},
		{"no action", "AgentPolicy", cedar + "\nhandle: ['a b']", "spec.handle[0]"},
		{"an unknown field", "AgentPolicy", cedar + "\npolicy: x", `unknown field "spec.policy"`},
		{"policies of a MiB", "AgentPolicy", "policies: '" + strings.Repeat("a", 1<<20) + "'", "Too long"},
		{"the least of a cluster's", "ClusterAgentPolicy", "namespaceSelector: {}\n" + cedar, ""},
		{"a guard", "ClusterAgentPolicy", "namespaceSelector: {}\nguard: true\nmode: Enforce\n" + cedar, ""},
		{"exempt", "ClusterAgentPolicy", "namespaceSelector: {}\nexempt: true", ""},
		{"no selector of namespaces", "ClusterAgentPolicy", cedar, "spec.namespaceSelector: Required value"},
		{"neither exempt nor policies", "ClusterAgentPolicy", "namespaceSelector: {}", "policies: empty"},
		{"exempt with policies", "ClusterAgentPolicy", "namespaceSelector: {}\nexempt: true\n" + cedar, "exempt: pods that are not held"},
		{"exempt guard", "ClusterAgentPolicy", "namespaceSelector: {}\nexempt: true\nguard: true", "exempt: pods that are not held"},
		{"a guard that handles", "ClusterAgentPolicy", "namespaceSelector: {}\nguard: true\nhandle: [stat]\n" + cedar, "guard: what other policies select"},
		{"a strict guard", "ClusterAgentPolicy", "namespaceSelector: {}\nguard: true\nstrict: true\n" + cedar, "guard: what other policies select"},
	} {
		t.Run(c.what, func(t *testing.T) {
			o := &unstructured.Unstructured{}
			text := "apiVersion: stockade.dev/v1alpha1\nkind: " + c.kind + "\nmetadata: {name: shape, namespace: default}\nspec:\n  " + strings.ReplaceAll(c.spec, "\n", "\n  ")
			if c.kind == "ClusterAgentPolicy" {
				text = strings.Replace(text, ", namespace: default", "", 1)
			}
			if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
				t.Fatal(err)
			}
			err := strictly.Create(t.Context(), o)
			if err == nil {
				mode, _, _ := unstructured.NestedString(o.Object, "spec", "mode")
				if err := admin.Delete(t.Context(), o); err != nil || mode == "" {
					t.Errorf("deleted: %v; mode %q", err, mode)
				}
			}
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
