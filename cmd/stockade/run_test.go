package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// Whatever keeps a run from its command, it says that nothing was started, and once.
func TestErrorsBeforeTheCommandSayThatNothingWasStarted(t *testing.T) {
	const good = "testdata/good.cedar"
	for _, args := range [][]string{
		{},
		{"--nme", "x"},
		{"--json=maybe"},
		{"--", "true"},
		{"-p", "no-such-file", "--", "true"},
		{"-p", t.TempDir(), "--", "true"},
		{"-p", "testdata/bad.cedar", "--", "true"},
		{"-p", good, "--entities", "no-such-file", "--", "true"},
		{"-p", good, "--principal", "x", "--", "true"},
		{"-p", good, "--baseline", "x", "--", "true"},
		{"-p", good, "--handle", "fly", "--", "true"},
		{"-p", good, "--mode", "x", "--", "true"},
		{"-p", good, "--agent", "x", "--", "true"},
		{"-p", good, "--cap", "x", "--", "true"},
		{"-p", good, "--socket-kind", "x", "--", "true"},
		{"-p", good, "--socket", "x", "--", "true"},
		{"-p", good, "--name", "A/B", "--", "true"},
		{"-p", good, "--user", "no such user", "--", "true"},
		{"-p", good, "--log", "/no/such/file", "--", "true"},
		{"-p", good, "--log", filepath.Join(t.TempDir(), "log"), "--user", "root:no such group", "--", "true"},
	} {
		code, out, errs := call("", append([]string{"run"}, args...)...)
		if code != 125 || out != "" || strings.Count(errs, nothingStarted) != 1 {
			t.Errorf("%q: exit %d: %s%s", args, code, out, errs)
		}
	}
}
