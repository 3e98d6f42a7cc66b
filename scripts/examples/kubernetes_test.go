package examples

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/stockade-dev/stockade/agent/config"
)

// The agent of the DaemonSet reads what the chart gives it.
func TestTheChartsConfigurationIsRead(t *testing.T) {
	text, err := os.ReadFile("../deploy/kubernetes/stockade.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for docs := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var o struct {
			Kind string            `yaml:"kind"`
			Data map[string]string `yaml:"data"`
		}
		if err := docs.Decode(&o); errors.Is(err, io.EOF) {
			t.Fatal("no agent.yaml")
		} else if err != nil {
			continue // of another shape
		}
		conf, ok := o.Data["agent.yaml"]
		if o.Kind != "ConfigMap" || !ok {
			continue
		}
		c, err := config.Parse("agent.yaml", []byte(conf))
		if err != nil || c.ContainersFrom != "/run/stockade/kubernetes/containers.yaml" || c.Metrics == "" {
			t.Errorf("%+v, %v", c, err)
		}
		return
	}
}
