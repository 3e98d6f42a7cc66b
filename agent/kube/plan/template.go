package plan

import (
	"bytes"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"

	"github.com/stockade-dev/stockade/agent/label"
)

// baseline is the one that templates have which name none.
const baseline = "runtime"

// template is one of the agent's configuration.
type template struct {
	Name       string            `yaml:"name"`
	Match      match             `yaml:"match"`
	Unconfined bool              `yaml:"unconfined,omitempty"`
	Principal  string            `yaml:"principal,omitempty"`
	Mode       string            `yaml:"mode,omitempty"`
	Strict     bool              `yaml:"strict,omitempty"`
	Handle     []string          `yaml:"handle,omitempty"`
	Policies   []string          `yaml:"policies,omitempty"`
	Entities   string            `yaml:"entities,omitempty"`
	Labels     map[string]string `yaml:"labels,omitempty"`
}

type match struct {
	Pod     string `yaml:"pod,omitempty"`
	Name    string `yaml:"name,omitempty"`
	Sandbox bool   `yaml:"sandbox,omitempty"`
}

// render writes the file of templates.
func render(list []template) []byte {
	var b bytes.Buffer
	b.WriteString("# Written by stockade-kube, whenever what it knows of the cluster changes.\n")
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(map[string]any{"containers": list}); err != nil {
		panic(err) // plain data
	}
	return b.Bytes()
}

var unfit = regexp.MustCompile(`[^a-z0-9-]+`)

// templateName names the template of a container. It is the same as long as the container
// lives, whatever policies come and go: by it the agent knows whose new policies are.
func templateName(c *Container) string {
	const longest = 40
	apart := "-" + sum([]byte(c.Namespace), []byte(c.Pod), []byte(c.UID), []byte(c.Name))
	name := unfit.ReplaceAllString(c.Pod, "-")
	return strings.Trim(name[:min(len(name), longest-len(apart))], "-") + apart
}

// labelNamespace selects the workloads of a namespace, as `stockade kill --label`.
const labelNamespace = "stockade.dev/namespace"

// labelsOf are those of a pod, by which the agent's verbs select it, as many as there may be.
func labelsOf(pod *corev1.Pod) map[string]string {
	set := label.Set{}
	_ = set.Add(labelNamespace, pod.Namespace) // every name of one is a value
	for _, key := range slices.Sorted(maps.Keys(pod.Labels)) {
		_ = set.Add(key, pod.Labels[key]) // policies see those for which there is no room
	}
	return set
}
