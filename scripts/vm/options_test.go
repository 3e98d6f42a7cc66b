//go:build linux

package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestOptionsEndAtTheCommand(t *testing.T) {
	o, err := parseOptions("run", []string{"--kernel", "6.1", "--file", "a:/b/../c", "--env", "X=1=2", "--", "sh", "-c", "--kernel"})
	if err != nil {
		t.Fatal(err)
	}
	if o.Kernel != "6.1" || o.Root != rootInitramfs || !reflect.DeepEqual(o.Command, []string{"sh", "-c", "--kernel"}) ||
		!reflect.DeepEqual(o.Files, []FilePair{{"a", "/c"}}) || !reflect.DeepEqual(o.Env, []string{"X=1=2"}) {
		t.Errorf("options are %+v", o)
	}
}

func TestShellNeedsNoCommandAndTakesDebian(t *testing.T) {
	o, err := parseOptions("shell", nil)
	if err != nil || o.Root != rootDebian || !o.Shell {
		t.Errorf("options are %+v, %v", o, err)
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	for _, line := range []string{
		"", "--kernel 5.4 -- true", "--root nfs -- true", "--cpus 0 -- true", "--icount --cpus 2 -- true",
		"--file relative:path -- true", "--file lonely -- true", "--env =x -- true", "--ship -- /nonexistent", "--wrong -- true",
		"--systemd -- true", "--disk x -- true",
	} {
		if _, err := parseOptions("run", strings.Fields(line)); err == nil {
			t.Errorf("run %s: taken", line)
		}
	}
}

func TestShipCopiesProgramAndTestdata(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "x.test")
	if err := os.WriteFile(program, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	o, err := parseOptions("run", []string{"--ship", "--", program, "-v"})
	if err != nil {
		t.Fatal(err)
	}
	if o.Dir != "/ship" || !reflect.DeepEqual(o.Command, []string{"/ship/x.test", "-v"}) ||
		!reflect.DeepEqual(o.Files, []FilePair{{program, "/ship/x.test"}, {"testdata", "/ship/testdata"}}) {
		t.Errorf("options are %+v", o)
	}
}
