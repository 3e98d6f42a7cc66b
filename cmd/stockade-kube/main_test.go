package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestCommandLinesThatAreWrong(t *testing.T) {
	t.Setenv("NODE_NAME", "")
	t.Setenv("POD_NAMESPACE", "")
	t.Setenv("KUBERNETES_SERVICE_HOST", "") // it is no pod
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"walk", exitUsage, `"walk": no such verb`},
		{"--what", exitUsage, "flag provided but not defined: -what"},
		{"node --what", exitUsage, "flag provided but not defined: -what"},
		{"node", exitUsage, "--node: missing"},
		{"control", exitUsage, "--namespace: missing"},
		{"node --node n --dir run", exitUsage, `--dir "run": not from the root`},
		{"node --node n", 1, "run it as a pod, or name a --kubeconfig"},
		{"--kubeconfig /none control --namespace n", 1, "/none: no such file"},
		{"", 0, ""},
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), append([]string{"stockade-kube"}, strings.Fields(c.args)...), &out, &errs)
		if code != c.code || !strings.Contains(errs.String(), c.want) {
			t.Errorf("%s: %d, %s, want %d, %s", c.args, code, errs.String(), c.code, c.want)
		}
		if code == 0 && !strings.Contains(out.String(), "control") {
			t.Errorf("%s: help says %s", c.args, out.String())
		}
	}
}
