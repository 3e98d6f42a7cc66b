package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
)

// Where a rendered chart is installed: the release is called as the product.
const (
	release   = "stockade"
	namespace = "stockade-system"
)

// render renders the chart in a folder, its custom resources first, with values over its
// own. Values that its schema does not allow are errors. Hooks, which Helm alone runs, are
// there if they are asked for.
func render(dir string, values map[string]any, hooks bool) ([]byte, error) {
	c, err := loader.Load(dir)
	if err != nil {
		return nil, err
	}
	all, err := chartutil.ToRenderValues(c, values, chartutil.ReleaseOptions{Name: release, Namespace: namespace, IsInstall: true}, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(c, all)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# The chart beside this, as `helm template %s -n %s` renders it but for hooks.\n# Written by `make chart`: change the chart.\n", release, namespace)
	fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: %s\n  labels: {pod-security.kubernetes.io/enforce: privileged}\n", namespace)
	for _, crd := range c.CRDObjects() {
		fmt.Fprintf(&b, "%s\n", bytes.TrimSpace(crd.File.Data))
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		for text := range strings.SplitSeq(files[name], "\n---\n") {
			text = strings.TrimPrefix(strings.TrimSpace(text), "---\n")
			if text == "" || strings.HasSuffix(name, ".tpl") || !hooks && strings.Contains(text, "helm.sh/hook:") {
				continue
			}
			fmt.Fprintf(&b, "---\n%s\n", text)
		}
	}
	return b.Bytes(), nil
}
