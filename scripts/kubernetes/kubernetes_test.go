package kubernetes

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// A release of Kubernetes v1.X.Y is one with its libraries v0.X.Y, which only replacements
// can say.
func TestLibrariesAreThoseOfTheRelease(t *testing.T) {
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	release := regexp.MustCompile(`(?m)^\tk8s\.io/kubernetes v1(\.\S+)`).FindSubmatch(text)
	if release == nil {
		t.Fatal("go.mod requires no k8s.io/kubernetes")
	}
	replaced := regexp.MustCompile(`(?m)^\t(k8s\.io/\S+) => (\S+) (\S+)$`).FindAllStringSubmatch(string(text), -1)
	if len(replaced) < 20 {
		t.Errorf("%d libraries replaced: some are missing", len(replaced))
	}
	for _, m := range replaced {
		if m[1] != m[2] || m[3] != "v0"+string(release[1]) {
			t.Errorf("%s: want %s v0%s", strings.TrimSpace(m[0]), m[1], release[1])
		}
	}
}
