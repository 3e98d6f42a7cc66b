package envtest

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/stockade-dev/stockade/agent/kube"
	"github.com/stockade-dev/stockade/agent/kube/v1alpha1"
)

// controlOf runs control at a port; 0 is one that nobody asks.
func controlOf(t *testing.T, port int) func(context.Context) error {
	if port == 0 {
		port = freePort(t)
	}
	options := kube.ControlOptions{Namespace: system, Secret: "stockade-control", Webhook: "stockade-policies", Names: []string{"stockade-control." + system + ".svc", "localhost"},
		Host: "127.0.0.1", Port: port, Certificates: t.TempDir(), Metrics: "0", Probes: "0"}
	return func(ctx context.Context) error { return kube.RunControl(ctx, asControl, options) }
}

// TestWhatIsInstalledIsAccepted has the API server judge the rendered chart.
func TestWhatIsInstalledIsAccepted(t *testing.T) {
	for _, o := range installed {
		o = o.DeepCopy()
		if k := o.GetKind(); k == "Namespace" || k == "CustomResourceDefinition" || strings.HasPrefix(o.GetAPIVersion(), "rbac.") {
			continue // they are there
		}
		if err := strictly.Create(t.Context(), o, client.DryRunAll); err != nil {
			t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
		}
	}
	if len(installed) < 10 {
		t.Errorf("%d objects: too few to be all", len(installed))
	}
}

func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	n := 0
	if _, err := fmt.Sscan(port, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// webhook has the API server ask control at a port, as what is installed says but for the
// service.
func webhook(t *testing.T, port int) {
	t.Helper()
	i := slices.IndexFunc(installed, func(o *unstructured.Unstructured) bool { return o.GetKind() == "ValidatingWebhookConfiguration" })
	if i < 0 {
		t.Fatal("none is installed")
	}
	var c admissionv1.ValidatingWebhookConfiguration
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(installed[i].Object, &c); err != nil {
		t.Fatal(err)
	}
	for i := range c.Webhooks {
		at := fmt.Sprintf("https://localhost:%d%s", port, *c.Webhooks[i].ClientConfig.Service.Path)
		c.Webhooks[i].ClientConfig = admissionv1.WebhookClientConfig{URL: &at}
	}
	create(t, &c)
}

func TestControlJudgesPolicies(t *testing.T) {
	port := freePort(t)
	webhook(t, port)
	// Without an answer none is made, and all else goes on.
	err := admin.Create(t.Context(), agentPolicy("default", "early", "permit (principal, action, resource);"))
	if err == nil || !strings.Contains(err.Error(), "failed calling webhook") {
		t.Errorf("without control: %v", err)
	}
	config := &corev1.ConfigMap{}
	config.Namespace, config.Name = "default", "any"
	create(t, config)

	stop := start(t, "control", controlOf(t, port))
	first := agentPolicy("default", "fine", "permit (principal, action, resource);")
	within(t, soon, "a policy", func() (bool, string) {
		err := admin.Create(t.Context(), first)
		return err == nil, fmt.Sprint(err)
	})
	t.Cleanup(func() { _ = admin.Delete(context.Background(), first) })
	guard := func(text string) *v1alpha1.ClusterAgentPolicy {
		p := &v1alpha1.ClusterAgentPolicy{}
		p.Name, p.Spec.Policies, p.Spec.Guard = "g", text, true
		return p
	}
	with := func(change func(*v1alpha1.AgentPolicySpec)) *v1alpha1.AgentPolicy {
		p := agentPolicy("default", "p", "permit (principal, action, resource);")
		change(&p.Spec)
		return p
	}
	for _, c := range []struct {
		what   string
		object client.Object
		want   string
	}{
		{"syntax", agentPolicy("default", "p", "permit (principal, action, resource);\npermit (principal"), "policies:2:18: the end: syntax error"},
		{"an action", agentPolicy("default", "p", "forbid (\n  principal, action == file_system::Action::\"raed\", resource);"), "policies:2:24: file_system::Action::\"raed\": unknown action"},
		{"a path", agentPolicy("default", "p", `permit (principal, action, resource in file_system::Dir::"/a/");`), "policies:1:40: "},
		{"two mistakes", agentPolicy("default", "p", "permit (a);\npermit (b);"), "policies:2:9: "},
		{"entities", with(func(s *v1alpha1.AgentPolicySpec) { s.Entities = "[\n{]" }), "entities:2:2: "},
		{"handle", with(func(s *v1alpha1.AgentPolicySpec) { s.Handle = []string{"dance"} }), `handle[0]: "dance": no action that can be enforced`},
		{"a guard that permits", guard("permit (principal, action, resource);"), "policies:1:1: policy policies#0 permits: a guard only forbids"},
		{"a guard", guard("forbid (principal, action, resource);"), ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			err := admin.Create(t.Context(), c.object, client.DryRunAll)
			if (err == nil) != (c.want == "") || err != nil && !(strings.Contains(err.Error(), c.want) && strings.Contains(err.Error(), "denied the request")) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
	get(t, first).Spec.Policies = "permit"
	if err := admin.Update(t.Context(), first); err == nil || !strings.Contains(err.Error(), "policies:1:7: ") {
		t.Errorf("a change: %v", err)
	}

	// The next one takes the certificate that is there.
	secret := &corev1.Secret{}
	secret.Namespace, secret.Name = system, "stockade-control"
	was := string(get(t, secret).Data["tls.crt"])
	stop()
	start(t, "control, again", controlOf(t, port))
	within(t, soon, "a judgement", func() (bool, string) {
		err := admin.Create(t.Context(), agentPolicy("default", "q", "permit"), client.DryRunAll)
		return err != nil && strings.Contains(err.Error(), "policies:1:7: "), fmt.Sprint(err)
	})
	if is := string(get(t, secret).Data["tls.crt"]); is != was || was == "" {
		t.Errorf("another certificate than before: %q", is)
	}
	// One that is lost is made anew.
	get(t, secret).Data = nil
	if err := admin.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	within(t, soon, "a certificate", func() (bool, string) {
		is := string(get(t, secret).Data["tls.crt"])
		return is != "" && is != was, is
	})
	within(t, 2*soon, "a judgement under the new one", func() (bool, string) {
		err := admin.Create(t.Context(), agentPolicy("default", "q", "permit (principal, action, resource);"), client.DryRunAll)
		return err == nil, fmt.Sprint(err)
	})
}
