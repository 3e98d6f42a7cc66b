//go:build linux

package main

import (
	"reflect"
	"strings"
	"testing"
)

func TestMirrorComesFromTheHostsSources(t *testing.T) {
	targets := `Other stable https://other.example/x/
Debian bookworm-updates http://mirror.example/debian/
Debian bookworm http://mirror.example/debian/
Debian bookworm-security http://security.example/debian-security/
`
	if got, want := parseTargets(targets, Mirror{}), (Mirror{"http://mirror.example/debian/", "http://security.example/debian-security/"}); got != want {
		t.Errorf("mirror is %v, want %v", got, want)
	}
	if got := parseTargets("Ubuntu noble http://u.example/\n", Mirror{}); got != (Mirror{}) {
		t.Errorf("mirror is %v, want none", got)
	}
}

func TestSecuritySuitesComeFromTheSecurityMirror(t *testing.T) {
	text := Mirror{"http://m.example/d", "http://s.example/d"}.sources([]string{"bookworm", "bookworm-security"})
	for _, want := range []string{"URIs: http://m.example/d\nSuites: bookworm\n", "URIs: http://s.example/d\nSuites: bookworm-security\n", "Signed-By: " + keyring} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

func TestImageIsFoundInDepends(t *testing.T) {
	for text, want := range map[string]string{
		"linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)":                                         "6.1.0-56-cloud-amd64",
		"linux-base-cloud-amd64 (= 7.2.13-1), linux-image-7.2.13+deb14-cloud-amd64 (= 7.2.13-1)": "7.2.13+deb14-cloud-amd64",
	} {
		if got := imageName.FindStringSubmatch(text); got == nil || got[1] != want {
			t.Errorf("%s: found %q, want %s", text, got, want)
		}
	}
}

func TestModuleNamesAndNeeds(t *testing.T) {
	for path, want := range map[string]string{
		"kernel/a/virtio-rng.ko.xz": "virtio_rng", "kernel/fs/overlayfs/overlay.ko": "overlay",
	} {
		if got, ok := moduleName(path); !ok || got != want {
			t.Errorf("%s: %s, %v", path, got, ok)
		}
	}
	if _, ok := moduleName("modules.builtin"); ok {
		t.Error("modules.builtin passes for a module")
	}
	for info, want := range map[string][]string{
		"license=GPL\x00depends=virtio,virtio_ring\x00name=x\x00": {"virtio", "virtio_ring"},
		"depends=\x00":    nil,
		"license=GPL\x00": nil,
	} {
		if got := parseNeeds([]byte(info)); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: needs %v, want %v", info, got, want)
		}
	}
}
